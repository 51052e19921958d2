"""A study on disk: Optuna's journal, an append-only file that any number of processes may write to."""

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
    """Open the journal at `path`, or create it. An incomplete last line, as a full disk leaves, is removed.

    Raises:
        ConfigError: Optuna is not installed.
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
        warnings.simplefilter("ignore")  # which features Optuna calls experimental varies by release
        return optuna.storages.JournalStorage(JournalFileBackend(str(path), lock))


@contextlib.contextmanager
def optional(words: str) -> Iterator[None]:
    """Raise ConfigError with what to install if an import in the block fails."""
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            f"{words} needs a package that is not installed ({error}); run pip install 'imagier[sweep]'."
        ) from error
