"""Custom tasks and networks: what they lack is reported before training time is wasted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import imagier
from imagier.batch import Batch
from imagier.errors import ConfigError
from imagier.metrics.means import Means
from imagier.tasks.base import Judged, PerStage, Task
from imagier.tasks.classify import Classify
from tests.conftest import REPOSITORY, spoken
from tests.datamodules.test_masks import SIZE, opened, write

CLASSIFY = [
    "task=classify", "model=mlp", "model.hidden=[8]", "data=fashion_mnist", "data.limit=60", "data.batch_size=30",
    "trainer=cpu", "trainer.max_epochs=1",
]  # fmt: skip
SEGMENT = [
    "task=segment", "model.width=2", "data=masks", "data.classes=[ground,thing]", "data.size=[32,32]",
    "data.batch_size=1", "trainer=cpu", "trainer.max_epochs=1",
]  # fmt: skip


class Off(Task):
    """Scores the distance of the predicted class index from the true one, as a plain number."""

    monitor, mode = "val/error", "min"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.means = PerStage(lambda: Means(["error"]))

    def measure(self, batch: Batch, stage: str) -> tuple[Tensor, Tensor]:
        logits = self(batch["image"])
        return self.loss(logits, batch["target"]), logits.detach().argmax(1)

    def count(self, stage: str, prediction: Tensor, batch: Batch) -> None:
        self.means[stage].update({"error": (prediction - batch["target"]).abs().float()})

    def scores(self, stage: str) -> dict[str, float]:
        return {name: value.item() for name, value in self.means[stage].compute().items()}

    @torch.inference_mode()
    def judge(self, batch: Batch) -> Judged:
        prediction = self(batch["image"]).argmax(1)
        return Judged(prediction, -(prediction - batch["target"]).abs().float())


class Silent(Task):
    """Lacks `judge`, `monitor` and `mode`."""

    measure, count, scores = Classify.measure, Classify.count, Classify.scores


class Misspelt(Off):
    """Monitors a score that it does not compute."""

    monitor = "val/errror"


class Upwards(Off):
    """Has an unknown mode."""

    mode = "up"


class Halved(nn.Module):
    """Returns logits of half the image's size."""

    stride = 2

    def __init__(self, in_channels: int, num_classes: int, **options: Any) -> None:
        super().__init__()
        self.layer = nn.Conv2d(in_channels, num_classes, 2, stride=2)

    def forward(self, image: Tensor) -> Any:
        return self.layer(image)


class Named(Halved):
    """Returns a dictionary, as torchvision's segmentation networks do."""

    def forward(self, image: Tensor) -> Any:
        return {"out": self.layer(image)}


class Strict(Halved):
    """Downsamples by 8, but declares a stride of 2."""

    def forward(self, image: Tensor) -> Any:
        made = self.layer(image)
        coarse = nn.functional.interpolate(nn.functional.avg_pool2d(made, 4), scale_factor=4)
        return nn.functional.interpolate(made + coarse, scale_factor=2)


class Own(nn.Module):
    """A network of another package."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * in_channels, num_classes))

    def forward(self, image: Tensor) -> Tensor:
        made: Tensor = self.layers(image)
        return made


def as_task(kind: type) -> list[str]:
    arguments = ["~task.cutmix", "~task.cutmix_epochs"]
    return [f"task._target_={__name__}.{kind.__name__}", *arguments]


def test_a_score_may_be_a_plain_number(garments_root: Path, tmp_path: Path) -> None:
    spoken("train", *CLASSIFY, *as_task(Off), f"data.root={garments_root}", "test=false", cwd=tmp_path)
    run = tmp_path / "runs" / "latest"
    assert json.loads((run / "metrics.json").read_text())["val"]["error"] > 0
    assert (run / "report.html").exists()


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (Silent, "Silent lacks judge and monitor and mode, which every task defines"),
        (Misspelt, "monitor=val/errror, which is not one of its scores: val/loss, val/error. Did you mean"),
        (Upwards, "Upwards has mode=up; it must be one of: max, min"),
    ],
)
def test_what_a_task_lacks_is_said_before_it_is_trained(
    kind: type, sentence: str, garments_root: Path, tmp_path: Path
) -> None:
    said = spoken("train", *CLASSIFY, *as_task(kind), f"data.root={garments_root}", cwd=tmp_path, code=2)
    assert sentence in said
    assert "epoch 1/1" not in said


@pytest.fixture
def unlabelled(tmp_path: Path) -> Path:
    """A data set whose first validation and first test sample have no labelled pixel."""
    root = tmp_path / "set"
    for split in ("train", "val", "test"):
        write(root, 3, images=f"images/{split}", masks=f"masks/{split}")
    sources = opened(root).sources
    for source in (sources["val"], sources["test"]):
        Image.fromarray(np.full(SIZE, 255, np.uint8)).save(
            root / source.ids[0].replace("images", "masks").replace(".jpg", ".png")
        )
    return root


def test_a_validation_without_a_labelled_pixel_is_said_before_the_training_goes_on(
    unlabelled: Path, tmp_path: Path
) -> None:
    words = [*SEGMENT, f"data.root={unlabelled}", "trainer.limit_val_batches=1", "callbacks.early_stopping.patience=2"]
    said = spoken("train", *words, cwd=tmp_path, code=3)
    assert "none of the val samples has a labelled pixel, so val/iou is undefined" in said


def test_a_test_without_a_labelled_pixel_loses_no_report(unlabelled: Path, tmp_path: Path) -> None:
    spoken("train", *SEGMENT, f"data.root={unlabelled}", "trainer.limit_test_batches=1", cwd=tmp_path)
    run = tmp_path / "runs" / "latest"
    scores = json.loads((run / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert scores["val"]["iou"] >= 0
    assert scores["test"] == {}
    assert json.loads((run / "summary.json").read_text())["samples"] == {"val": 3, "test": 1}
    assert "the test scores are computed on the first 1 of 3 samples." in (run / "report.html").read_text()
    for split in ("val", "test"):
        words = [f"ckpt={run}", f"split={split}", f"trainer.limit_{split}_batches=1"]
        said = spoken("evaluate", *words, cwd=tmp_path, code=3)
        assert f"so {split}/iou is undefined; use more of them (trainer.limit_{split}_batches)" in said
    assert "unet" in spoken("leaderboard", cwd=tmp_path)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (Halved, "Halved returns [1, 2, 15, 18] for images of 30 x 36: the output of a dense network must have"),
        (Named, "Named returns a dict; a network must return its logits as a tensor"),
        (Strict, "Strict has stride=2, but fails for images of 30 x 36 padded to multiples of it"),
        (Strict, "multiples of 8 work: set stride = 8 in its class"),
    ],
)
def test_what_is_wrong_with_the_sizes_of_a_net_is_said(
    kind: type, sentence: str, unlabelled: Path, tmp_path: Path
) -> None:
    words = [*SEGMENT, f"data.root={unlabelled}", "data.size=[30,36]", f"model._target_={__name__}.{kind.__name__}"]
    assert sentence in spoken("train", *words, cwd=tmp_path, code=2)


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's own folder, laid out like conf/, with a task and a network."""
    conf = tmp_path / "conf"
    for group, kind, words in (("task", Off, "labelled: true"), ("model", Own, "tasks: [classify]")):
        (conf / group).mkdir(parents=True)
        (conf / group / "own.yaml").write_text(f"_target_: {__name__}.{kind.__name__}\nname: own\n{words}\n")
    monkeypatch.setenv("IMAGIER_CONF", str(conf))
    return conf


def test_a_task_that_is_not_known_in_use_is_measured_and_refused_by_all_else(
    offered: Path, garments_root: Path, tmp_path: Path
) -> None:
    own = ["task.name=own", "model.tasks=[own]", "data.tasks=[own]", "loss.tasks=[own]", "report=false"]
    spoken("train", *CLASSIFY, *as_task(Off), *own, f"data.root={garments_root}", cwd=tmp_path)
    assert "error" in spoken("evaluate", "ckpt=runs/latest", cwd=tmp_path)
    told = "the checkpoint is of task=own, but deployment supports only segment, classify, denoise, compress"
    for verb, word in (("export", "samples=2"), ("predict", "source=."), ("serve", "port=0")):
        (tmp_path / "one.png").write_bytes(b"")
        assert told in spoken(verb, "ckpt=runs/latest", word, cwd=tmp_path, code=2)
    with pytest.raises(ConfigError, match="task=own"):
        imagier.load(tmp_path / "runs" / "latest")


def test_what_torch_offers_trains_and_is_measured(garments_root: Path, tmp_path: Path) -> None:
    words = ["task=classify", "model=mlp", "data=fashion_mnist", f"data.root={garments_root}", "data.limit=60"]
    words += ["trainer=cpu", "trainer.max_epochs=2", "report=false"]
    others = ["optimizer._target_=torch.optim.RMSprop", "~optimizer.betas"]
    lossy = ["callbacks.early_stopping.patience=1", "+callbacks.early_stopping.monitor=val/loss"]
    assert "+callbacks.early_stopping.mode=max or min" in spoken("train", *words, *lossy, cwd=tmp_path, code=2)
    spoken("train", *words, *others, *lossy, "+callbacks.early_stopping.mode=min", cwd=tmp_path)
    assert "accuracy" in spoken("evaluate", "ckpt=runs/latest", cwd=tmp_path)  # evaluation builds no optimiser
    said = spoken("train", *words, "loss._target_=torch.nn.CrossEntropyLoss", cwd=tmp_path)
    assert "loading the checkpoint will need torch.nn.CrossEntropyLoss for its loss" in said


def test_a_net_of_ones_own_package_is_found_and_trusted_where_its_owner_says(
    offered: Path, garments_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["task=classify", "data=fashion_mnist", "data.limit=60", "trainer=cpu", "trainer.max_epochs=1"]
    spoken("train", *words, "model=own", f"data.root={garments_root}", "report=false", cwd=tmp_path)
    assert "accuracy" in spoken("evaluate", "ckpt=runs/latest", cwd=tmp_path)
    assert "Did you mean 'own'" in spoken("train", "task=classify", "model=owm", cwd=tmp_path, code=2)
    assert ", own, " in spoken("train", "--help", cwd=tmp_path)
    (offered / "model" / "unet.yaml").write_bytes((REPOSITORY / "conf" / "model" / "unet.yaml").read_bytes())
    assert ", own, " in spoken("train", "--help", cwd=tmp_path)
    (offered / "model" / "unet.yaml").write_text("name: unet\n")
    said = spoken("train", "task=classify", cwd=tmp_path, code=2)
    assert "holds model/unet.yaml, but" in said
    assert "rename yours" in said
    monkeypatch.delenv("IMAGIER_CONF")
    said = spoken("evaluate", "ckpt=runs/latest", cwd=tmp_path, code=4)
    assert f"add a file with `_target_: {__name__}.Own`" in said
    assert "or set IMAGIER_CONF to a folder of your own" in said
    monkeypatch.setenv("IMAGIER_CONF", "nowhere")
    assert f"IMAGIER_CONF={tmp_path}/nowhere is not a folder" in spoken("train", "task=classify", cwd=tmp_path, code=2)
