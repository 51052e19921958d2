"""The tab of a denoiser: add noise of a chosen strength, and remove it again."""

from typing import Any

import gradio as gr
import numpy as np

from imagier.datamodules.palette import as_rgb
from imagier.deploy.results import Picture
from imagier.server.nets import Net
from imagier.server.page.desk import Desk, photo
from imagier.training.image_formats import psnr


def denoise_tab(desk: Desk, net: Net) -> None:
    """Build the tab."""
    predictor = net.predictor
    assert predictor is not None

    def clean(path: str | None, sigma: float) -> tuple[Any, ...]:
        with desk.read(path, net) as image_HWC:
            noisy_HWC = with_noise(image_HWC, sigma)
            answer = predictor(noisy_HWC)
        assert isinstance(answer, Picture)
        said = "Without added noise there is no PSNR to compute."
        if sigma:
            before, after = (psnr(picture, image_HWC) for picture in (noisy_HWC, answer.pixels))
            said = f"PSNR against the original image: noisy **{before:.2f} dB**, denoised **{after:.2f} dB**."
        return (as_rgb(noisy_HWC), as_rgb(answer.pixels)), said

    with gr.Row():
        with gr.Column(scale=1):
            given = photo()
            sigma = gr.Slider(0, 100, 25, step=1, label="Added noise: sigma (of 255)")
            ask = gr.Button("Denoise", variant="primary")
        with gr.Column(scale=2):
            answer = gr.ImageSlider(label="Before and after", format="png", height=480)
            said = gr.Markdown()
    desk.answer(ask.click, clean, [given, sigma], [answer, said])


def with_noise(image_HWC: np.ndarray, sigma: float) -> np.ndarray:
    """Add white Gaussian noise of deviation `sigma` to a uint8 image, from a fixed seed; round and clip to uint8."""
    field_HWC = np.random.default_rng(0).standard_normal(image_HWC.shape, np.float32)
    noisy_HWC: np.ndarray = (image_HWC + sigma * field_HWC).round().clip(0, 255).astype(np.uint8)
    return noisy_HWC
