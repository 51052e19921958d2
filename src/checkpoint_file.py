"""Read the contents of a checkpoint file without executing any code in it."""

import zipfile
from pathlib import Path
from typing import Any

import torch

from imagier.errors import TrainingError


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read an imagier checkpoint; its tensors are memory-mapped on the CPU.

    Raises:
        TrainingError: the file is damaged, or not an imagier checkpoint.
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
    """Verify the ZIP checksums, which torch does not: it would load damaged weights as if they were valid."""
    with zipfile.ZipFile(path) as file:
        if damaged := file.testzip():
            raise zipfile.BadZipFile(f"the checksum of {damaged} does not match")


def learnt_classes(path: Path) -> list[str]:
    """Return the class names in an imagier checkpoint; an empty list for any other file that torch can load."""
    stored = torch.load(path.expanduser(), map_location="cpu", weights_only=True)
    about = stored.get("imagier", {}) if isinstance(stored, dict) else {}
    return list(about.get("facts", {}).get("classes", []))
