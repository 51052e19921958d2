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
    """Create a folder named by the current time under `runs`/`below`; further ones of the same second get a number.

    Raises:
        ConfigError: if it cannot be created.
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
    """Return the run's folder in all of its processes: the leader creates it and tells the others its path."""
    if launch().by == "imagier" and not leader():
        return Path(os.environ[RUN_FOLDER])
    folder = shared(lambda: make().absolute())
    os.environ[RUN_FOLDER] = str(folder)  # for processes that this one may start
    return folder


def name_latest(runs: Path, folder: Path) -> None:
    """Point the symlink RUNS/latest at `folder`, atomically, so that no reader finds it missing.

    In a SLURM job also RUNS/slurm-JOB, by which the job finds its run when it is requeued. Creates `runs`, which may
    not exist yet when a run is resumed from elsewhere. A link that cannot be made is only logged as a warning.
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
    """Return the checkpoint that `word` names: a file, or that of a run folder, if possible `prefer` (best or last).

    Raises:
        ConfigError: if there is no checkpoint.
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
