"""`imagier cache`: list what is cached on disk, and clear it."""

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

# subfolder of the cache -> its contents
KINDS = {
    "decoded": "decoded and resized images",
    "embedded": "generated data sets",
    "features": "features computed by frozen networks",
    "examined": "results of data set checks",
}

_CLEARED = ".cleared."  # prefix of a folder that is being removed

# Patterns of the names that imagier writes, temporary ones included; any other file in the cache is left alone. KEY is
# sixteen hexadecimal digits.
_KEY = "[0-9a-f]{16}"
_SET = f"({'|'.join(SETS)})-v[0-9]+"
_ASIDE = r"\.[a-z0-9_]{8}"  # suffix that `files.write_aside` adds to the first 32 characters of a name
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
    """One cached file or folder.

    kind: a key of KINDS.
    path: the file or folder.
    what: a description for the table.
    size: in bytes, of all its files together.
    used: newest modification time of the folder and its files, in seconds since the epoch.
    """

    kind: str
    path: Path
    what: str
    size: int
    used: float


def run(cfg: DictConfig) -> None:
    """List the cache's entries, or clear those that `cfg.clear` names.

    Raises:
        ConfigError: a name matches no entry.
        DataError: an entry cannot be removed.
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
            except FileNotFoundError:  # another process has finished writing it and renamed it
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
        # Rename first, so that no process opens a half-removed folder; an interrupted clearing may have left a folder
        # of that name.
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
