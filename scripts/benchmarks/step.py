"""Overhead of a training step beyond the network's own computation, and the speed-up of presets and caches."""

import itertools
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator

import torch
from sentence import composed, seconds_of_an_epoch, seconds_of_steps, step_by_step
from timing import Row, in_turn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassConfusionMatrix

from imagier import build
from imagier.metrics.confusion import ConfusionMatrix
from imagier.training import run
from imagier.training.frozen_features import FrozenFeatures

STREETS = ["task=segment", "data=streets", "data.size=[128,128]", "data.batch_size=16", "model=unet"]
CROPS = [*STREETS[:2], "data.size=[240,320]", "data.batch_size=12", "model=swiftnet", "loss=cross_entropy_dice"]
GARMENTS = ["task=classify", "data=garments", "data.batch_size=128", "model=cnn"]


def compare(given: Namespace) -> Iterator[Row]:
    """Compare the framework's step with a bare loop's, then yield the rows of the other functions here."""
    for what, words, steps, target in (
        ("U-Net 128x128, batch 16", STREETS, 4, 1.03),
        ("CNN 28x28, batch 128", GARMENTS, 40, 1.05),
    ):
        words = [*words, "trainer=cpu"]
        ours, theirs = step_by_step(words, BareLoop(words).step, steps * given.repeats)
        yield Row(
            f"training step through Trainer, task, metrics, logging, progress bar: {what}",
            "bare PyTorch loop over batches that lie ready", "cost", target, ours, theirs,
            note="step by step in turns",
        )  # fmt: skip

    yield presets(given)
    yield by_muon(given)
    yield memory_kept(given)
    yield frozen_net(given)
    yield confusion(given)


def presets(given: Namespace) -> Row:
    """trainer=cpu_fast against eager float32 PyTorch."""
    fast = [*STREETS, "trainer=cpu_fast"]
    plain = [*STREETS, "trainer=cpu", "trainer.channels_last=false"]
    ours, theirs = in_turn(
        lambda: seconds_of_steps(fast, 2, 4) / 4, lambda: seconds_of_steps(plain, 2, 4) / 4, given.repeats
    )
    return Row(
        "training step with trainer=cpu_fast (channels_last, bf16): U-Net 128x128, batch 16",
        "eager float32, contiguous", "speed-up", 1.6, ours, theirs,
    )  # fmt: skip


def by_muon(given: Namespace) -> Row:
    """A step with Muon, which orthogonalises the updates of matrices and kernels, against one with AdamW."""
    words = [*CROPS, "trainer=cpu_fast"]
    ours, theirs = in_turn(
        lambda: seconds_of_steps([*words, "optimizer=muon"], 2, 4) / 4,
        lambda: seconds_of_steps([*words, "optimizer=adamw"], 2, 4) / 4,
        given.repeats,
    )
    return Row(
        "training step with optimizer=muon: SwiftNet 240x320, batch 12, trainer=cpu_fast", "optimizer=adamw", "cost",
        1.2, ours, theirs,
    )  # fmt: skip


def memory_kept(given: Namespace) -> Row:
    """Keeping freed memory against the C library's defaults, each in its own process: they cannot be restored."""

    def apart(keeps: str) -> float:
        told = subprocess.run([sys.executable, __file__, keeps], capture_output=True, text=True, check=True).stdout
        return float(told.splitlines()[-1])

    ours, theirs = in_turn(lambda: apart("kept"), lambda: apart("returned"), given.repeats, warm_up=0)
    return Row(
        "training step with freed memory kept: SwiftNet 240x320, batch 12, trainer=cpu_fast", "memory returned",
        "speed-up", 1.1, ours, theirs, note="depends on how dear the kernel's pages are, dearer in a virtual machine",
    )  # fmt: skip


def frozen_net(given: Namespace) -> Row:
    """A later epoch on cached features, against running the frozen network again."""
    data, samples = ["data=garments"], 5_400
    if given.data and (given.data / "FashionMNIST").is_dir():
        data, samples = ["data=fashion_mnist", f"data.root={given.data}", "data.limit=20000"], 20_000
    words = [
        "task=classify", "model=densenet", "model.freeze=true", "model.upsample=32", *data,
        "data.batch_size=128", "trainer=cpu", "trainer.max_epochs=3",
    ]  # fmt: skip
    cached = FrozenFeatures.on_fit_start

    def second_epoch(remember: bool) -> float:
        FrozenFeatures.on_fit_start = cached if remember else lambda *given: None  # type: ignore[method-assign]
        try:
            return seconds_of_an_epoch(words)
        finally:
            FrozenFeatures.on_fit_start = cached  # type: ignore[method-assign]

    ours, theirs = in_turn(lambda: second_epoch(True), lambda: second_epoch(False), min(2, given.repeats), warm_up=0)
    return Row(
        "frozen DenseNet121, an epoch after the first, with validation", "computing its features again",
        "speed-up", 20, ours, theirs, images=samples, note="28x28 pixels enlarged to 32x32",
    )  # fmt: skip


def confusion(given: Namespace) -> Row:
    """The confusion matrix of 480x360 masks, against torchmetrics' own."""
    torch.manual_seed(0)
    truth = torch.randint(0, 12, (8, 360, 480), dtype=torch.uint8)
    truth[truth == 11] = 255
    prediction = torch.randint(0, 11, (8, 360, 480))
    ours, theirs = ConfusionMatrix(11, 255), MulticlassConfusionMatrix(11, ignore_index=255)

    def ten(metric: Metric, target: torch.Tensor) -> None:
        for _ in range(10):
            metric.update(prediction, target)

    long = truth.long()  # torchmetrics does not accept uint8; the conversion is not timed
    times = in_turn(lambda: ten(ours, truth), lambda: ten(theirs, long), given.repeats)
    if not torch.equal(ours.compute(), theirs.compute()):
        raise RuntimeError("the two confusion matrices differ")
    return Row(
        "IoU's confusion matrix of 480x360 masks, 11 classes", "torchmetrics' MulticlassConfusionMatrix", "speed-up", 2,
        *times, images=80, note="the counts are equal to the last",
    )  # fmt: skip


class BareLoop:
    """A training loop with the same network, loss and optimiser, on the first eight batches in memory."""

    def __init__(self, words: list[str]) -> None:
        cfg = composed(*words)
        data = build.data_module(cfg)
        self.task = build.task(cfg, data.facts).train()
        self.optimizer = self.task.configure_optimizers()
        self.batches = itertools.cycle(list(itertools.islice(data.train_dataloader(), 8)))

    def step(self) -> None:
        """Take one optimiser step on the next batch."""
        batch = next(self.batches)
        self.optimizer.zero_grad()
        loss = self.task.loss(self.task.net(batch["image"]), batch["target"])
        loss.backward()
        self.optimizer.step()


if __name__ == "__main__":  # either side of `memory_kept`
    if sys.argv[1] == "returned":
        run.keep_freed_memory = lambda cfg: None
    print(seconds_of_steps([*CROPS, "trainer=cpu_fast"], 2, 6) / 6)
