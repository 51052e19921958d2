"""`imagier cache`: what is kept on disk so that it need not be made again, and clearing it."""

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig, ListConfig

from imagier.errors import ConfigError, DataError, nearest
from imagier.synthetic import SETS

# folder below the cache -> what is in it
KINDS = {
    "decoded": "decoded and resized images",
    "embedded": "generated data sets",
    "features": "features computed by frozen networks",
    "examined": "results of data set checks",
}

_CLEARED = ".cleared."  # before the name of what is being removed

# What is written there, by its name, also while it is being written: beside it, files of others may lie, which are left
# alone. KEY is sixteen hexadecimal digits.
_KEY = "[0-9a-f]{16}"
_SET = f"({'|'.join(SETS)})-v[0-9]+"
_ASIDE = r"\.[a-z0-9_]{8}"  # as `files.write_aside` ends a name, of which it takes the first 32 characters
_OURS = {
    # KEY-HEIGHTxWIDTH-FORMAT, .KEY-HEIGHTxWIDTH-FORMAT.HOST.PROCESS
    "decoded": rf"(\.cleared\.)?({_KEY}-([0-9]+x[0-9]+|whole)-[0-9]+|\.{_KEY}-[0-9a-z]+-[0-9]+\..+\.[0-9]+)",
    # NAME-vVERSION, .NAME-vVERSION.HOST.PROCESS
    "embedded": rf"(\.cleared\.)?({_SET}|\.{_SET}\..+\.[0-9]+)",
    # KEY.npy
    "features": rf"{_KEY}\.npy|\.{_KEY}\.npy{_ASIDE}",
    # KEY.json, KEY-first-LIMIT.json, KEY-outside-KEY.json
    "examined": rf"{_KEY}(-[a-z]+-[0-9a-f]+)?\.json|\.{_KEY}[-.0-9a-z]{{0,16}}{_ASIDE}",
}


class Entry(NamedTuple):
    """Something that is kept: its kind, its file or folder, what it is, its bytes, and when it was last used."""

    kind: str
    path: Path
    what: str
    size: int
    used: float


def run(cfg: DictConfig) -> None:
    """List what the cache holds, or clear what `cfg.clear` names.

    Raises:
        ConfigError: for a name of nothing.
        DataError: where something cannot be removed.
    """
    cache = Path(cfg.paths.cache).expanduser()
    entries = sorted(_entries(cache), key=lambda entry: (entry.kind, -entry.size))
    clear = cfg["clear"]  # not cfg.clear, which is a method of every mapping
    if clear is None:
        print(_table(cache, entries))
        return
    wanted = [str(word) for word in (clear if isinstance(clear, ListConfig) else [clear])]
    names = ["all", *KINDS, *(entry.path.name for entry in entries)]
    if unknown := [word for word in wanted if word not in names]:
        raise ConfigError(
            f"clear={unknown[0]} matches nothing in {cache}; it is all, {', '.join(KINDS)}, or a name listed by "
            f"`imagier cache`.{nearest(unknown[0], names)}"
        )
    chosen = [entry for entry in entries if {"all", entry.kind, entry.path.name} & set(wanted)]
    for entry in chosen:
        _remove(entry)
    print(f"cleared {len(chosen)} of {len(entries)} entries of {cache}: {_bytes(sum(entry.size for entry in chosen))}")


def _entries(cache: Path) -> Iterator[Entry]:
    for kind in KINDS:
        ours = re.compile(_OURS[kind])
        for path in (path for path in (cache / kind).glob("*") if ours.fullmatch(path.name)):
            try:
                files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
                sizes = [file.stat().st_size for file in files]
                used = max((file.stat().st_mtime for file in (path, *files)), default=0.0)
            except FileNotFoundError:  # another process has renamed it meanwhile, for it is done
                continue
            yield Entry(kind, path, _what(kind, path), sum(sizes), used)


def _what(kind: str, path: Path) -> str:
    if path.name.startswith("."):
        return "incomplete: still being written, or left by a process that died"
    if kind != "decoded":
        return KINDS[kind]
    try:
        about = json.loads((path / "about.json").read_text(encoding="utf-8"))
        size = " x ".join(map(str, about["size"])) if about["size"] else "whole"
        return f"{about['data']} {about['split']}, {about['samples']:,} samples, {size}, of {about['root']}"
    except (OSError, ValueError, KeyError):
        return "damaged"


def _table(cache: Path, entries: list[Entry]) -> str:
    if not entries:
        return f"{cache} holds nothing written by imagier."
    free = shutil.disk_usage(cache).free
    total = sum(entry.size for entry in entries)
    lines = [f"{cache}: {_bytes(total)} in {len(entries)} entries; {_bytes(free)} of disk space free"]
    for kind, meaning in KINDS.items():
        mine = [entry for entry in entries if entry.kind == kind]
        if not mine:
            continue
        lines += ["", f"{kind}, {meaning}: {_bytes(sum(entry.size for entry in mine))}"]
        if kind == "examined":
            lines.append(f"  {len(mine)} small files")
            continue
        for entry in mine:
            used = time.strftime("%Y-%m-%d", time.localtime(entry.used))
            lines.append(f"  {entry.path.name}  {_bytes(entry.size):>9}  last used {used}  {entry.what}")
    return "\n".join([*lines, "", f"Clear with clear=NAME, clear={', clear='.join(KINDS)} or clear=all."])


def _remove(entry: Entry) -> None:
    try:
        if entry.path.is_file():
            entry.path.unlink()
            return
        # Out of its place first, so that nobody opens a folder of which half is gone; an earlier clearing may have left
        # its own there.
        aside = entry.path.with_name(f"{_CLEARED}{entry.path.name.removeprefix(_CLEARED)}")
        if aside != entry.path:
            shutil.rmtree(aside, ignore_errors=True)
            entry.path.rename(aside)
        if aside.exists():
            shutil.rmtree(aside)
    except OSError as error:
        raise DataError(f"{entry.path} cannot be removed: {error.strerror}. Fix its permissions.") from error


def _bytes(count: int) -> str:
    amount = float(count)
    for unit in ("B", "KB", "MB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:,.1f} GB"
