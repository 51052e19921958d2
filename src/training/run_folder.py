"""Run folders: RUNS/TASK/MODEL-DATA/TIME, with RUNS/latest beside them."""

import datetime
import logging
import os
from collections.abc import Callable
from pathlib import Path

from imagier.errors import ConfigError
from imagier.launch import RUN_FOLDER, launch, leader
from imagier.training.processes import shared

LATEST = "latest"
log = logging.getLogger(__name__)


def new_folder(runs: Path, *below: str) -> Path:
    """Make a folder that is named by the time below a place in `runs`. Two of the same second get different ones.

    Raises:
        ConfigError: when it cannot be made.
    """
    home = runs.joinpath(*below)
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"paths.runs={runs} cannot be written ({error}); name a folder that can.") from error
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for attempt in range(1000):
        folder = home / (stamp if not attempt else f"{stamp}-{attempt + 1}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise ConfigError(f"{home} already has a thousand runs started in this second; choose another paths.runs.")


def shared_run_folder(make: Callable[[], Path]) -> Path:
    """Return the one folder of a run for all its processes: the leader makes it and tells the others."""
    if launch().by == "imagier" and not leader():
        return Path(os.environ[RUN_FOLDER])
    folder = shared(lambda: make().absolute())
    os.environ[RUN_FOLDER] = str(folder)  # for processes that this one may start
    return folder


def name_latest(runs: Path, folder: Path) -> None:
    """Point RUNS/latest at `folder`, in one step, so that no reader finds it missing.

    A job of SLURM finds its run again as RUNS/slurm-JOB when it is started anew. A run that is resumed from elsewhere
    may be the first of its `runs`; where no link can be made, a sentence says so, and the run goes on.
    """
    for name in (LATEST, *(f"slurm-{job}" for job in [os.environ.get("SLURM_JOB_ID")] if job)):
        aside = runs / f".{name}.{os.getpid()}"
        try:
            runs.mkdir(parents=True, exist_ok=True)
            aside.unlink(missing_ok=True)
            aside.symlink_to(os.path.relpath(folder, runs))
            aside.replace(runs / name)
        except OSError as error:
            log.warning("%s could not be linked to this run (%s); the run is in %s", runs / name, error, folder)


def find_checkpoint(word: str | Path, prefer: str) -> Path:
    """Return the checkpoint that `word` names: a file, or a run folder, of which `prefer` (best or last) is taken.

    Raises:
        ConfigError: when there is none, saying what is there.
    """
    path = Path(word).expanduser()
    if path.is_file():
        return path.resolve()
    if not path.is_dir():
        raise ConfigError(
            f"{word} does not exist; name a run folder (runs/latest is the newest) or a checkpoint file in one."
        )
    path = path.resolve()
    if (path / "bundle.json").is_file():
        raise ConfigError(
            f"{word} is a bundle, but this command needs the run that it was exported from: name the run folder."
        )
    for name in (prefer, "last", "best"):
        found = path / "checkpoints" / f"{name}.ckpt"
        if found.is_file():
            return found
    raise ConfigError(
        f"{word} has no checkpoints/{prefer}.ckpt; it is not a run folder, or its run stopped before the first "
        "checkpoint was written."
    )
