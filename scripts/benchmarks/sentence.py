"""Run a training command in this process up to a certain step, and time its steps or epochs."""

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
    """Raised to end a run once all steps to be timed are done."""


class Stopwatch(Callback):
    """Records the time at the end of every step, after the other callbacks, and ends the run after `last` steps."""

    ends: list[float]  # of the most recent run

    def __init__(self, last: int) -> None:
        self.last = last

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the recorded times."""
        Stopwatch.ends = []

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        """Record the time; end the run after the last step."""
        Stopwatch.ends.append(time.perf_counter())
        if trainer.global_step >= self.last:
            raise Enough


class TakingTurns(Callback):
    """Runs one step of a rival after each step of the run, so that both see the same load on the machine.

    Records the times of both, except for the first `skipped` steps; ends the run after `last`.
    """

    rival: Callable[[], object]
    ours: list[float]  # seconds from the end of a rival's step to the end of the run's next one, all callbacks included
    theirs: list[float]

    def __init__(self, skipped: int, last: int) -> None:
        self.skipped, self.last = skipped, last

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the recorded times."""
        TakingTurns.ours, TakingTurns.theirs = [], []
        self.since = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        """Record the time, and run a step of the rival."""
        now = time.perf_counter()
        TakingTurns.rival()
        if trainer.global_step > self.skipped:
            TakingTurns.ours.append(now - self.since)
            TakingTurns.theirs.append(time.perf_counter() - now)
        if trainer.global_step >= self.last:
            raise Enough
        self.since = time.perf_counter()


class EpochWatch(Callback):
    """Records the start time of every epoch, and ends the run when the third starts."""

    begins: list[float]  # of the most recent run

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the recorded times."""
        EpochWatch.begins = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the time; end the run at the third epoch."""
        EpochWatch.begins.append(time.perf_counter())
        if len(EpochWatch.begins) == 3:
            raise Enough


class Terminal(io.StringIO):
    """A stream that claims to be a terminal, so that progress bars are drawn."""

    def isatty(self) -> bool:
        """Claim to be a terminal."""
        return True


def composed(*words: str) -> DictConfig:
    """Compose the configuration of a training command."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", list(words))


def seconds_of_steps(words: list[str], skipped: int, steps: int) -> float:
    """Train with progress bars; return the seconds of `steps` steps after the first `skipped`."""
    watch = ["+callbacks.stopwatch._target_=sentence.Stopwatch", f"+callbacks.stopwatch.last={skipped + steps}"]
    with tempfile.TemporaryDirectory() as folder, terminal(), suppress(Enough):
        run(composed(*words, *watch, f"paths.runs={Path(folder) / 'runs'}", "test=false"))
    return Stopwatch.ends[skipped + steps - 1] - Stopwatch.ends[skipped - 1]


def step_by_step(words: list[str], rival: Callable[[], object], steps: int) -> tuple[list[float], list[float]]:
    """Train with progress bars, in turns with a rival; return the seconds of each step of both."""
    TakingTurns.rival = rival
    node = "+callbacks.turns"
    watch = [f"{node}._target_=sentence.TakingTurns", f"{node}.skipped=2", f"{node}.last={steps + 2}"]
    with tempfile.TemporaryDirectory() as folder, terminal(), suppress(Enough):
        run(composed(*words, *watch, f"paths.runs={Path(folder) / 'runs'}", "test=false"))
    return TakingTurns.ours, TakingTurns.theirs


def seconds_of_an_epoch(words: list[str]) -> float:
    """Train; return the seconds from the start of the second epoch to the start of the third."""
    watch = "+callbacks.watch._target_=sentence.EpochWatch"
    with tempfile.TemporaryDirectory() as folder, suppress(Enough):
        run(composed(*words, watch, f"paths.runs={Path(folder) / 'runs'}", "test=false"))
    return EpochWatch.begins[2] - EpochWatch.begins[1]


@contextmanager
def terminal() -> Iterator[None]:
    """Replace stderr by a `Terminal` while the block runs."""
    before, sys.stderr = sys.stderr, Terminal()
    try:
        yield
    finally:
        sys.stderr = before
