"""Where the configuration lies, and what its files offer to be called."""

import glob
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

PACKAGED = Path(__file__).parent / "conf"
CONF = PACKAGED if PACKAGED.is_dir() else Path(__file__).parents[1] / "conf"  # in a wheel, or in a checkout


@cache
def offered_targets() -> frozenset[str]:
    """Every `_target_` that a file of the configuration names, those of this machine's own files included."""
    files = glob.glob(f"{glob.escape(str(CONF))}/**/*.yaml", recursive=True)  # noqa: PTH207 - Path's own passes over links
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
