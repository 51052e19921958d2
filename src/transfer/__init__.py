"""`imagier transfer-report`: size, quality and time of photographs sent as PNG, JPEG, WebP, AVIF or a codec's files."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from omegaconf import DictConfig
from PIL import AvifImagePlugin
from rich.console import Console
from rich.progress import track

from imagier.datamodules.image_file import SUFFIXES
from imagier.deploy.pictures import to_pixels
from imagier.deploy.sources import Item, find
from imagier.errors import ConfigError, DataError, writing_to
from imagier.opening import load_codec
from imagier.training.image_formats import WEBP_LONGEST
from imagier.training.report import print_table, terminal
from imagier.transfer.forms import forms_for
from imagier.transfer.link import Link
from imagier.transfer.page import (
    fully_scored,
    grouped,
    means_over,
    size_table,
    time_table,
    verdicts,
    write_csv,
    write_page,
)
from imagier.transfer.trial import Passage, passages

FILES = ("transfer.csv", "transfer.html", "rate-distortion.png", "time.png")  # of a report


def run(cfg: DictConfig) -> None:
    """Send the images of `cfg.source` in every form over every link, and write a report below `cfg.output`.

    Writes transfer.csv, with a row per image, form and quality, and transfer.html with its charts.

    Raises:
        ConfigError: `cfg.ckpt` is not a codec, or `cfg.output` cannot be written or contains a report already.
        DataError: there are no images, or some cannot be read; the others are reported first.
    """
    output = Path(cfg.output or ".").expanduser()
    if not cfg.overwrite and (there := [name for name in FILES if (output / name).exists()]):
        raise ConfigError(
            f"output={output} already contains {there[0]}, as from an earlier report; choose another folder, or "
            "replace it with overwrite=true."
        )
    codec = load_codec(cfg.ckpt, cfg.runtime, cfg.threads)
    if cfg.threads:
        AvifImagePlugin.DEFAULT_MAX_THREADS = cfg.threads  # Pillow's only setting for it; other formats use one thread
    items = _spread(find(cfg.source, SUFFIXES), cfg.pictures)
    with writing_to(output):
        output.mkdir(parents=True, exist_ok=True)  # now, so that no measurement is lost if it fails
    forms, links = forms_for(codec), [Link(rate) for rate in (None, *cfg.rates)]
    sent = passages(_readable(items, codec.channels), forms, links)
    found = list(_shown(sent, len(items) * len(forms)))
    if not found:
        raise DataError("none of the images could be read; the lines above say why.")
    with writing_to(output):
        write_csv(output / "transfer.csv", found)
        page = write_page(output / "transfer.html", found, f"{codec.description.name} over the network")
    groups = grouped(found)
    count = len(groups[0])
    scored = fully_scored(groups)
    print_table(terminal(), size_table(scored))
    print(f"means over {means_over(scored, count)}")
    print_table(terminal(), time_table(groups))
    for label, value in verdicts(groups):
        print(f"{label}: {value}")
    print(f"page: {page}")
    if count < len(items):
        raise DataError(f"{len(items) - count} of {len(items)} files were skipped; the lines above say why.")


def _readable(items: Sequence[Item], channels: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield names and pixels of the images; print the error of those that cannot be read."""
    for item in items:
        try:
            yield item.name, _sendable(to_pixels(item.given, channels))
        except DataError as error:
            print(f"{item.name}: {error}", file=sys.stderr)


def _sendable(image_HWC: np.ndarray) -> np.ndarray:
    height, width, _ = image_HWC.shape
    if max(height, width) > WEBP_LONGEST:
        raise DataError(
            f"{width} x {height} pixels, but WebP allows at most {WEBP_LONGEST} on a side. Crop or shrink the image."
        )
    return image_HWC


def _spread(items: Sequence[Item], most: int | None) -> Sequence[Item]:
    """Return at most `most` of the items, evenly spaced; None: all."""
    if most is None or len(items) <= most:
        return items
    return [items[place * len(items) // most] for place in range(most)]


def _shown(found: Iterator[Passage], total: int) -> Iterable[Passage]:
    """Add a progress bar if stderr is a terminal."""
    console = Console(file=sys.stderr)
    return track(found, "sending", total, console=console) if console.is_terminal else found
