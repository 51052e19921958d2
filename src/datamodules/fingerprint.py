"""Fingerprints that tell whether samples must be read again."""

import hashlib
import inspect
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from imagier.datamodules.loader import Source


class State(NamedTuple):
    """Fingerprints of a source and its files, each sixteen hexadecimal digits.

    fingerprint: changes with the files' names, sizes and modification times, and with the source's ids, settings and
        class code. Moving all files together changes nothing: only their relative paths count.
    touched: changes also with the files' ctime, since a replaced file may keep its modification time.
    """

    fingerprint: str
    touched: str


def state_of(version: int, source: Source, files: Sequence[str | Path]) -> State:
    """Compute the state from the metadata of all files, without reading them; missing files are allowed."""
    # Text and os.stat: with Path objects, a large data set would spend most of its start-up here.
    paths = [os.fspath(path) for path in files]
    words = [str(version), _code(source), *_settings(source), *source.ids, *_below(paths)]
    numbers: list[int] = []
    changes: list[int] = []
    for path in paths:
        try:
            facts = os.stat(path)  # noqa: PTH116
        except OSError:
            numbers += (-1, 0)
            continue
        numbers += (facts.st_size, facts.st_mtime_ns)
        changes.append(facts.st_ctime_ns)
    found = digest([*words, _text(numbers)])
    return State(found, digest([found, _text(changes)]))


def _below(paths: Sequence[str]) -> list[str]:
    """Return the paths relative to their common folder, whether they are given as absolute or relative."""
    parted = [path.rpartition(os.sep) for path in paths]
    # Each folder once, and without following links as Path.resolve would.
    folders = {parts: os.path.abspath("".join(parts)) for parts in {parts[:2] for parts in parted}}  # noqa: PTH100
    shared = len(os.path.commonpath(folders.values())) if folders else 0
    below = {parts: f"{folder[shared:]}{os.sep}" for parts, folder in folders.items()}
    return [below[folder, sep] + name for folder, sep, name in parted]


def _text(numbers: list[int]) -> str:
    return np.array(numbers, np.int64).tobytes().hex()


def _settings(source: Source) -> list[str]:
    own = getattr(source, "__dict__", {})
    return sorted(f"{name} = {value!r}" for name, value in own.items() if name != "ids" and _is_plain(value))


def _is_plain(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_plain, (*value.keys(), *value.values())))
    return (
        value is None
        or isinstance(value, str | int | float)
        or (isinstance(value, list | tuple) and all(map(_is_plain, value)))
    )


def _code(source: Source) -> str:
    """Return the code of the source's class: if it changes, samples must be read again."""
    try:
        return inspect.getsource(type(source))
    except OSError:  # defined at a prompt
        return type(source).__qualname__


def digest(words: Iterable[str]) -> str:
    """Hash these words, in order, to sixteen hexadecimal digits."""
    return hashlib.blake2b("\n".join(words).encode(), digest_size=8).hexdigest()
