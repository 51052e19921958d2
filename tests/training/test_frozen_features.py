"""Training on cached features of a frozen network, against computing them in every step."""

import sys
from pathlib import Path

import pytest

from imagier import cli
from imagier.datamodules.loader import Samples
from imagier.training.frozen_features import FrozenFeatures
from imagier.training.metrics_csv import read_rows

pytestmark = pytest.mark.usefixtures("short_densenet")
WORDS = [
    "task=classify", "model=densenet", "model.stem=small", "model.freeze=true", "data=fashion_mnist", "data.limit=40",
    "data.size=[16,16]", "data.batch_size=16", "trainer=cpu", "trainer.max_epochs=3", "trainer.log_every_n_steps=1",
    "test=false", "report=false",
]  # fmt: skip
SCORES = ("val/loss", "val/accuracy", "train/loss", "train/step_loss")


def train(root: Path, runs: Path, *words: str) -> list[dict[str, float]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", *WORDS, f"data.root={root}", f"paths.runs={runs}", *words])
        cli.main("train")
    return [{name: row[name] for name in SCORES if name in row} for row in read_rows(runs / "latest" / "metrics.csv")]


def said(runs: Path) -> str:
    return (runs / "latest" / "log.txt").read_text(encoding="utf-8")


def test_they_change_nothing_but_the_time(garments_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = f"paths.cache={tmp_path / 'cache'}"
    cached = train(garments_root, tmp_path / "cached", own)
    assert "features of the frozen part: 40 train samples" in said(tmp_path / "cached")
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 2
    with monkeypatch.context() as patch:
        patch.setattr(FrozenFeatures, "_computed", None)  # the cached features are used
        assert train(garments_root, tmp_path / "again", own) == cached
        patch.setattr(FrozenFeatures, "on_fit_start", lambda *given: None)
        plain = train(garments_root, tmp_path / "plain", own)
    assert len(plain) == len(cached) > 6
    for one, other in zip(cached, plain, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_a_mean_over_two_views_is_measured_without_them(
    garments_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["model.mirror=true", "trainer.max_epochs=1", f"paths.cache={tmp_path / 'cache'}"]
    cached = train(garments_root, tmp_path / "cached", *words)
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 1  # only for training, which sees one view
    monkeypatch.setattr(FrozenFeatures, "on_fit_start", lambda *given: None)
    for one, other in zip(cached, train(garments_root, tmp_path / "plain", *words), strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_what_they_depend_on_makes_new_ones(garments_root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for number, word in enumerate(["seed=0", "seed=1", "data.limit=20", "trainer.precision=bf16-mixed"]):
        train(garments_root, tmp_path / "runs", f"paths.cache={cache}", word, "trainer.max_epochs=1")
        assert len(list((cache / "features").iterdir())) == 2 * (number + 1)


def test_augmentation_is_told_to_forbid_it(garments_root: Path, tmp_path: Path) -> None:
    train(garments_root, tmp_path / "runs", f"paths.cache={tmp_path / 'cache'}", "augment=flip", "trainer.max_epochs=1")
    assert "with augment=none its features are computed only once" in said(tmp_path / "runs")
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 1  # only for validation, which is not augmented


def test_a_sample_that_is_gone_shifts_no_other(
    garments_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Samples._read
    monkeypatch.setattr(Samples, "_read", lambda self, index: None if index == 3 else whole(self, index))
    monkeypatch.setattr("imagier.datamodules.loader._small_rows", lambda source, size: None)
    with pytest.raises(SystemExit) as ended:
        train(garments_root, tmp_path, "data.on_error=skip", f"paths.cache={tmp_path / 'cache'}")
    assert ended.value.code == 3
    assert "1 samples of train can no longer be read" in capsys.readouterr().err
    assert not list((tmp_path / "cache" / "features").glob("*.npy"))


def test_what_is_frozen_and_has_learnt_nothing_is_told(garments_root: Path, tmp_path: Path) -> None:
    train(garments_root, tmp_path, "trainer.max_epochs=1", f"paths.cache={tmp_path / 'cache'}")
    assert "note: model.freeze=true, but the frozen part has random weights" in said(tmp_path)
