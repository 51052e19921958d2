"""A short number that tells whether samples are to be read again."""

import hashlib
import inspect
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from imagier.datamodules.loader import Source


def fingerprint(version: int, source: Source, files: Sequence[str | Path]) -> str:
    """Return sixteen hexadecimal digits that change with any file, the source's code and its settings.

    Moving all files together changes nothing: only where they lie to one another counts.
    """
    # Text and os.stat: Path objects would take most of the time that a large set needs to begin.
    paths = [os.fspath(path) for path in files]
    folders = {path.rpartition(os.sep)[0] for path in paths}
    shared = len(os.path.commonpath(folders)) if folders else 0
    words = [str(version), _code(source), *_settings(source), *source.ids]
    for path in paths:
        words.append(path[shared:])
        try:
            facts = os.stat(path)  # noqa: PTH116
            words.append(f"{facts.st_size} {facts.st_mtime_ns}")
        except OSError:
            words.append("missing")
    return digest(words)


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
