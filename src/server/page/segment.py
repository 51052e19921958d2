"""The tab of a segmenter: the mask over the image with a legend, the ground truth beside it, and the IoU."""

from html import escape
from statistics import fmean
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from imagier.datamodules.palette import as_rgb
from imagier.deploy.results import Mask
from imagier.server.nets import Net
from imagier.server.page.desk import Desk, photo

_HEADERS = ["class", "share of the image", "IoU"]
_HEIGHT = 380  # of a mask, in CSS pixels
_LONGEST = 1280  # pixels of its longer side as sent to the browser
Shown = tuple[np.ndarray, list[tuple[np.ndarray, str]]]  # an image, and a mask with a name for each class


def segment_tab(desk: Desk, net: Net) -> None:
    """Build the tab."""
    predictor, about = net.predictor, net.description
    assert predictor is not None
    written = ("#{:02x}{:02x}{:02x}".format(*color) for color in about.colors)
    colors = dict(zip(about.classes, written, strict=True)) | {"unlabelled": "#000000"}

    def of_file(path: str | None) -> tuple[Any, ...]:
        with desk.read(path, net) as image_HWC:
            answer = predictor(image_HWC)
        assert isinstance(answer, Mask)
        return _shown(answer), gr.update(visible=False, value=None), _rows(answer, {}, colors)

    def of_set(name: str | None) -> tuple[Any, ...]:
        from imagier.server.dataset import as_result, iou_per_class  # imports torch

        image_HWC, target = desk.pictures.sample(name or "")
        answer, true = predictor(image_HWC), as_result(image_HWC, target, desk.pictures.facts)
        assert isinstance(answer, Mask)
        assert isinstance(true, Mask)
        iou = iou_per_class(answer, target, desk.pictures.facts)
        return _shown(answer), gr.update(visible=True, value=_shown(true)), _rows(answer, iou, colors)

    with gr.Row():
        with gr.Column(scale=1):
            with gr.Tab("Upload"):
                given = photo(240)
                ask = gr.Button("Segment", variant="primary")
            if desk.fits(net):
                with gr.Tab("By id"):
                    ids = gr.Dropdown(
                        desk.pictures.ids, label=f"Images of {desk.pictures}", value=None, filterable=True
                    )
        with gr.Column(scale=2):
            with gr.Row():
                # The table serves as legend: the components' own ones are paler than their masks.
                looks: dict[str, Any] = {"color_map": colors, "height": _HEIGHT, "show_legend": False}
                answer = gr.AnnotatedImage(label="Prediction", **looks)
                truth = gr.AnnotatedImage(label="Ground truth", **looks, visible=False)
            table = gr.Dataframe(headers=_HEADERS, datatype=["html", "str", "str"], label="Classes", interactive=False)
    outputs = [answer, truth, table]
    desk.answer(ask.click, of_file, given, outputs)
    if desk.fits(net):
        desk.answer(ids.change, of_set, ids, outputs)


def _shown(mask: Mask) -> Shown:
    """Return image and masks, reduced for display, because gradio takes a float for each pixel and class."""
    step = -(-max(mask.labels.shape) // _LONGEST)
    labels_HW = mask.labels[::step, ::step]
    image_HWC = np.asarray(Image.fromarray(as_rgb(mask.image)).reduce(step))
    parts = [((labels_HW == label).astype(np.float32), mask.names[label]) for label in np.unique(mask.labels)]
    return image_HWC, parts


def _rows(mask: Mask, iou: dict[str, float | None], colors: dict[str, str]) -> list[list[str]]:
    """Return a row per class in prediction or ground truth, by predicted share, and one for the mean IoU if known."""
    shares = mask.shares()
    known = {name: value for name, value in iou.items() if value is not None}
    names = sorted({*shares, *known}, key=lambda name: -shares.get(name, 0))
    rows = [
        [_named(name, colors[name]), f"{shares.get(name, 0):.1%}", f"{known[name]:.1%}" if name in known else ""]
        for name in names
    ]
    return [*rows, ["mean", "", f"{fmean(known.values()):.1%}"]] if known else rows


def _named(name: str, color: str) -> str:
    """Return a class's name and colour as HTML."""
    box = "display: inline-block; width: 1em; height: 1em; margin-right: 0.5em; vertical-align: -0.1em"
    return f'<span style="{box}; background: {color}; border: 1px solid #888"></span>{escape(name)}'
