"""The tab of a classifier: an uploaded or drawn image, and its most probable classes as bars."""

from functools import partial
from typing import Any

import gradio as gr
import numpy as np

from imagier.deploy.predictor import Predictor
from imagier.deploy.results import Classes
from imagier.server.nets import Net
from imagier.server.page.desk import Desk, photo, sent, sentence

_SIDE = 280  # of the canvas, in pixels
_TOP = 5


def classify_tab(desk: Desk, net: Net) -> None:
    """Build the tab."""
    predictor = net.predictor
    assert predictor is not None

    def of_file(path: str | bytes | None) -> dict[str, float]:
        with desk.read(path, net) as image_HWC:
            return _bars(predictor, image_HWC)

    def of_drawing(drawn: str | bytes | None) -> dict[str, float]:
        if drawn is None:
            raise sentence("There is no drawing yet: draw into the black field.")
        return of_file(drawn)

    with gr.Row():
        with gr.Column():
            with gr.Tab("Upload"):
                given = photo()
                ask = gr.Button("Classify", variant="primary")
            with gr.Tab("Draw"):
                canvas = gr.ImageEditor(
                    _blank(), type="numpy", label="Bright on black", sources=(), transforms=(), layers=False,
                    brush=gr.Brush(18, ["#ffffff", "#b0b0b0", "#606060"], color_mode="fixed"),
                    canvas_size=(_SIDE, _SIDE), fixed_canvas=True, height=_SIDE + 120,
                )  # fmt: skip
                canvas.preprocess = partial(_drawn, canvas)  # type: ignore[method-assign, assignment]
                ask_drawn = gr.Button("Classify the drawing", variant="primary")
        answer = gr.Label(num_top_classes=_TOP, label="Most probable classes")
    desk.answer(ask.click, of_file, given, [answer])
    desk.answer(ask_drawn.click, of_drawing, canvas, [answer])


def _drawn(canvas: gr.ImageEditor, payload: Any) -> str | bytes | None:
    """Return the visible drawing's file as uploaded: gradio would open it and every layer, of any size and format."""
    if payload is None:
        return None
    if payload.id is not None:
        payload = canvas.blob_storage.pop(payload.id, None)
    composite = payload and payload.composite
    return composite if composite is None or isinstance(composite, bytes) else sent(composite)


def _blank() -> Any:
    black = np.zeros((_SIDE, _SIDE, 3), np.uint8)
    return {"background": black, "layers": [], "composite": black}


def _bars(predictor: Predictor, image_HWC: np.ndarray) -> dict[str, float]:
    answer = predictor(image_HWC)
    assert isinstance(answer, Classes)
    return dict(answer.top(len(answer.names)))
