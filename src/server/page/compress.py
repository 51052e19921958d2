"""The tab of a codec: a compressed file, its decompressed image, and the best JPEG and WebP of at most its size."""

from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.processing_utils import save_bytes_to_cache

from imagier.datamodules.palette import as_rgb
from imagier.deploy.results import SUFFIX
from imagier.server.nets import Net
from imagier.server.page.desk import Desk, photo
from imagier.training.image_formats import RIVALS, WEBP_LONGEST, best_within, decode, psnr

_HEADERS = ["file", "bytes", "bits per pixel", "PSNR"]


def compress_tab(desk: Desk, net: Net) -> None:
    """Build the tab."""
    codec = net.codec
    assert codec is not None

    def compress(path: str | None, quality: int) -> tuple[Any, ...]:
        with desk.read(path, net) as image_HWC:
            data = codec.compress(image_HWC, quality)
            read_HWC = codec.decompress(data)
        rows, pictures = [_row(net.name, data, read_HWC, image_HWC)], []
        for name in ("JPEG", "WebP"):
            if name == "WebP" and max(image_HWC.shape) > WEBP_LONGEST:
                continue  # too large for the format
            written, chosen = best_within(RIVALS[name], image_HWC, len(data))
            rival_HWC = decode(written, codec.channels)
            smallest = ", its smallest file" if len(written) > len(data) else ""
            rows.append(_row(f"{name}, quality {chosen}{smallest}", written, rival_HWC, image_HWC))
            pictures.append((as_rgb(rival_HWC), f"{name}, {len(written):,} bytes"))
        pictures.insert(0, (as_rgb(read_HWC), f"{net.name}, {len(data):,} bytes"))
        # In gradio's cache, which deletes old files.
        kept = save_bytes_to_cache(data, f"{Path(path or 'picture').stem}{SUFFIX}", file.GRADIO_CACHE)
        shown = as_rgb(image_HWC), as_rgb(read_HWC)
        return shown, rows, pictures, gr.update(value=kept, interactive=True)

    with gr.Row():
        with gr.Column(scale=1):
            given = photo()
            middle = codec.qualities // 2 + 1
            label = "Quality (1: smallest files)"
            quality = gr.Slider(1, max(codec.qualities, 2), middle, step=1, label=label, visible=codec.qualities > 1)
            ask = gr.Button("Compress", variant="primary")
            file = gr.DownloadButton("Download the file", interactive=False)
        with gr.Column(scale=2):
            answer = gr.ImageSlider(label="Original and decompressed", format="png", height=480)
            table = gr.Dataframe(
                headers=_HEADERS, label="Best JPEG and WebP of at most the same size", interactive=False
            )
            rivals = gr.Gallery(label="Decompressed images", columns=3, format="png", object_fit="contain")
    desk.answer(ask.click, compress, [given, quality], [answer, table, rivals, file])


def _row(name: str, data: bytes, read_HWC: np.ndarray, image_HWC: np.ndarray) -> list[str]:
    pixels = image_HWC.shape[0] * image_HWC.shape[1]
    return [name, f"{len(data):,}", f"{8 * len(data) / pixels:.3f}", f"{psnr(read_HWC, image_HWC):.2f} dB"]
