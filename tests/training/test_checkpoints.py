"""No checkpoint is lost to a full disk."""

import resource
from pathlib import Path

import pytest
import torch

from imagier.errors import TrainingError
from imagier.training.checkpoints import WholeFileIO


def test_a_full_disk_leaves_the_earlier_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    WholeFileIO().save_checkpoint({"step": 1}, path)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))  # no file may grow further, as on a full disk
    try:
        with pytest.raises(TrainingError, match=r"cannot write .*last\.ckpt.*untouched.*Make room"):
            WholeFileIO().save_checkpoint({"step": 2, "weights": torch.zeros(1_000_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [left.name for left in path.parent.iterdir()] == ["last.ckpt"]
