"""Between the page's tabs and the nets: who is let in, and what is said when something is wrong."""

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

Event = Callable[..., Any]  # such as the click of a gradio button, which is called to say what follows


def photo(height: int = 320) -> gr.Image:
    """A field for a picture, which hands on the file as it was sent; gradio itself would open it."""
    field = gr.Image(type="filepath", label="Image", sources=["upload", "clipboard"], height=height)
    # Not in a class of its own, beside whose file gradio would write another.
    field.preprocess = lambda payload: sent(payload) if payload else None  # type: ignore[method-assign]
    return field


def sent(file: Any) -> str:
    """The path of a file that came to this page; gradio looks only at those that say they are files."""
    path = str(file.path)
    if not Path(path).resolve().is_relative_to(Path(get_upload_folder()).resolve()):
        raise sentence(f"{Path(path).name} was not uploaded to this page: drop an image into the field.")
    return path


class Desk:
    """What the tabs of one application share.

    nets:     by their names.
    pictures: `imagier.server.dataset.Pictures`, or None.
    """

    def __init__(self, app: FastAPI) -> None:
        self.nets: Mapping[str, Net] = app.state.nets
        self.pictures: Any = app.state.pictures
        self._door: Door = app.state.door

    def held(self, work: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        """Return `work` as an event of the page, which takes one of the places that requests have.

        What a user can mend is shown as a sentence.
        """

        async def event(*given: Any) -> Any:
            with _sentences(), self._door.held():
                return await run_in_threadpool(work, *given)

        return event

    def answer(self, asked: Event, work: Callable[..., Any], given: Any, shown: list[Any]) -> None:
        """Let `work` answer an event in the fields `shown`, which are empty until then, and so is an error's.

        Args:
            asked: of a button, or of another component.
            work: from the values of `given` to those of `shown`.
            given: the components that are asked with.
            shown: the components that answer.
        """
        emptied = asked(lambda: dict.fromkeys(shown), None, shown, queue=False, api_visibility="private")
        emptied.then(self.held(work), given, shown, api_visibility="private")

    def fits(self, net: Net) -> bool:
        """Whether the pictures of the data set are what the net answers about, and their truth what it answers."""
        if self.pictures is None:
            return False
        facts, about = self.pictures.facts, net.description
        return (facts.classes, facts.channels) == (about.classes, about.channels)

    def read(self, given: str | bytes | None, channels: int) -> np.ndarray:
        """The picture that was sent, by its path or its bytes, uint8 [H, W, channels], if it is admitted."""
        if given is None:
            raise sentence("There is no image yet: drop one into the field, or click it.")
        data = Path(given).read_bytes() if isinstance(given, str) else given
        with self._door.room_for(data):
            return to_pixels(data, channels)


def sentence(text: str) -> gr.Error:
    """What a user can mend, shown in the page and nowhere else."""
    return gr.Error(text, print_exception=False)


@contextmanager
def _sentences() -> Iterator[None]:
    try:
        yield
    except HTTPException as error:
        raise sentence(error.detail) from error
    except ImagierError as error:
        raise sentence(str(error)) from error
