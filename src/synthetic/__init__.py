"""Embedded data sets, generated on first use in the layouts of real data sets."""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from imagier.errors import ConfigError, DataError, nearest
from imagier.files import beside, left_behind
from imagier.synthetic import garments, leaves, materials, streets

__all__ = ["ensure"]

SETS: dict[str, tuple[int, Callable[..., None], str]] = {
    "garments": (garments.VERSION, garments.generate, "7,000 grey images of garments in Fashion-MNIST's format"),
    "leaves": (leaves.VERSION, leaves.generate, "133 images of overlapping leaves, for restoration and compression"),
    "materials": (materials.VERSION, materials.generate, "2,000 images of materials, one folder per class"),
    "streets": (streets.VERSION, streets.generate, "360 street scenes with labels in Cityscapes' layout"),
}
_DRAWN = 1_577_836_800  # modification time of all files: 2020-01-01 UTC, plus a second per version


def ensure(name: str, cache: Path) -> Path:
    """Return the folder of an embedded data set, generating it first if it is missing.

    The set appears whole or not at all: it is written under a temporary name and then renamed. If two processes
    generate it at once, the later one discards its copy and uses the other's.

    Args:
        name: streets (Cityscapes' layout), garments (Fashion-MNIST's), materials (one folder per class) or leaves (one
            folder of images).
        cache: cache folder, which holds the set as `embedded/NAME-vVERSION`.

    Raises:
        ConfigError: there is no such set.
        DataError: the set cannot be written.
    """
    if name not in SETS:
        raise ConfigError(
            f"there is no embedded data set '{name}'.{nearest(name, SETS)} Choose one of {', '.join(SETS)}."
        )
    version, generate, contents = SETS[name]
    folder = cache / "embedded" / f"{name}-v{version}"
    if not folder.is_dir():
        console = Console(stderr=True)
        console.print(f"Generating {contents} in {folder}, once.", soft_wrap=True, highlight=False, markup=False)
        try:
            _generate_aside(folder, partial(generate, progress=partial(_bar, name, console)), _DRAWN + version)
        except OSError as error:
            raise DataError(
                f"the embedded data set '{name}' could not be written to {folder} ({error}). It needs a writable "
                "folder with about 40 MB: free some disk space, or choose another cache folder."
            ) from error
    return folder


def _generate_aside(folder: Path, generate: Callable[[Path], None], drawn: int) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = beside(folder)
    for left in (*left_behind(folder.parent, re.escape(folder.name)), aside):
        shutil.rmtree(left, ignore_errors=True)
    try:
        generate(aside)
        for path in aside.rglob("*"):  # equal times give equal sets equal fingerprints
            os.utime(path, (time.time(), drawn))
        try:
            aside.rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was faster, with the same bytes
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _bar(name: str, console: Console, steps: Sequence[Any]) -> Iterable[Any]:
    return track(steps, description=f"Generating {name}", console=console, transient=True)
