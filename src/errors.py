"""Errors that a user can cause with settings or files, and can fix.

Each message is one readable paragraph with three parts: the value found, the rule it breaks, and the fix. The command
line prints it without a traceback and exits with `exit_code`.
"""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class ImagierError(Exception):
    """Something the user can fix. Any other exception is a bug and keeps its traceback."""

    exit_code = 1


class ConfigError(ImagierError):
    """The configuration is wrong: an unknown name, a misspelt key, a value out of range, an invalid combination."""

    exit_code = 2


class DataError(ImagierError):
    """A file is missing, corrupt, mismatched or outside its label table."""

    exit_code = 3


class TrainingError(ImagierError):
    """Training cannot continue: the loss is not finite, the checkpoint does not fit, the disk is full."""

    exit_code = 4


class BundleError(ImagierError):
    """A bundle cannot be used or exported: a file is damaged, or its outputs differ from the trained network's."""

    exit_code = 5


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` (with the leading space) for the choice closest to `word`, or an empty string."""
    close = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


@contextmanager
def writing_to(output: Path) -> Iterator[None]:
    """Turn an OSError of the body into a ConfigError that names `output`, the folder it writes to."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"output={output} cannot be written: {error}. Free some disk space, or name another folder."
        ) from error
