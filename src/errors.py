"""What can go wrong through a user's words or files.

Each message is one readable paragraph with three parts: the value that was met, the rule it broke, and the cure.
The command line prints it without a traceback and exits with `exit_code`.
"""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class ImagierError(Exception):
    """Something the user can mend. Everything else is a bug and keeps its traceback."""

    exit_code = 1


class ConfigError(ImagierError):
    """The sentence is wrong: an unknown name, a misspelt key, a value out of range, a pair that does not fit."""

    exit_code = 2


class DataError(ImagierError):
    """A file is missing, corrupt, mismatched or outside its label table."""

    exit_code = 3


class TrainingError(ImagierError):
    """Training cannot go on: the loss is not finite, the checkpoint does not fit, the disk is full."""

    exit_code = 4


class BundleError(ImagierError):
    """An exported net cannot be used or made: a file of its is damaged, or its answers are not the trained net's."""

    exit_code = 5


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` (with the leading space) for the choice closest to `word`, or an empty string."""
    close = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


@contextmanager
def writing_to(output: Path) -> Iterator[None]:
    """Tell an OSError of the body as a ConfigError that names `output`, the folder into which it writes."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"output={output} cannot be written: {error}. Free some disk space, or name another folder."
        ) from error
