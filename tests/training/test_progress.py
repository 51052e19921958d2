"""Progress of a run: validation, log lines, plots, and when it ends."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from imagier.training.finite import StopOnNonFiniteLoss
from imagier.training.metrics_csv import read_rows
from tests.training.test_run import CLASSIFY, SHORT, refused, say


def test_a_loss_that_is_not_finite_names_the_batch_and_the_cure(
    garments_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*CLASSIFY, f"data.root={garments_root}", f"paths.runs={tmp_path}"]
    code = refused("train", *words, "optimizer=sgd", "optimizer.lr=1e38", "scheduler=constant")
    said = capsys.readouterr().err
    assert code == 4
    assert re.search(r"the loss became (nan|inf) in epoch 1, step \d+, on the batch of \S+", said)
    assert "optimizer.lr" in said
    assert "Traceback" not in said


def test_weights_that_are_no_numbers_are_not_saved(
    garments_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where not every loss is checked."""

    def look_the_other_way(*_: Any) -> None:
        pass

    words = [*CLASSIFY, f"data.root={garments_root}", f"paths.runs={tmp_path}", "scheduler=constant"]
    say("train", *words, "optimizer=sgd", "trainer.max_epochs=1")
    run = (tmp_path / "latest").resolve()
    good = (run / "checkpoints" / "last.ckpt").read_bytes()
    monkeypatch.setattr(StopOnNonFiniteLoss, "on_before_backward", look_the_other_way)
    code = refused("train", f"resume={run}", "optimizer.lr=1e38", "trainer.max_epochs=2")
    said = capsys.readouterr().err
    assert code == 4
    assert re.search(r"weights became NaN or infinite after step 18\. .*last\.ckpt holds the last valid state", said)
    assert (run / "checkpoints" / "last.ckpt").read_bytes() == good


@pytest.mark.parametrize(
    "end", ["trainer.max_epochs=3", "trainer.budget=1s", "trainer.max_epochs=9 trainer.max_steps=25"]
)
def test_the_end_is_validated_however_many_epochs_lie_between_validations(
    garments_root: Path, tmp_path: Path, end: str
) -> None:
    words = [*CLASSIFY, f"data.root={garments_root}", f"paths.runs={tmp_path}", *end.split(), *SHORT]
    say("train", *words, "trainer.check_val_every_n_epoch=500")
    rows = read_rows(tmp_path / "latest" / "metrics.csv")
    validated = [row["epoch"] for row in rows if "val/loss" in row]
    assert validated == [max(row["epoch"] for row in rows if "train/loss" in row)]
    assert validated[0] >= 2


def test_pictures_are_drawn_where_validations_are_rare(garments_root: Path, tmp_path: Path) -> None:
    words = [*CLASSIFY, f"data.root={garments_root}", f"paths.runs={tmp_path}", "trainer.max_epochs=8", *SHORT]
    say("train", *words, "trainer.check_val_every_n_epoch=2", "callbacks.pictures.every_n_epochs=3")
    drawn = sorted(path.name for path in (tmp_path / "latest" / "pictures").glob("epoch_*.png"))
    assert drawn == [f"epoch_000{epoch}.png" for epoch in (2, 4, 8)]  # due in epochs 1, 4 and 7


def test_shares_of_batches_that_are_none_are_refused_before_training(
    garments_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*CLASSIFY, f"data.root={garments_root}", f"paths.runs={tmp_path}/runs", "trainer.limit_test_batches=0.1"]
    assert refused("train", *words) == 2
    assert "trainer.limit_test_batches=0.1 of 2 batches is less than one" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_line_tells_no_score_of_an_earlier_epoch(garments_root: Path, tmp_path: Path) -> None:
    words = [*CLASSIFY, f"data.root={garments_root}", f"paths.runs={tmp_path}", "trainer.max_epochs=4", *SHORT]
    say("train", *words, "trainer.check_val_every_n_epoch=2")
    lines = re.findall(r"epoch (\d)/4: (.*)", (tmp_path / "latest" / "log.txt").read_text())
    assert [number for number, told in lines if "val/" in told] == ["2", "4"]
    assert all("train/loss" in told for _, told in lines)


def test_the_budget_ends_the_run_and_the_schedule_fits_it(garments_root: Path, tmp_path: Path) -> None:
    words = [*CLASSIFY, f"data.root={garments_root}", f"paths.runs={tmp_path}", "trainer.budget=3s"]
    say("train", *words, "scheduler=cosine", "scheduler.final=0.0", "trainer.log_every_n_steps=1")
    rates = [row["lr"] for row in read_rows(tmp_path / "latest" / "metrics.csv") if "lr" in row]
    assert len(rates) > 20
    assert rates[-1] < 0.02 * max(rates)


def test_early_stopping_ends_a_run_that_has_stopped_improving(garments_root: Path, tmp_path: Path) -> None:
    words = [*CLASSIFY, f"data.root={garments_root}", f"paths.runs={tmp_path}", "trainer.max_epochs=30", *SHORT]
    say("train", *words, "optimizer.lr=1e-9", "callbacks.early_stopping.patience=2")

    def validated() -> list[float]:
        return [row["epoch"] for row in read_rows(tmp_path / "latest" / "metrics.csv") if "val/loss" in row]

    assert validated() == [0, 1, 2]
    say("train", f"resume={tmp_path}/latest")  # as after a missing report
    assert validated() == [0, 1, 2]
    say("train", f"resume={tmp_path}/latest", "callbacks.early_stopping.patience=3")
    assert validated() == [0, 1, 2, 3]


def test_a_score_that_validation_does_not_measure_cannot_be_monitored(
    garments_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        *CLASSIFY,
        f"data.root={garments_root}",
        f"paths.runs={tmp_path}",
        *SHORT,
        "+callbacks.early_stopping.mode=min",
    ]
    words += ["callbacks.early_stopping.patience=2", "+callbacks.early_stopping.monitor=val/los"]
    assert refused("train", *words) == 2
    said = capsys.readouterr().err
    assert "EarlyStopping monitors val/los, which validation during training does not measure" in said
    assert "Did you mean 'val/loss'?" in said


def test_a_step_is_of_the_mean_over_the_batches_that_there_are(garments_root: Path, tmp_path: Path) -> None:
    words = [*CLASSIFY, f"data.root={garments_root}", "trainer.limit_train_batches=2", "trainer.max_epochs=1", *SHORT]
    words += ["optimizer=sgd", "optimizer.lr_scaling=none"]
    for gathered in (2, 4):  # an epoch has two batches, fewer than a step of four
        say("train", *words, f"trainer.accumulate_grad_batches={gathered}", f"paths.runs={tmp_path}/{gathered}")
    one, other = (
        torch.load(tmp_path / name / "latest/checkpoints/last.ckpt", weights_only=True)["state_dict"] for name in "24"
    )
    assert all(torch.equal(weight, other[name]) for name, weight in one.items())
