"""What a training step costs beyond the net's own work, and what a preset saves."""

import itertools
import time
from argparse import Namespace
from collections.abc import Iterator

import torch
from sentence import composed, seconds_of_steps
from timing import Row, in_turn

from imagier import build
from imagier.batch import Batch
from imagier.datamodules.base import ImageData

STREETS = ["task=segment", "data=streets", "data.size=[128,128]", "data.batch_size=16", "model=unet"]
GARMENTS = ["task=classify", "data=garments", "data.batch_size=128", "model=cnn"]


def compare(given: Namespace) -> Iterator[Row]:
    """The framework's step against a bare loop's."""
    for what, words, steps, target in (
        ("U-Net 128x128, batch 16", STREETS, 4, 1.03),
        ("CNN 28x28, batch 128", GARMENTS, 40, 1.05),
    ):
        words = [*words, "trainer=cpu"]
        bare = BareLoop(words, steps)
        ours, theirs = in_turn(
            lambda words=words, steps=steps: seconds_of_steps(words, 2, steps), bare.seconds, given.repeats
        )
        yield Row(
            f"training step through Trainer, task, metrics, logging, progress bar: {what}",
            "bare PyTorch loop over batches that lie ready",
            "cost", target, [each / steps for each in ours], [each / steps for each in theirs],
        )  # fmt: skip


class BareLoop:
    """The same net, loss, optimiser and batches, and nothing else."""

    def __init__(self, words: list[str], steps: int) -> None:
        cfg = composed(*words)
        data = build.data_module(cfg)
        self.task = build.task(cfg, data.facts).train()
        self.optimizer = self.task.configure_optimizers()
        self.batches = first_batches(data, steps)

    def seconds(self) -> float:
        """Time of one step for each batch."""
        self._step(self.batches[0])
        began = time.perf_counter()
        for batch in self.batches:
            self._step(batch)
        return time.perf_counter() - began

    def _step(self, batch: Batch) -> None:
        self.optimizer.zero_grad()
        loss = self.task.loss(self.task.net(batch["image"]), batch["target"])
        loss.backward()
        self.optimizer.step()


def first_batches(data: ImageData, count: int) -> list[Batch]:
    """The first training batches, over and over where there are fewer."""
    torch.manual_seed(0)
    return list(itertools.islice(itertools.cycle(list(itertools.islice(data.train_dataloader(), count))), count))
