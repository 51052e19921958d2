"""`imagier compress` and `imagier decompress`: images to a codec's compressed files, and back."""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from omegaconf import DictConfig

from imagier.datamodules.image_file import SUFFIXES
from imagier.deploy.pictures import to_pixels
from imagier.deploy.results import SUFFIX, save_pixels
from imagier.deploy.sources import Item, find, stems
from imagier.errors import DataError, writing_to
from imagier.files import write_aside
from imagier.opening import load_codec


def compress(cfg: DictConfig) -> None:
    """Compress every image of `cfg.source` into a file below `cfg.output`.

    Raises:
        ConfigError: `cfg.ckpt` is not a codec, or lacks the quality `cfg.quality`; or `cfg.output` is not writable.
        DataError: there are no images, or some cannot be read or would overwrite a file; the others are done first.
    """
    codec = load_codec(cfg.ckpt, cfg.runtime, cfg.threads)
    items = find(cfg.source, SUFFIXES)
    codec.rate(cfg.quality)  # refuses an unknown quality before anything is written

    def write(item: Item, target: Path) -> str:
        image_HWC = to_pixels(item.given, codec.channels)
        data = codec.compress(image_HWC, cfg.quality)
        write_aside(target, lambda aside: aside.write_bytes(data))
        height, width = image_HWC.shape[:2]
        return f"{len(data)} bytes, {8 * len(data) / (height * width):.3f} bits per pixel of {height} x {width}"

    _each(items, cfg, SUFFIX, write)


def decompress(cfg: DictConfig) -> None:
    """Decompress every file of `cfg.source` into a PNG file below `cfg.output`.

    Raises:
        ConfigError: `cfg.ckpt` is not a codec, or `cfg.output` is not writable.
        DataError: there are no files, or some cannot be read, declare more than `cfg.max_megapixels` or would overwrite
            a file; the others are done first.
    """
    codec = load_codec(cfg.ckpt, threads=cfg.threads)
    items = find(cfg.source, frozenset({SUFFIX}))

    def write(item: Item, target: Path) -> str:
        data = item.read()
        height, width = codec.size(data)
        if height * width > cfg.max_megapixels * 1e6:
            raise DataError(
                f"the file declares {height} x {width} pixels, more than max_megapixels={cfg.max_megapixels:g}. If "
                "you trust it, set a larger max_megapixels; a million pixels take about 0.5 GB of memory."
            )
        image_HWC = codec.decompress(data)
        save_pixels(image_HWC, target)
        return f"{image_HWC.shape[0]} x {image_HWC.shape[1]} pixels"

    _each(items, cfg, ".png", write)


def _each(items: Sequence[Item], cfg: DictConfig, suffix: str, write: Callable[[Item, Path], str]) -> None:
    began, failed = time.perf_counter(), 0
    output, names = Path(cfg.output or ".").expanduser(), stems(items)
    for item in items:
        target = output / f"{names[item.name]}{suffix}"
        try:
            _refuse_loss(target, cfg.overwrite)
            with writing_to(output):
                written = write(item, target)
            print(f"{target}: {written}")
        except DataError as error:
            failed += 1
            print(f"{item.name}: {error}", file=sys.stderr)
    took = time.perf_counter() - began
    print(f"{len(items) - failed} of {len(items)} files in {took:.1f} s")
    if failed:
        raise DataError(f"{failed} of {len(items)} files were skipped; the lines above say why.")


def _refuse_loss(target: Path, overwrite: bool) -> None:
    if target.exists() and not overwrite:
        raise DataError(f"{target} already exists; choose another output=FOLDER, or replace it with overwrite=true.")
