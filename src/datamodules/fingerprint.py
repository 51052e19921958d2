"""Short numbers that tell whether samples are to be read again."""

import hashlib
import inspect
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from imagier.datamodules.loader import Source


class State(NamedTuple):
    """Of a source and its files, each sixteen hexadecimal digits.

    fingerprint: changes with the files' names, sizes and times, the source's code and its settings. Moving all files
        together changes nothing: only where they lie to one another counts.
    touched: changes also when the file system itself saw a file change; a copy may bring its time along.
    """

    fingerprint: str
    touched: str


def state_of(version: int, source: Source, files: Sequence[str | Path]) -> State:
    """Look at every file once, without reading it. What is missing counts as such."""
    # Text and os.stat: Path objects would take most of the time that a large set needs to begin.
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
    """The paths below the folder that holds them all, whether they are said from the root or from where one stands."""
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
    """The source's class as it is written: whoever changes how samples are read wants them read again."""
    try:
        return inspect.getsource(type(source))
    except OSError:  # typed at a prompt
        return type(source).__qualname__


def digest(words: Iterable[str]) -> str:
    """Return sixteen hexadecimal digits for these words in this order."""
    return hashlib.blake2b("\n".join(words).encode(), digest_size=8).hexdigest()
