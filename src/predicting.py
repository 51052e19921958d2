"""`imagier predict`, and `imagier.load`: answers from a bundle or a checkpoint.

A bundle with an ONNX graph needs neither torch nor Lightning, and none is imported then.
"""

import hashlib
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from imagier.datamodules.image_file import SUFFIXES
from imagier.deploy.bundle import is_bundle, read_bundle
from imagier.deploy.job import Job, OccupiedError
from imagier.deploy.outputs import write_table, writer
from imagier.deploy.predictor import Predictor
from imagier.deploy.runtime import open_runtime
from imagier.deploy.sources import Item, find
from imagier.deploy.variants import Variants
from imagier.errors import ConfigError, DataError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def load(
    path: str | Path,
    *,
    runtime: str = "auto",
    precision: str | None = None,
    threads: int | None = None,
    tile: int | Literal["auto"] | None = "auto",
    batch_size: int = 8,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
) -> Predictor:
    """Open a bundle, a run folder or a checkpoint for use.

    Args:
        path: of any of them.
        runtime: auto, torch, onnx or openvino; auto takes a bundle's graph where it has one.
        precision: fp32 or int8, where a bundle has both; None takes the first.
        threads: that compute one answer; None: as many as there are cores.
        tile: length of the tiles' sides in which large pictures are looked at; "auto": 1024 for pictures of more than
            4 million pixels; None: always the whole picture.
        batch_size: pictures of equal size that a classifier looks at together.
        flip: ask about the mirror image as well, and answer with the mean.
        scales: ask at these scales, and answer with the mean.

    Raises:
        ConfigError: there is nothing of the kind, or the runtime is unknown or not installed.
        BundleError, TrainingError: it is damaged.
    """
    if tile not in (None, "auto") and (not isinstance(tile, int) or tile < 32):
        raise ConfigError(f"tile={tile} is no length of a tile: give a whole number of at least 32, auto or None.")
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise ConfigError(f"threads={threads} is no number of threads: give one of at least 1, or None.")
    place = Path(path).expanduser()
    if is_bundle(place):
        bundle = read_bundle(place)
        description, found = bundle.description, open_runtime(bundle, runtime, precision, threads)
    elif runtime not in ("auto", "torch") or precision not in (None, "fp32"):
        raise ConfigError(
            f"{path} is no bundle, and only a bundle has graphs: export it with `imagier export ckpt={path}` first."
        )
    else:
        from imagier.trained import open_checkpoint  # torch and Lightning take seconds to import

        description, found = open_checkpoint(place, threads)
    if flip or list(scales) != [1.0]:
        found = Variants(found, flip, scales)
    return Predictor(description, found, tile=tile, batch_size=batch_size)


def run(cfg: "DictConfig") -> None:
    """Answer about every picture of `cfg.source`, and write what was found below `cfg.output`.

    Raises:
        ConfigError: see `load`; or `cfg.output` holds another job.
        DataError: there are no pictures, or some could not be read; all others are done first.
    """
    began = time.perf_counter()
    items = find([cfg.source], SUFFIXES)
    options = {key: cfg[key] for key in ("runtime", "precision", "tile", "flip", "scales")}
    options["scales"] = list(cfg.scales)
    predictor = load(cfg.ckpt, threads=cfg.threads, **options)
    about = predictor.description
    settings = options | {"net": about.name, "provenance": about.provenance, "format": cfg.format, "top": cfg.top}
    settings["source"] = _identity(cfg.source, items)
    write = writer(about, cfg.format, cfg.top)
    job = _job(cfg.output, about.name, lambda output: Job(predictor, items, output, settings, write))
    output = job.output
    remembered = len(job.lines)
    failed, seconds = 0, 0.0
    for number, line in enumerate(job, start=1 + remembered):
        seconds = seconds or time.perf_counter() - began
        failed += "error" in line
        _say(number, len(items), line)
    if about.task == "classify":
        write_table(output, (job.lines[item.name] for item in items), cfg.top)
    done = len(items) - remembered
    took = time.perf_counter() - began
    if remembered:
        print(f"{remembered} of {len(items)} pictures were done already")
    if done:
        print(f"{done} pictures in {took:.1f} s, {done / took:.1f} a second, the first after {seconds:.1f} s")
    print(f"written: {output}")
    if failed:
        raise DataError(
            f"{failed} of {len(items)} pictures could not be read; {output / 'manifest.jsonl'} names them, and calling "
            "this again tries them alone."
        )


def _job(output: str | None, name: str, make: Callable[[Path], Job]) -> Job:
    """The job in the folder that was named; without a name, in the first of predictions/NAME, NAME-2, ... that fits."""
    if output:
        return make(Path(output).expanduser())
    for number in itertools.count(1):
        with suppress(OccupiedError):
            return make(Path("predictions") / (name if number == 1 else f"{name}-{number}"))
    raise AssertionError


def _identity(source: str, items: Sequence[Item]) -> str:
    """What tells a source from others: where it lies, or what came through the pipe."""
    given = items[0].given
    return hashlib.sha256(given).hexdigest() if isinstance(given, bytes) else str(Path(source).expanduser().absolute())


def _say(number: int, total: int, line: dict[str, Any]) -> None:
    """A line a picture: on a terminal all in one place, but for what went wrong; of few pictures, each."""
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
