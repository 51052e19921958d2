"""Where the configuration lies, and what its files offer to be called."""

import glob
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

PACKAGED = Path(__file__).parent / "conf"
CONF = PACKAGED if PACKAGED.is_dir() else Path(__file__).parents[1] / "conf"  # in a wheel, or in a checkout

# What conf/augment's lists refer to: an experiment may set one, and a sentence then choose a list without it.
OF_TRANSFORMS = ("alternate", "area", "heights", "hue", "interpolation", "jitter", "pixels", "ratio", "side", "size")
OWN = "IMAGIER_CONF"  # environment variable that names another such folder, of a user's own package


def own_conf() -> Path | None:
    """The folder that OWN names, whether it is there or not; None where nothing is said."""
    said = os.environ.get(OWN)
    return Path(said).expanduser().absolute() if said else None


def offered_targets() -> frozenset[str]:
    """Every `_target_` that a file of the configuration names, those of this machine's own files included."""
    own = own_conf()
    return _targets_below(CONF) | (_targets_below(own) if own else frozenset())


@cache
def _targets_below(folder: Path) -> frozenset[str]:
    files = glob.glob(f"{glob.escape(str(folder))}/**/*.yaml", recursive=True)  # noqa: PTH207 - Path's own passes over links
    written = (Path(name).read_text(encoding="utf-8") for name in files)
    return frozenset(target for text in written for target in re.findall(r"_target_:\s*[\"']?([\w.]+)", text))


def targets(node: Any, where: str) -> Iterator[tuple[str, str]]:
    """The place and the `_target_` of every node, of plain dictionaries and lists, that has one."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield where, str(node["_target_"])
        for key, value in node.items():
            yield from targets(value, f"{where}.{key}")
    elif isinstance(node, list):
        for place, value in enumerate(node):
            yield from targets(value, f"{where}[{place}]")
