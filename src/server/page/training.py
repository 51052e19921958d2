"""The tab about training: origin, scores and training plots of each network."""

import re
from collections.abc import Mapping
from html import escape

import gradio as gr

from imagier.server.nets import Net

_TITLES = {
    "curves": "Curves",
    "confusion": "Confusion matrix",
    "levels": "Quality by noise level",
    "rate_distortion": "Rate and distortion",
}
_ORIGIN = ("data", "epoch", "commit", "imagier")


def training_tab(nets: Mapping[str, Net]) -> None:
    """Build the tab: training data, scores and training plots of each network."""
    for net in nets.values():
        with gr.Accordion(net.name, open=len(nets) == 1):
            gr.Markdown(_facts(net))
            for name, path in net.training.items():
                gr.Markdown(f"**{_TITLES[name]}**")
                gr.Image(str(path), show_label=False, interactive=False, buttons=["download", "fullscreen"])
            if not net.training:
                gr.Markdown("No training plots are available.")


def _facts(net: Net) -> str:
    about = net.description
    size = f"{about.resize[0]} x {about.resize[1]}" if about.resize else "any size"
    kind = "RGB" if about.channels == 3 else "grey"
    origin = [(key, str(value)) for key in _ORIGIN if (value := about.provenance.get(key))]
    rows = [("task", about.task), ("network", about.net), ("input", f"{kind}, {size}"), *origin]
    samples = f", {about.metrics['samples']:,} samples" if "samples" in about.metrics else ""
    for name, value in about.metrics.get("scores", {}).items():
        if "/" not in name:
            rows.append((f"{name}, {about.metrics['split']} split of {about.metrics['data']}{samples}", f"{value:.4g}"))
    return "| | |\n|---|---|\n" + "\n".join(f"| {_plain(name)} | {_plain(value)} |" for name, value in rows)


def _plain(text: str) -> str:
    """Escape text for a cell of a Markdown table: bundles are untrusted, and an image would be fetched by browsers."""
    return re.sub(r"[\\`*_\[\]!|]", lambda found: f"&#{ord(found[0])};", escape(text))
