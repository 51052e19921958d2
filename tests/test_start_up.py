"""A command imports only what it needs, since the user waits for every import."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

SLOW = {
    "torch", "torchvision", "torchmetrics", "pytorch_lightning", "lightning_fabric", "numpy", "scipy", "cv2", "PIL",
    "matplotlib", "albumentations", "timm", "segmentation_models_pytorch", "wandb", "tensorboard", "optuna",
}  # fmt: skip
OPTIONAL = {"albumentations", "pydantic", "timm", "segmentation_models_pytorch", "wandb", "tensorboard", "optuna"}


def imported(*words: str) -> tuple[set[str], str]:
    """Return the packages that `train.py` imports for these arguments, and its output."""
    train = [sys.executable, "-X", "importtime", "train.py", *words]
    done = subprocess.run(train, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=True)
    lines = done.stderr.splitlines()
    assert [line for line in lines if not line.startswith("import time:")] == []  # no warnings
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}, done.stdout


@pytest.mark.parametrize("words", [("task=classify", "--cfg", "job"), ("--help",), ("-m", "task=classify", "--help")])
def test_a_sentence_that_only_shows_something_imports_nothing_slow(words: tuple[str, ...]) -> None:
    packages, shown = imported(*words)
    assert "hydra" in packages
    assert not packages & SLOW
    assert "max_epochs: 10" in shown


def test_a_training_imports_no_library_that_it_does_not_use_and_says_how_long_it_took(
    garments_root: Path, tmp_path: Path
) -> None:
    words = ["task=classify", "data=fashion_mnist", f"data.root={garments_root}", f"paths.runs={tmp_path}"]
    packages, said = imported(*words, "trainer=cpu", "trainer.max_steps=1", "test=false", "data.batch_size=20")
    assert "pytorch_lightning" in packages
    assert not packages & OPTIONAL
    assert said.count("first step after ") == 1


def test_help_names_the_choices_of_every_group_but_no_parts_of_others() -> None:
    _, shown = imported("--help")
    assert "\nmodel: airbench, autoencoder, cnn, " in shown
    assert "\nsweep/sampler: random, tpe\n" in shown
    assert "\ndata: cityscapes, " in shown  # and does not list _loader
    assert "usage: imagier train " in shown


def test_help_says_of_every_key_what_its_file_says() -> None:
    _, shown = imported("--help")
    for told in (
        "\nseed: 0 # random seed for everything\n",
        "\n  on_error: raise # or skip: leave out",  # from a file in the choice's defaults
        "\n    decay: null # for instance",
        "\n  width: 64 # channels of the first level",
    ):
        assert told in shown
