"""A study on disk: optuna's journal, a file that only grows, so that any number of processes may write to it."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from imagier.errors import ConfigError

if TYPE_CHECKING:
    from optuna.storages import JournalStorage

STUDY = "sweep"  # name of the only study in a journal


def open_journal(path: Path) -> "JournalStorage":
    """Open the journal at `path`, or begin it. A last line that a full disk cut off is taken away.

    Raises:
        ConfigError: when optuna is not installed.
    """
    with optional("sweep=optuna"):
        import optuna
        from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
        from optuna.storages.journal._file import get_lock_file
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    lock = JournalFileSymlinkLock(str(path))
    if path.is_file() and not path.read_bytes().endswith(b"\n"):
        with get_lock_file(lock), path.open("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what optuna calls experimental changes from release to release
        return optuna.storages.JournalStorage(JournalFileBackend(str(path), lock))


@contextlib.contextmanager
def optional(words: str) -> Iterator[None]:
    """Say what to install when an import in the block fails."""
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            f"{words} needs a package that is not installed ({error}); run pip install 'imagier[sweep]'."
        ) from error
