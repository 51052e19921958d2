"""`imagier predict`: run a bundle or a checkpoint on images, and write the predictions to files."""

import hashlib
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagier.datamodules.image_file import SUFFIXES
from imagier.deploy.job import Job, OccupiedError
from imagier.deploy.outputs import write_table, writer
from imagier.deploy.predictor import Predictor
from imagier.deploy.sources import Item, find
from imagier.errors import ConfigError, DataError
from imagier.opening import identity, load

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run(cfg: "DictConfig") -> None:
    """Predict for every image of `cfg.source`, and write the predictions below `cfg.output`.

    Raises:
        ConfigError: see `load`; or `cfg.ckpt` is a codec, or `cfg.output` contains another job.
        DataError: there are no images, or some cannot be read; the others are done first.
    """
    began = time.perf_counter()
    items = find(cfg.source, SUFFIXES)
    predictor, settings = _opened(cfg)
    settings["source"] = _identity(cfg.source, items)
    about = predictor.description
    write = writer(about, cfg.format, cfg.top)
    job = _job(cfg.output, about.name, lambda output: Job(predictor, items, output, settings, write))
    remembered = len(job.lines)
    failed, first = 0, 0.0  # seconds until the first prediction
    for number, line in enumerate(job, start=1 + remembered):
        first = first or time.perf_counter() - began
        failed += "error" in line
        _say(number, len(items), line)
    if about.task == "classify":
        write_table(job.output, (job.lines[item.name] for item in items), cfg.top)
    _sum_up(len(items), remembered, time.perf_counter() - began, first)
    print(f"written: {job.output}, by {about.name} in {settings['precision']} (runtime={settings['runtime']})")
    if failed:
        raise DataError(
            f"{failed} of {len(items)} images could not be read; {job.output / 'manifest.jsonl'} lists them. Run the "
            "command again to retry only those."
        )


def _opened(cfg: "DictConfig") -> tuple[Predictor, dict[str, Any]]:
    """Return the predictor, and the settings that identify its predictions."""
    options = {key: cfg[key] for key in ("runtime", "precision", "tile", "flip")} | {"scales": list(cfg.scales)}
    predictor = load(cfg.ckpt, threads=cfg.threads, device=cfg.device, **options)
    if not isinstance(predictor, Predictor):
        raise ConfigError(
            f"ckpt={cfg.ckpt} is a codec: use `imagier compress` to write its files, and `imagier decompress` to turn "
            "them back into images."
        )
    asked = {"net": predictor.description.name, "format": cfg.format, "top": cfg.top}
    return predictor, options | identity(cfg.ckpt, cfg.runtime, cfg.precision) | asked


def _sum_up(total: int, remembered: int, seconds: float, first: float) -> None:
    if remembered:
        print(f"{remembered} of {total} images were already done")
    if done := total - remembered:
        pictures = "1 image" if done == 1 else f"{done} images"
        print(f"{pictures} in {seconds:.1f} s, {done / seconds:.1f} per second, the first after {first:.1f} s")


def _job(output: str | None, name: str, make: Callable[[Path], Job]) -> Job:
    """Make the job in `output`, or in the first of predictions/NAME, predictions/NAME-2, ... without another job."""
    if output:
        return make(Path(output).expanduser())
    for number in itertools.count(1):
        with suppress(OccupiedError):
            return make(Path("predictions") / (name if number == 1 else f"{name}-{number}"))
    raise AssertionError


def _identity(source: str, items: Sequence[Item]) -> str:
    """Return what identifies a source: its absolute path, or a checksum of what came through the pipe."""
    given = items[0].given
    return hashlib.sha256(given).hexdigest() if isinstance(given, bytes) else str(Path(source).expanduser().absolute())


def _say(number: int, total: int, line: dict[str, Any]) -> None:
    """Print errors, and one line per image if there are at most 20; else overwrite one line on a terminal."""
    text = f"{number}/{total} {line['file']}: {_short(line)}"
    if "error" in line:
        print(text, file=sys.stderr)
    elif total <= 20:
        print(text)
    elif sys.stderr.isatty():
        print(f"\r\033[K{text}", end="\n" if number == total else "", file=sys.stderr, flush=True)


def _short(line: dict[str, Any]) -> str:
    if "error" in line:
        return str(line["error"])
    if "top" in line:
        return ", ".join(f"{one['class']} {one['probability']:.1%}" for one in line["top"])
    if "shares" in line:
        shares = sorted(line["shares"].items(), key=lambda pair: -pair[1])
        return ", ".join(f"{name} {share:.1%}" for name, share in shares)
    return ", ".join(line["outputs"])
