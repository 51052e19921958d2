"""Two trainings in one command: the second starts from the weights of the first."""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from imagier import build, cli
from imagier.batch import Facts
from imagier.checkpoint_file import read_checkpoint
from imagier.pretraining import is_shared

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SENTENCE = [
    "experiment=transfer_cpu", "debug=one_batch", "trainer.precision=32-true", "model.upsample=null",
    "model.freeze=true", "report=false",
]  # fmt: skip


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of noise images for each of ten classes."""
    draw, root = np.random.default_rng(0), tmp_path_factory.mktemp("house") / "objects"
    for name in CLASSES:
        (root / name).mkdir(parents=True)
        for number in range(12):
            noise = draw.integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(noise).save(root / name / f"{number}.png")
    return root


def train(root: Path, *words: str, sentence: Sequence[str] = SENTENCE, runs: str = "runs") -> Path:
    """Run the command and return its newest run folder."""
    given = [*sentence, f"data.root={root}", f"paths.runs={root.parent / runs}", f"paths.cache={root.parent / 'cache'}"]
    say(*given, *words)
    return (root.parent / runs / "latest").resolve()


def say(*words: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", *words])
        cli.main("train")


@pytest.fixture(scope="module")
def pair(objects: Path) -> tuple[Path, Path]:
    """The two run folders of one command."""
    second = train(objects, "seed=3", "trainer.max_epochs=1")
    (first,) = set(second.parent.iterdir()) - {second}
    return first, second


def weights(run: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = read_checkpoint(run / "checkpoints" / "best.ckpt")["state_dict"]
    return {name: value for name, value in state.items() if ".features." in name}


def test_a_net_begins_with_the_weights_of_the_experiment_that_is_named(objects: Path, pair: tuple[Path, Path]) -> None:
    of_first, of_second = (read_checkpoint(run / "checkpoints" / "best.ckpt") for run in pair)
    assert of_first["imagier"]["facts"]["classes"] == list(CLASSES[:5])
    assert of_second["imagier"]["facts"]["classes"] == list(CLASSES[5:])
    learnt, kept = map(weights, pair)
    assert len(kept) > 100
    assert all(torch.equal(value, learnt[name]) for name, value in kept.items())  # the second trains only the head
    third = train(objects, f"model.weights={pair[0]}", runs="third")
    assert len([run for run in third.parent.iterdir() if not run.is_symlink()]) == 1  # no pretraining took place
    assert all(torch.equal(value, learnt[name]) for name, value in weights(third).items())


def test_a_head_of_other_classes_is_forgotten_and_one_of_the_same_is_kept(pair: tuple[Path, Path]) -> None:
    first, second = pair
    _, cfg, said = build.from_checkpoint(second / "checkpoints" / "best.ckpt")
    learnt = read_checkpoint(first / "checkpoints" / "best.ckpt")
    cfg.model.weights = str(first / "checkpoints" / "best.ckpt")
    other, same = (build.net(cfg, Facts.from_dict(one["facts"])).net for one in (said, learnt["imagier"]))
    assert not any(parameter.any() for parameter in other.classifier.parameters())
    kept = [value for name, value in learnt["state_dict"].items() if name.endswith("classifier.weight")]
    assert torch.equal(same.classifier.weight, kept[0])


def test_the_first_run_records_a_sentence_of_its_own_and_goes_on_with_it(pair: tuple[Path, Path]) -> None:
    first, second = pair
    said = [set((run / "overrides.txt").read_text().splitlines()) for run in pair]
    assert {"experiment=transfer_cpu", "trainer.max_epochs=1", "model.freeze=true"} <= said[1]
    shared = {"debug=one_batch", "trainer.precision=32-true", "model.upsample=null", "seed=3"}
    told = {"experiment=transfer_source", *shared}
    assert {word for word in said[0] if not word.startswith(("paths.", "data."))} == told
    seconds = [json.loads((run / "summary.json").read_text())["seconds"] for run in pair]
    assert seconds[1] > seconds[0]
    assert pretraining(second) == seconds[0]
    say(f"resume={first}", "trainer.max_epochs=2")
    again = read_checkpoint(first / "checkpoints" / "last.ckpt")
    assert again["imagier"]["facts"]["classes"] == list(CLASSES[:5])
    assert set(second.parent.iterdir()) == {first, second}
    say(f"resume={second}", "trainer.max_epochs=2")
    assert pretraining(second) == seconds[0]  # of the first run as it was then


def pretraining(run: Path) -> float:
    """The seconds that a run records for its pretraining."""
    seconds: float = read_checkpoint(run / "checkpoints" / "last.ckpt")["callbacks"]["Schedule"]["pretraining"]
    return seconds


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["pretrain=transfer_sauce"],
            "pretrain=transfer_sauce is not an experiment; .*Did you mean 'transfer_source'?",
        ),
        (["pretrain=first_run"], "trains model=unet, whose weights cannot initialise model=densenet"),
        (["pretrain=transfer_cpu"], "itself has a pretraining .transfer_source.; name that"),
        (["trainer.devices=2"], "runs in a single process only: train experiment=transfer_source separately"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_cannot_be_is_said(
    objects: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        train(objects, *words)
    assert ended.value.code == 2
    assert re.search(sentence, capsys.readouterr().err)


def test_pictures_that_would_measure_what_they_taught_are_refused(
    objects: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = ["task=classify", "model=densenet", "data=photos", "model.upsample=64", "pretrain=transfer_source"]
    with pytest.raises(SystemExit):
        train(objects, sentence=sentence, runs="none")
    told = "splits its images by data.split=[0.9, 0.1, 0.0], but this run by [0.7, 0.1, 0.2]"
    assert told in capsys.readouterr().err


def test_another_net_is_refused_before_it_is_trained(objects: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train(objects, sentence=["experiment=transfer_cpu", "pretrain=baseline_densenet"], runs="none")
    told = "trains with model.upsample=None, but this run has model.upsample=64: set model.upsample=... on the"
    assert told in capsys.readouterr().err
    assert not (objects.parent / "none").exists()


@pytest.mark.parametrize(
    ("word", "shared"),
    [
        ("model.width=32", True),
        ("~model.mirror", True),  # removing an option from one network removes it from both
        ("model.mirror=true", False),
        ("data.label_set=train", True),
        ("data.split=[0.5,0.2,0.3]", True),
        ("data.size=[64,64]", False),
        ("trainer.precision=32-true", True),
        ("trainer.budget=1m", False),
    ],
)
def test_words_of_the_net_and_the_labels_are_of_both_trainings(word: str, shared: bool) -> None:
    assert is_shared(word) is shared
