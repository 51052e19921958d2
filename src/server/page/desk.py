"""What the page's tabs share: access to networks and data set within the server's limits, and error messages."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from fastapi import FastAPI, HTTPException
from gradio.utils import get_upload_folder
from starlette.concurrency import run_in_threadpool

from imagier.deploy.pictures import to_pixels
from imagier.errors import ImagierError
from imagier.server.limits import Door
from imagier.server.nets import Net

Event = Callable[..., Any]  # registers a listener, such as a gradio button's click


def photo(height: int = 320) -> gr.Image:
    """Return a field for an image, which passes on the uploaded file unopened; gradio itself would decode it."""
    field = gr.Image(type="filepath", label="Image", sources=["upload", "clipboard"], height=height)
    # Not by a subclass: gradio would write a .pyi file beside its module.
    field.preprocess = lambda payload: sent(payload) if payload else None  # type: ignore[method-assign]
    return field


def sent(file: Any) -> str:
    """Return the path of a file uploaded to this page; gradio checks it only in payloads that claim to be files."""
    path = str(file.path)
    if not Path(path).resolve().is_relative_to(Path(get_upload_folder()).resolve()):
        raise sentence(f"{Path(path).name} was not uploaded to this page: drop an image into the field.")
    return path


class Desk:
    """Gives the tabs access to one application.

    nets:     by name.
    pictures: `imagier.server.dataset.Pictures`, or None.
    """

    def __init__(self, app: FastAPI) -> None:
        self.nets: Mapping[str, Net] = app.state.nets
        self.pictures: Any = app.state.pictures
        self._door: Door = app.state.door

    def held(self, work: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        """Wrap `work` as an event handler that runs in a thread and holds one of the request queue's places.

        Errors that a user can fix are shown as a sentence.
        """

        async def event(*given: Any) -> Any:
            with _sentences(), self._door.held():
                return await run_in_threadpool(work, *given)

        return event

    def answer(self, asked: Event, work: Callable[..., Any], given: Any, shown: list[Any]) -> None:
        """On an event, clear the components `shown`, then fill them by `work`; after an error they stay empty.

        Args:
            asked: the event of a button or another component.
            work: maps the values of `given` to those of `shown`.
            given: input component or components.
            shown: output components.
        """
        emptied = asked(lambda: dict.fromkeys(shown), None, shown, queue=False, api_visibility="private")
        emptied.then(self.held(work), given, shown, api_visibility="private")

    def fits(self, net: Net) -> bool:
        """Whether there is a data set, and it has the network's classes and channels."""
        if self.pictures is None:
            return False
        facts, about = self.pictures.facts, net.description
        return (facts.classes, facts.channels) == (about.classes, about.channels)

    @contextmanager
    def read(self, given: str | bytes | None, net: Net) -> Iterator[np.ndarray]:
        """Decode an uploaded image for `net`, given by path or bytes: uint8 [H, W, C].

        Its pixels count towards the server's limits until the block ends.
        """
        if given is None:
            raise sentence("There is no image yet: drop one into the field, or click it.")
        try:
            data = Path(given).read_bytes() if isinstance(given, str) else given
        except OSError as error:  # uploads are kept for an hour
            raise sentence("The uploaded image has been deleted meanwhile: drop it into the field again.") from error
        with self._door.room_for(data, codec=net.codec is not None):
            yield to_pixels(data, net.description.channels)


def sentence(text: str) -> gr.Error:
    """Return an error that the page shows to the user, without a traceback in the server's log."""
    return gr.Error(text, print_exception=False)


@contextmanager
def _sentences() -> Iterator[None]:
    try:
        yield
    except HTTPException as error:
        raise sentence(error.detail) from error
    except ImagierError as error:
        raise sentence(str(error)) from error
