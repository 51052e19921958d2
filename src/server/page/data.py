"""The tab of the data set: a summary, the distribution of its classes, and a gallery with labels."""

from typing import Any

import gradio as gr
import pandas as pd

from imagier.datamodules.palette import as_rgb
from imagier.deploy.results import Classes
from imagier.server.page.desk import Desk

_PAGE = 24  # images per page of the gallery


def data_tab(desk: Desk) -> None:
    """Build the tab."""
    from imagier.server.dataset import as_result

    pictures = desk.pictures
    pages = -(-len(pictures.ids) // _PAGE)

    def gallery(page: int) -> list[tuple[Any, str]]:
        shown = []
        for place in range((page - 1) * _PAGE, min(page * _PAGE, len(pictures.ids))):
            image_HWC, target = pictures.read(place)
            truth = as_result(image_HWC, target, pictures.facts)
            if isinstance(truth, Classes):
                shown.append((as_rgb(truth.image), truth.label))
            else:
                shown.append((truth.picture(), pictures.ids[place]))
        return shown

    gr.Markdown(_facts(pictures))
    if pictures.facts.classes:
        counted = "pixels" if pictures.read(0)[1].ndim == 2 else "images"
        frame = pd.DataFrame({"class": pictures.facts.classes, counted: pictures.counts})
        gr.BarPlot(frame, x="class", y=counted, title="Classes", sort="-y", height=280)
    page = gr.Slider(1, max(pages, 2), 1, step=1, label="Page", visible=pages > 1)
    shown = gr.Gallery(
        gallery(1), label="Images with ground truth", columns=8, format="png", object_fit="contain", height="auto"
    )
    page.change(desk.held(gallery), page, shown, trigger_mode="always_last", api_visibility="private")


def _facts(pictures: Any) -> str:
    facts = pictures.facts
    size = f"{facts.size[0]} x {facts.size[1]}" if facts.size else "of several sizes"
    kind = "grey" if facts.channels == 1 else "RGB"
    classes = f", {facts.num_classes} classes" if facts.classes else ""
    return f"**{facts.name}**, {pictures.split} split: {len(pictures.ids):,} images, {kind}, {size}{classes}."
