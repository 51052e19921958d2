"""Lists the images in a folder, and assigns them to train, val and test."""

import functools
import math
import os
import unicodedata
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from imagier.batch import SPLITS, Split
from imagier.errors import ConfigError, DataError
from imagier.randomness import fraction

_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def subfolders(folder: Path) -> list[str]:
    """Return the names of the folders directly below `folder`, except hidden ones, in alphabetical order."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not _is_hidden(entry.name))


def split_of(name: str) -> Split | None:
    """Return the split that a folder of this name, in upper or lower case, may stand for, or None."""
    return _NAMES.get(name.lower())


def split_folders(root: Path, among: Sequence[str] | None = None) -> dict[Split, Path]:
    """Return the folder of each split that has one; without any, `root` is the folder of the training split.

    A folder `train` is the training split if `val` (or valid, validation) or `test` lies beside it, or no other folder:
    beside `bus` and `car` it is a class of trains. Folders for validation or test without `train` count only if there
    are no others: they are a data set to evaluate on. Case is ignored.

    Args:
        root: folder of a data set.
        among: names of the folders to consider; None: all of them.

    Raises:
        DataError: two folders stand for the same split.
    """
    names = subfolders(root) if among is None else among
    found: dict[Split, Path] = {}
    for name in names:
        split = split_of(name)
        if split is None:
            continue
        if split in found:
            raise DataError(
                f"{root} has both '{found[split].name}' and '{name}' for the same split; merge or rename one."
            )
        found[split] = root / name
    if "train" in found:
        return found if len(found) > 1 or len(names) == 1 else {"train": root}
    return found if found and len(found) == len(names) else {"train": root}


def passed_over(root: Path, folders: Mapping[Split, Path], suffixes: frozenset[str]) -> list[str]:
    """Describe what lies in `root` beside the `folders` of the splits: files of `suffixes`, and other folders."""
    if root in folders.values():
        return []
    with os.scandir(root) as entries:
        files = [Path(entry.name) for entry in entries if entry.is_file() and not entry.name.startswith(".")]
    loose = Counter(suffix for file in files if (suffix := file.suffix.lower()) in suffixes)
    others = sorted({*subfolders(root)} - {folder.name for folder in folders.values()})
    return [*([counted(loose)] if loose else []), *(f"{name}/" for name in others)]


def list_files(folder: Path, suffixes: frozenset[str], ignored: Counter[str]) -> list[str]:
    """List all files of these suffixes below `folder`: relative paths with forward slashes, unordered.

    Hidden files and folders are skipped; files of other suffixes are counted in `ignored` by suffix. Links are
    followed, except those that lead back to a folder on the way to them.

    Raises:
        DataError: a folder cannot be read, or a name is not UTF-8.
    """
    try:
        return list(_walk(folder, "", suffixes, ignored, ()))
    except OSError as error:
        cure = "Fix its permissions." if isinstance(error, PermissionError) else "Fix it, or remove it from the folder."
        raise DataError(f"{error.filename or folder} cannot be read: {error.strerror}. {cure}") from error


def _walk(
    folder: Path, prefix: str, suffixes: frozenset[str], ignored: Counter[str], left: tuple[Path, ...]
) -> Iterator[str]:
    """Yield the files below `folder / prefix`; `left` are the real folders that links on the way were found in."""
    with os.scandir(folder / prefix) as entries:
        for entry in entries:
            if _is_hidden(entry.name):
                continue
            name = prefix + entry.name
            if entry.is_dir():  # known from the listing; only links need a stat
                way = (*left, (folder / prefix).resolve()) if entry.is_symlink() else left
                if not entry.is_symlink() or not any(one.is_relative_to(Path(entry.path).resolve()) for one in way):
                    yield from _walk(folder, f"{name}/", suffixes, ignored, way)
            elif (suffix := os.path.splitext(entry.name)[1].lower()) in suffixes:  # noqa: PTH122 - a Path is slow
                if not name.isascii():
                    check_utf8(entry.path)
                yield name
            else:
                ignored[suffix] += 1


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"  # in zip files made on macOS


def check_utf8(path: str) -> None:
    """Raise DataError if a file name is not UTF-8, since logs, tables and reports could not hold it."""
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"the file name {os.fsencode(path)!r} is not UTF-8; rename the file.") from error


@functools.lru_cache(maxsize=1 << 17)  # called twice per image, to split and to order
def place(name: str) -> float:
    """Hash `name` to [0, 1), the same for composed (Linux) and decomposed (macOS) accents."""
    return fraction(unicodedata.normalize("NFC", name))


def counted(suffixes: Counter[str]) -> str:
    """Describe how many files there are of each suffix."""
    told = ", ".join(f"{count} x {suffix or 'no suffix'}" for suffix, count in suffixes.most_common())
    return told + (" (HEIC is not read: convert it to JPEG)" if {".heic", ".heif"} & suffixes.keys() else "")


def check_shares(split: Sequence[float]) -> None:
    """Raise ConfigError unless `split` is three fractions that add up to 1, with that of train above 0."""
    if len(split) != 3 or min(split) < 0 or not split[0] or not math.isclose(sum(split), 1, abs_tol=1e-6):
        raise ConfigError(
            f"data.split={list(split)} is invalid; give three fractions, for train, val and test, none negative and "
            "the first above 0, that add up to 1, such as [0.7,0.1,0.2]."
        )


def shares_of_cut(split: Sequence[float], own: Container[Split]) -> tuple[float, ...]:
    """Return the fractions of train, val and test in what is cut: none for a val or test folder of its `own`."""
    rest = [0.0 if name in own else share for name, share in zip(SPLITS[1:], split[1:], strict=True)]
    return 1 - sum(rest), *rest


def cut(names: Sequence[str], shares: Sequence[float]) -> list[Split]:
    """Return the split of each of `names`, by the hash of the name alone, so that it stays when files are added.

    Chance could leave a part of a small set empty: fewer than three names all train, and from three on, an empty part
    of a share above 0 gets the name whose hash is nearest to it. Only such names may change sides when others are
    added.

    Args:
        names: paths relative to the folder, with forward slashes.
        shares: fractions of train, val and test; they add up to 1.
    """
    if len(names) < 3:
        return ["train"] * len(names)
    places = np.array([place(name) for name in names])
    edges = np.cumsum([0, *shares])
    parts = np.searchsorted(edges[1:-1], places, side="right")
    for part, share in enumerate(shares):
        if share and part not in parts:
            spare = np.flatnonzero(np.bincount(parts, minlength=len(shares))[parts] > 1)
            middle = (edges[part] + edges[part + 1]) / 2
            parts[spare[np.argmin(abs(places[spare] - middle))]] = part
    return [SPLITS[part] for part in parts]
