"""What is in the file of a checkpoint, read without executing anything in it."""

import zipfile
from pathlib import Path
from typing import Any

import torch

from imagier.errors import TrainingError


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of this house.

    Raises:
        TrainingError: when the file is not such a checkpoint.
    """
    try:
        _refuse_damage(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise TrainingError(
            f"{path} cannot be read as a checkpoint ({' '.join(str(error).split())[:200]}); it is damaged or not a "
            "checkpoint. A run folder has another one: checkpoints/best.ckpt or checkpoints/last.ckpt."
        ) from error
    if not isinstance(checkpoint, dict) or "imagier" not in checkpoint:
        raise TrainingError(
            f"{path} was not written by imagier: it holds no configuration. Name a checkpoint of a run folder."
        )
    return checkpoint


def _refuse_damage(path: Path) -> None:
    """Check the file's own checksums, which torch does not: it takes damaged weights for others."""
    with zipfile.ZipFile(path) as file:
        if damaged := file.testzip():
            raise zipfile.BadZipFile(f"the checksum of {damaged} does not match")


def learnt_classes(path: Path) -> list[str]:
    """The names of the classes that a checkpoint of this house has learnt; none, where the file is another one."""
    stored = torch.load(path.expanduser(), map_location="cpu", weights_only=True)
    about = stored.get("imagier", {}) if isinstance(stored, dict) else {}
    return list(about.get("facts", {}).get("classes", []))
