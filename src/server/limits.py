"""Limits for requests: authentication, concurrency, time and size."""

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
from imagier.datamodules.jpeg import jpeg_size
from imagier.server.monitoring import Monitor

FIELD = "image"  # of a form
_CODEC = 4  # times as much memory per pixel as other networks


@dataclass(frozen=True)
class Limits:
    """The limits of a server.

    megabytes:  of one request's body, in units of 10^6 bytes.
    megapixels: of one image, a quarter of it for a codec; images of twice as many may be in progress in total.
    queue:      image requests in progress or waiting; more are refused with status 503.
    seconds:    in which a body has to arrive.
    token:      that a request has to send; None: none is needed.
    """

    megabytes: float = 32
    megapixels: float = 64
    queue: int = 64
    seconds: float = 30
    token: str | None = None


class Door:
    """Admits requests within the limits."""

    def __init__(self, limits: Limits, monitor: Monitor) -> None:
        self.limits, self._monitor = limits, monitor
        self._held = 0
        self._pixels, self._fits = 0, threading.Condition()

    @property
    def full(self) -> bool:
        """Whether the next image request would be refused."""
        return self._held >= self.limits.queue

    @contextmanager
    def room_for(self, data: bytes, codec: bool = False) -> Iterator[None]:
        """Block the calling thread until the file's image fits beside those in progress, and reserve its pixels.

        A small file may contain a large image, and a full queue of these would exhaust the memory. Raises status 413 if
        its header declares more pixels than allowed.
        """
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
        except Image.DecompressionBombError as error:
            raise HTTPException(413, f"the image is too large: {error} {self._cure(codec)}") from error
        except Exception:  # decoding will report the error, unless libjpeg reads what Pillow refuses
            height, width = jpeg_size(data)
        with self.room(height, width, codec):
            yield

    @contextmanager
    def room(self, height: int, width: int, codec: bool = False) -> Iterator[None]:
        """Do the same for an image of this size; a codec's pixels count four times, for the memory that they take."""
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
        """Hold one of the queue's places. Raises status 503 if it is full. To be called from the event loop."""
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
    """Return the application's door."""
    door: Door = request.app.state.door
    return door


def refuse_strangers(
    request: Request,
    brought: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
) -> None:
    """Raise status 401 unless the request sends the server's token."""
    token = door_of(request).limits.token or ""
    # Starlette decodes headers as latin-1. Browsers encode them so; curl sends the bytes that were typed, mostly UTF-8.
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
    with suppress(UnicodeEncodeError):  # latin-1 lacks most scripts
        forms.append(token.encode("latin-1"))
    return forms


async def place(request: Request) -> AsyncIterator[None]:
    """Hold a place of the queue while a request is processed. Raises status 503 if it is full."""
    with door_of(request).held():
        yield


async def body(request: Request) -> bytes:
    """Return the uploaded file: the body itself, or the file in a form's field.

    Raises status 413 if the body is too large, 408 if it takes too long, 400 if the client disconnects or the form is
    malformed, and 422 if the form has no file in FIELD.
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
    """Return the file in a form's field. `data` is the body, read already because Starlette's forms have no limit."""

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
