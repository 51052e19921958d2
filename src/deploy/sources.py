"""Find input images: files, folders, glob patterns and standard input."""

import functools
import glob
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imagier.datamodules.folder import check_utf8, list_files
from imagier.errors import DataError

MANIFEST = "manifest.jsonl"  # in the output folder of a job
_LONGEST = 1 << 20  # bytes that are read of a manifest's first line


@dataclass(frozen=True)
class Item:
    """An input file: its name for results, and its path, or its bytes if it came through standard input."""

    name: str
    given: Path | bytes

    def state(self) -> list[int]:
        """Return the file's size in bytes and its modification time in ns, from which a job sees that it changed."""
        if isinstance(self.given, bytes):
            return [len(self.given), 0]
        try:
            facts = self.given.stat()
        except OSError:  # reading the file will report the error
            return [-1, 0]
        return [facts.st_size, facts.st_mtime_ns]

    def read(self) -> bytes:
        """Return the bytes. Raises DataError if they cannot be read."""
        if isinstance(self.given, bytes):
            return self.given
        try:
            return self.given.read_bytes()
        except OSError as error:
            raise DataError(f"{self.given} cannot be read: {error.strerror}.") from error


def find(sources: str | Sequence[str], suffixes: frozenset[str]) -> list[Item]:
    """List input files: a file, all files below a folder, the matches of a pattern, or - for standard input.

    Results of earlier jobs, recognised by a manifest in or below a source's folder, are left out.

    Args:
        sources: one of these, or several.
        suffixes: in lower case, of the files to take from a folder.

    Raises:
        DataError: one of the sources contains no file, or one whose name is not UTF-8.
    """
    several = [sources] if isinstance(sources, str) else sources
    found = [item for source in dict.fromkeys(map(str, several)) for item in _find(source, suffixes)]
    for item in found:
        if isinstance(item.given, Path):
            check_utf8(str(item.given))
    items = list({_whole(item.given) if isinstance(item.given, Path) else item.given: item for item in found}.values())
    if len({item.name for item in items}) == len(items):
        return items
    # Names that are equal in several sources are made distinct by their folders.
    common = os.path.commonpath([_whole(item.given).parent for item in items if isinstance(item.given, Path)])
    return [
        item if isinstance(item.given, bytes) else Item(_whole(item.given).relative_to(common).as_posix(), item.given)
        for item in items
    ]


def _whole(path: Path) -> Path:
    """Return the absolute path without .., which in a name could lead out of the output folder."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - links stay as they are


def stems(items: Sequence[Item]) -> dict[str, str]:
    """Map item names to stems for output files: without the suffix, unless two would then be equal."""
    short = {item.name: str(Path(item.name).with_suffix("")) for item in items}
    met = Counter([*short.values(), *(name for name in short if short[name] != name)])
    return {name: stem if met[stem] == 1 else name for name, stem in short.items()}


def _find(source: str, suffixes: frozenset[str]) -> list[Item]:
    if not source.strip():
        raise DataError("source is empty; name a file, a folder, a pattern, or - for standard input.")
    if source == "-":
        return [Item("stdin", sys.stdin.buffer.read())]
    path = Path(source).expanduser()
    if path.is_file():
        return [Item(path.name, path)]
    if path.is_dir():
        found_names = sorted(list_files(path, suffixes, Counter()))
        names = _foreign(path, found_names)
        if not names and found_names:
            raise DataError(
                f"source={source} contains only files written by an earlier job. To use these, name the folder that "
                f"holds them: source={(path / found_names[0]).parent}."
            )
        if not names:
            raise DataError(
                f"source={source} contains no file named {', '.join(sorted(suffixes))}. Name another folder."
            )
        return [Item(name, path / name) for name in names]
    found = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())  # noqa: PTH207
    if not found:
        raise DataError(f"source={source} is neither a file nor a folder, and as a pattern it matches nothing.")
    common = Path(os.path.commonpath([_whole(one).parent for one in found]))
    named = {_whole(one).relative_to(common).as_posix(): one for one in found}
    names = _foreign(common, list(named))
    if not names:
        raise DataError(f"source={source} matches only files written by this program.")
    return [Item(name, named[name]) for name in names]


def _foreign(folder: Path, names: Sequence[str]) -> list[str]:
    """Leave out files below a folder with a job's manifest: they are its results."""

    @functools.cache
    def ours(place: Path) -> bool:
        return _is_job(place / MANIFEST) or (place != folder and ours(place.parent))

    return [name for name in names if not ours((folder / name).parent)]


def _is_job(manifest: Path) -> bool:
    """Whether a job wrote this file: other programs use the name as well."""
    try:
        with manifest.open("rb") as lines:
            head = json.loads(lines.readline(_LONGEST))
    except (OSError, ValueError):
        return False
    return isinstance(head, dict) and "job" in head
