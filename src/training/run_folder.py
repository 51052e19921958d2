"""Run folders: RUNS/TASK/MODEL-DATA/TIME, with RUNS/latest beside them."""

import datetime
import os
from pathlib import Path

from imagier.errors import ConfigError

LATEST = "latest"


def new_run_folder(runs: Path, task: str, model: str, data: str) -> Path:
    """Make the folder of a new run and let `latest` name it. Two runs of the same second get different folders."""
    home = runs / task / f"{model}-{data}"
    home.mkdir(parents=True, exist_ok=True)
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for attempt in range(1000):
        folder = home / (stamp if not attempt else f"{stamp}-{attempt + 1}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        name_latest(runs, folder)
        return folder
    raise ConfigError(f"{home} already holds a thousand runs of this second; choose another paths.runs.")


def name_latest(runs: Path, folder: Path) -> None:
    """Point RUNS/latest at `folder`, in one step, so that no reader finds it missing."""
    aside = runs / f".{LATEST}.{os.getpid()}"
    aside.unlink(missing_ok=True)
    aside.symlink_to(os.path.relpath(folder, runs))
    aside.replace(runs / LATEST)


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
    for name in (prefer, "last", "best"):
        found = path / "checkpoints" / f"{name}.ckpt"
        if found.is_file():
            return found
    raise ConfigError(
        f"{word} holds no checkpoints/{prefer}.ckpt; it is not a run folder, or its run was stopped before the first "
        "checkpoint was written."
    )
