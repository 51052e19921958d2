"""A full disk destroys no existing checkpoint."""

import resource
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from made import run_of

from imagier.build import from_checkpoint
from imagier.checkpoint_file import read_checkpoint
from imagier.errors import TrainingError
from imagier.training import checkpoints
from imagier.training.checkpoints import WholeFileIO


def test_a_full_disk_leaves_the_earlier_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    WholeFileIO().save_checkpoint({"step": 1}, path)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))  # limits file sizes, as a full disk would
    try:
        with pytest.raises(TrainingError, match=r"cannot write .*last\.ckpt.*untouched.*Free space"):
            WholeFileIO().save_checkpoint({"step": 2, "weights": torch.zeros(1_000_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [left.name for left in path.parent.iterdir()] == ["last.ckpt"]


def test_a_checkpoint_without_a_tensor_of_its_net_gets_a_sentence(tmp_path: Path) -> None:
    run_of(tmp_path, "classify", "mlp", size=(28, 28))
    path = tmp_path / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["state_dict"].popitem()
    torch.save(checkpoint, path)
    with pytest.raises(TrainingError, match=r"best\.ckpt does not hold the weights of its network \(.*Missing key"):
        from_checkpoint(path)


def test_damaged_weights_are_not_taken_for_others(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    torch.save({"imagier": {}, "state_dict": {"weight": torch.linspace(1, 2, 1000)}}, path)
    assert len(read_checkpoint(path)["state_dict"]["weight"]) == 1000
    whole = path.read_bytes()
    place = whole.index(torch.linspace(1, 2, 1000)[500:510].numpy().tobytes())
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(TrainingError, match=r"cannot be read as a checkpoint .*it is damaged"):
        read_checkpoint(path)


@pytest.mark.parametrize(("seconds", "wanted"), [(1.0, [0, 7, 14, 19]), (0.1, list(range(20)))])
def test_where_epochs_are_short_and_writing_takes_long_it_takes_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, wanted: list[int]
) -> None:
    now, epochs = 0.0, []

    def save(path: Path) -> None:
        nonlocal now
        epochs.append(trainer.current_epoch)
        now += seconds

    monkeypatch.setattr(checkpoints, "refuse_non_finite", lambda trainer: None)
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now)
    trainer = SimpleNamespace(max_epochs=20, should_stop=False, loggers=[], save_checkpoint=save, is_global_zero=True)
    keeping = checkpoints.Checkpoints(tmp_path, "val/iou", "max")
    monkeypatch.setattr(checkpoints, "_link", lambda source, target: None)
    for epoch in range(20):
        now += 3
        trainer.current_epoch = trainer.global_step = epoch
        keeping.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
    assert epochs == wanted
