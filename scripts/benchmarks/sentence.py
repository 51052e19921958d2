"""A training sentence, run in this process up to a certain step."""

import io
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from pytorch_lightning import Callback, LightningModule, Trainer

from imagier.cli import CONF
from imagier.training.run import run


class Enough(BaseException):
    """All steps that were asked for are done."""


class Stopwatch(Callback):
    """Takes the time of every step's end, after all other callbacks, and ends the run after `last` steps."""

    ends: list[float]  # of the last run

    def __init__(self, last: int) -> None:
        self.last = last

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        Stopwatch.ends = []

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        """Take the time."""
        Stopwatch.ends.append(time.perf_counter())
        if trainer.global_step >= self.last:
            raise Enough


class TakingTurns(Callback):
    """Lets a rival make a step after each step of the run, so that both meet the machine in the same mood.

    The times of both are taken, but for `skipped` steps at the beginning; the run ends after `last`.
    """

    rival: Callable[[], object]
    ours: list[float]  # seconds from the end of the rival's step to that of the next of the run, all callbacks included
    theirs: list[float]

    def __init__(self, skipped: int, last: int) -> None:
        self.skipped, self.last = skipped, last

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        TakingTurns.ours, TakingTurns.theirs = [], []
        self.since = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        """Take the time, and let the rival have its turn."""
        now = time.perf_counter()
        TakingTurns.rival()
        if trainer.global_step > self.skipped:
            TakingTurns.ours.append(now - self.since)
            TakingTurns.theirs.append(time.perf_counter() - now)
        if trainer.global_step >= self.last:
            raise Enough
        self.since = time.perf_counter()


class EpochWatch(Callback):
    """Takes the time at which every epoch begins, and ends the run at the third."""

    begins: list[float]  # of the last run

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        EpochWatch.begins = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the time."""
        EpochWatch.begins.append(time.perf_counter())
        if len(EpochWatch.begins) == 3:
            raise Enough


class Terminal(io.StringIO):
    """Takes what is written for a person, so that bars are drawn as they are on a terminal."""

    def isatty(self) -> bool:
        """Say that somebody is looking."""
        return True


def composed(*words: str) -> DictConfig:
    """The configuration of a training sentence."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", list(words))


def seconds_of_steps(words: list[str], skipped: int, steps: int) -> float:
    """Train as the sentence says, in front of a terminal; seconds of `steps` steps after the first `skipped`."""
    watch = ["+callbacks.stopwatch._target_=sentence.Stopwatch", f"+callbacks.stopwatch.last={skipped + steps}"]
    with tempfile.TemporaryDirectory() as folder, terminal(), suppress(Enough):
        run(composed(*words, *watch, f"paths.runs={Path(folder) / 'runs'}", "test=false"))
    return Stopwatch.ends[skipped + steps - 1] - Stopwatch.ends[skipped - 1]


def step_by_step(words: list[str], rival: Callable[[], object], steps: int) -> tuple[list[float], list[float]]:
    """Train as the sentence says, in front of a terminal, in turns with a rival; seconds of each step of both."""
    TakingTurns.rival = rival
    node = "+callbacks.turns"
    watch = [f"{node}._target_=sentence.TakingTurns", f"{node}.skipped=2", f"{node}.last={steps + 2}"]
    with tempfile.TemporaryDirectory() as folder, terminal(), suppress(Enough):
        run(composed(*words, *watch, f"paths.runs={Path(folder) / 'runs'}", "test=false"))
    return TakingTurns.ours, TakingTurns.theirs


def seconds_of_an_epoch(words: list[str]) -> float:
    """Train as the sentence says; seconds from the beginning of the second epoch to that of the third."""
    watch = "+callbacks.watch._target_=sentence.EpochWatch"
    with tempfile.TemporaryDirectory() as folder, suppress(Enough):
        run(composed(*words, watch, f"paths.runs={Path(folder) / 'runs'}", "test=false"))
    return EpochWatch.begins[2] - EpochWatch.begins[1]


@contextmanager
def terminal() -> Iterator[None]:
    """Let this process believe that a person reads what it says."""
    before, sys.stderr = sys.stderr, Terminal()
    try:
        yield
    finally:
        sys.stderr = before
