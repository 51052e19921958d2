"""What a server admits: who may ask, how much at once, and how large a picture may be."""

import asyncio
import io
import secrets
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from PIL import Image
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect
from starlette.types import Message

from imagier.datamodules.image_file import FORMATS
from imagier.server.monitoring import Monitor

FIELD = "image"  # of a form
_CODEC = 4  # times the memory of others for a pixel


@dataclass(frozen=True)
class Limits:
    """How much is admitted.

    megabytes:  of one request's body.
    megapixels: of one picture; twice as many may be in work at once, and a codec is given a quarter.
    queue:      requests about pictures that are held at once; more are told to come again.
    seconds:    in which a body has to arrive.
    token:      that a request has to bring; None: anybody may ask.
    """

    megabytes: float = 32
    megapixels: float = 64
    queue: int = 64
    seconds: float = 30
    token: str | None = None


class Door:
    """Lets requests in, as far as the limits allow."""

    def __init__(self, limits: Limits, monitor: Monitor) -> None:
        self.limits, self._monitor = limits, monitor
        self._held = 0
        self._pixels, self._fits = 0, threading.Condition()

    @property
    def full(self) -> bool:
        """Whether the next one would be told to come again."""
        return self._held >= self.limits.queue

    @contextmanager
    def room_for(self, data: bytes, codec: bool = False) -> Iterator[None]:
        """Wait, in a thread, until the pixels of a file fit beside those that are in work.

        A small file may hold a large picture, so that as many as requests are held would fill the memory. Raises status
        413 where its head promises more than are admitted.
        """
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
        except Image.DecompressionBombError as error:
            raise HTTPException(413, f"the image is too large: {error} {self._cure(codec)}") from error
        except Exception:  # decoding it will say what is wrong
            width, height = 0, 0
        with self.room(height, width, codec):
            yield

    @contextmanager
    def room(self, height: int, width: int, codec: bool = False) -> Iterator[None]:
        """The same for a picture of this size; a codec is given a quarter of the pixels, which take it so much more."""
        pixels, admitted = height * width, self.limits.megapixels * 1e6
        if pixels > admitted / (_CODEC if codec else 1):
            raise HTTPException(413, f"the image has {height} x {width} pixels. {self._cure(codec)}")
        pixels *= _CODEC if codec else 1
        with self._fits:
            self._fits.wait_for(lambda: self._pixels + pixels <= 2 * admitted)
            self._pixels += pixels
        try:
            yield
        finally:
            with self._fits:
                self._pixels -= pixels
                self._fits.notify_all()

    def _cure(self, codec: bool) -> str:
        most = self.limits.megapixels / (_CODEC if codec else 1)
        return (
            f"The limit is {most:g} million pixels{' for a codec' if codec else ''}: scale the image down, crop it, "
            "or start the server with another max_megapixels."
        )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold one of the places. Raises status 503 where there is none."""
        if self.full:
            raise HTTPException(
                503,
                f"{self._held} requests are being processed, and the queue is full. Try again later.",
                {"Retry-After": "1"},
            )
        self._held += 1
        self._monitor.held.set(self._held)
        try:
            yield
        finally:
            self._held -= 1
            self._monitor.held.set(self._held)


def door_of(request: Request) -> Door:
    """The application's."""
    door: Door = request.app.state.door
    return door


def refuse_strangers(
    request: Request,
    brought: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
) -> None:
    """Raise status 401 where a token is asked for, and the request brings none or another."""
    token = door_of(request).limits.token or ""
    # Starlette decodes a header as latin-1, in which browsers send it, and curl as it was typed.
    given = brought.credentials.encode("latin-1") if brought else None
    if given is not None and any(secrets.compare_digest(given, known) for known in _written(token)):
        return
    raise HTTPException(
        401,
        "this server requires a token; send the header 'Authorization: Bearer TOKEN'.",
        {"WWW-Authenticate": "Bearer"},
    )


def _written(token: str) -> list[bytes]:
    forms = [token.encode()]
    with suppress(UnicodeEncodeError):  # of other scripts there is no such form
        forms.append(token.encode("latin-1"))
    return forms


async def place(request: Request) -> AsyncIterator[None]:
    """Hold a place while a request is answered. Raises status 503 where there is none."""
    with door_of(request).held():
        yield


async def body(request: Request) -> bytes:
    """Return what was sent: the body itself, or the file in a form's field.

    Raises status 413 beyond the limit of bytes, 408 where it takes too long, 400 or 422 for an unfit form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    limits = door_of(request).limits
    try:
        async with asyncio.timeout(limits.seconds):
            data = await _read(request, int(limits.megabytes * 1e6))
            return await _field(request, data) if kind == "multipart/form-data" else data
    except TimeoutError:
        raise HTTPException(408, f"the image did not arrive within {limits.seconds:g} s. Send it again.") from None
    except ClientDisconnect:
        raise HTTPException(400, "the connection was closed before the image had arrived.") from None


Sent = Annotated[bytes, Depends(body)]


async def _read(request: Request, most: int) -> bytes:
    told = request.headers.get("content-length", "0")
    if told.isdecimal() and int(told) > most:
        raise _too_large(int(told), most)
    parts, length = [], 0
    async for part in request.stream():
        parts.append(part)
        length += len(part)
        if length > most:
            raise _too_large(length, most)
    return b"".join(parts)


def _too_large(length: int, most: int) -> HTTPException:
    return HTTPException(
        413,
        f"the upload has {length / 1e6:.1f} MB or more, but the limit is {most / 1e6:g} MB. Send a smaller file, or "
        "start the server with another max_megabytes.",
    )


async def _field(request: Request, data: bytes) -> bytes:
    """The file in a form's field. What was sent has been read already, with a limit that no form of Starlette's has."""

    async def again() -> Message:
        return {"type": "http.request", "body": data, "more_body": False}

    try:
        async with Request(request.scope, again).form(max_files=1, max_fields=8) as form:
            given = form.get(FIELD)
            if not isinstance(given, UploadFile):
                names = ", ".join(sorted(form)) or "none"
                said = f"the field '{FIELD}' contains text" if given is not None else f"the form's fields are: {names}"
                raise HTTPException(422, f"{said}; send the file in the field '{FIELD}', as in curl -F {FIELD}=@FILE.")
            return await given.read()
    except MultiPartException as error:
        raise HTTPException(400, f"the form cannot be read: {error.message}") from error
