"""Where the configuration files are, and which targets they name."""

import glob
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

PACKAGED = Path(__file__).parent / "conf"
CONF = PACKAGED if PACKAGED.is_dir() else Path(__file__).parents[1] / "conf"  # in a wheel, or in a checkout

# Keys that the lists in conf/augment refer to. An experiment may set one that the list chosen in its place ignores.
OF_TRANSFORMS = ("alternate", "area", "heights", "hue", "interpolation", "jitter", "pixels", "ratio", "side", "size")
OWN = "IMAGIER_CONF"  # environment variable that names a second such folder, for a user's own package


def own_conf() -> Path | None:
    """Return the folder that OWN names, even if it does not exist; None if the variable is not set."""
    said = os.environ.get(OWN)
    return Path(said).expanduser().absolute() if said else None


def offered_targets() -> frozenset[str]:
    """Return every `_target_` named in a file of conf/ or of the user's own folder."""
    own = own_conf()
    return _targets_below(CONF) | (_targets_below(own) if own else frozenset())


@cache
def _targets_below(folder: Path) -> frozenset[str]:
    files = glob.glob(f"{glob.escape(str(folder))}/**/*.yaml", recursive=True)  # noqa: PTH207 - pathlib follows no links
    written = (Path(name).read_text(encoding="utf-8") for name in files)
    return frozenset(target for text in written for target in re.findall(r"_target_:\s*[\"']?([\w.]+)", text))


def targets(node: Any, where: str) -> Iterator[tuple[str, str]]:
    """Yield place and `_target_` of every node that has one, in nested plain dictionaries and lists."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield where, str(node["_target_"])
        for key, value in node.items():
            yield from targets(value, f"{where}.{key}")
    elif isinstance(node, list):
        for place, value in enumerate(node):
            yield from targets(value, f"{where}[{place}]")
