"""Shared fixtures. Set before any import: no test may use the network, and two test processes share two cores."""

import os

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import io
import multiprocessing
import sys
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from unittest.mock import patch

import pytest

from tests.forked import PRELOADED, speak

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(PRELOADED)
REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def streets_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few embedded street scenes, in Cityscapes' layout."""
    from imagier.synthetic import streets

    root = tmp_path_factory.mktemp("streets")
    streets.generate(root, train=24, val=6, test=6, size=(48, 96))
    return root


@pytest.fixture(scope="session")
def garments_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few embedded garments, in Fashion-MNIST's files."""
    from imagier.synthetic import garments

    root = tmp_path_factory.mktemp("garments")
    garments.generate(root, train=300, test=60)
    return root


@pytest.fixture(scope="session")
def materials_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few embedded materials, one folder per class."""
    from imagier.synthetic import materials

    root = tmp_path_factory.mktemp("materials")
    materials.generate(root, per_class=30)
    return root


@pytest.fixture(scope="session")
def leaves_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few embedded leaves without labels: nine in train, three in val, two in test."""
    from imagier.synthetic import leaves

    root = tmp_path_factory.mktemp("leaves")
    for seed, (split, count) in enumerate({"train": 9, "val": 3, "test": 2}.items()):
        leaves.generate(root / split, count=count, size=(72, 96), seed=seed)
    return root


@pytest.fixture(scope="module")
def short_densenet() -> Iterator[None]:
    """DenseNet-121 with 12 of its 58 layers: two layers exercise a block as well as 24, and much faster."""
    from torchvision.models import DenseNet

    with patch("torchvision.models.densenet121", partial(DenseNet, 32, (6, 2, 2, 2), 64)):
        yield


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests from reading or writing the user's cache."""
    monkeypatch.setenv("IMAGIER_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run slow tests first, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def imagier(*words: str, cwd: Path, script: str = "train.py", code: int = 0) -> str:
    """Run a command in its own process and return its output.

    The process is forked from one that has imported everything, which saves four seconds of imports each time.
    """
    environment = dict(os.environ) | {"PYTHONPATH": str(REPOSITORY)}
    with NamedTemporaryFile("r", encoding="utf-8") as said:
        process = FORKS.Process(target=speak, args=(str(REPOSITORY / script), words, cwd, environment, said.name))
        process.start()
        process.join(300)
        process.kill()
        text = said.read()
    assert process.exitcode == code, text
    return text


def spoken(verb: str, *words: str, cwd: Path, code: int = 0) -> str:
    """Run a command in this process, which has imported everything already, and return its output."""
    from imagier import cli

    said, ended = io.StringIO(), 0
    with chdir(cwd), redirect_stdout(said), redirect_stderr(said), patch.object(sys, "argv", [verb, *words]):
        try:
            cli.main(verb)
        except SystemExit as end:
            ended = int(end.code or 0)
    assert ended == code, said.getvalue()
    return said.getvalue()
