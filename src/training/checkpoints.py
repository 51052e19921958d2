"""best.ckpt and last.ckpt: when they are written, and how a signal or a full disk loses nothing."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, NoReturn

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from imagier.errors import ImagierError, TrainingError
from imagier.files import write_aside
from imagier.signals import answered_by
from imagier.tasks.base import Task
from imagier.training.finite import refuse_non_finite
from imagier.training.processes import agreed, everywhere

SHARE, SHORT = 1 / 20, 0.2  # largest share of the time for writing after epochs; seconds of a write never put off
TWICE = 2.0  # seconds in which a signal may come twice: from the terminal to every process, and again through torchrun


class Interrupted(ImagierError):  # noqa: N818 - not an error
    """The run was asked to stop and has saved its checkpoint."""

    def __init__(self, number: int, last: Path) -> None:
        super().__init__(
            f"stopped by {signal.Signals(number).name}; nothing is lost. "
            f"Continue with: imagier train resume={last.parent.parent}"
        )
        self.exit_code = 128 + number


class Ended(ImagierError):  # noqa: N818 - not an error
    """The run was asked to stop after training, before its report was written."""

    def __init__(self, number: int, best: Path) -> None:
        super().__init__(
            f"ended by {signal.Signals(number).name} after training, before the report was written; nothing is lost. "
            f"Write it with: imagier train resume={best.parent.parent}"
        )
        self.exit_code = 128 + number


class Signalled(BaseException):
    """A signal has arrived. A BaseException, so that it is not caught as the error of an unreadable file."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


def signals_raised() -> AbstractContextManager[None]:
    """Make SIGTERM and SIGINT raise Signalled within the block, whatever Lightning's Trainer would do about them."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise Signalled(number)

    return answered_by(end)


@contextmanager
def ending_at_once(best: Path) -> Iterator[None]:
    """Make SIGTERM and SIGINT end the run at once within the block.

    Raises:
        Ended: if one arrives.
    """
    try:
        with signals_raised():
            yield
    except Signalled as came:
        raise Ended(came.exit_code - 128, best) from came


@contextmanager
def loud_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt on Ctrl-C, which Lightning's Trainer turns into a silent exit."""
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise


class WholeFileIO(TorchCheckpointIO):
    """Writes to a temporary file and renames it, so that a full disk or a crash leaves the earlier file intact."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write `checkpoint` to `path`, whole or not at all.

        Raises:
            TrainingError: if the file cannot be written, saying whether an earlier one is still there.
        """
        path = Path(path)
        try:
            write_aside(path, lambda aside: torch.save(checkpoint, aside))
        except (OSError, RuntimeError) as error:
            kept = f"; the earlier {path} is untouched" if path.exists() else ""
            raise TrainingError(
                f"cannot write {path}: {error}{kept}. Free space on that disk, then continue with imagier train "
                f"resume={path.parent.parent}"
            ) from error


class Validated(NamedTuple):
    """Result of a validation: scores by name without the split; confusion counts, int64 [K, K], or None."""

    scores: dict[str, float]
    confusion: torch.Tensor | None


class Checkpoints(Checkpoint):
    """Writes checkpoints/last.ckpt and checkpoints/best.ckpt of a run folder.

    `last` is written every `every_n_steps` optimiser steps, at the end of epochs, and when one of the run's processes
    is asked to stop (SIGINT, SIGTERM; a second signal more than two seconds later stops it at once). An epoch that
    neither improves the score nor is the last is skipped if writing would take more than a twentieth of the time.
    `best` is the checkpoint with the best monitored validation score.

    Args:
        folder: folder of the two files.
        monitor: name of the score, for instance val/iou.
        mode: "max" or "min".
        every_n_steps: optimiser steps between two writes in mid-epoch.
    """

    def __init__(self, folder: str | Path, monitor: str, mode: str, every_n_steps: int = 500) -> None:
        self.last, self.best = Path(folder) / "last.ckpt", Path(folder) / "best.ckpt"
        self.monitor, self.mode, self.every_n_steps = monitor, mode, every_n_steps
        self.best_score: float | None = None
        self.validated: Validated | None = None  # the best; None if found in an earlier session
        self.best_epoch, self.best_step = 0, 0
        self._improved = False
        self._signal = 0  # the first that arrived, or 0
        self._signalled = 0.0  # when it arrived
        self._saved_step, self._saved_at, self._took = 0, 0.0, 0.0  # last write: step, end, seconds
        self._handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the signal handlers, and act on a SIGTERM that arrived during set-up."""
        self._saved_step = trainer.global_step
        if trainer.received_sigterm:  # Lightning would exit silently, possibly before the first step
            trainer._signal_connector.received_sigterm = False
            self._ask_to_stop(signal.SIGTERM, None)
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._ask_to_stop)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restore the signal handlers."""
        self._stop_listening()

    def _stop_listening(self) -> None:
        # Before Lightning restores the process's own handlers: afterwards this would reinstate Lightning's.
        while self._handlers:
            signal.signal(*self._handlers.popitem())

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write `last` if it is due; after the last batch of an epoch or run, `on_train_epoch_end` does."""
        if trainer.is_last_batch or trainer.should_stop or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # accumulated gradients are in no checkpoint
        step = trainer.global_step
        stop = self._asked()
        if stop or (step > self._saved_step and step % self.every_n_steps == 0):
            self._save(trainer)
        if stop:
            raise everywhere(Interrupted(stop, self.last))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note whether the score is the best so far; in mid-epoch, write `best` at once."""
        score = trainer.callback_metrics.get(self.monitor)
        if trainer.sanity_checking or score is None or not torch.isfinite(score):
            return
        value = float(score)
        if self.best_score is None or (value > self.best_score if self.mode == "max" else value < self.best_score):
            self.best_score, self.best_epoch, self.best_step = value, trainer.current_epoch, trainer.global_step
            assert isinstance(pl_module, Task)
            known = pl_module.epoch_scores["val"].items()
            found = {name: score.item() for name, score in known if not score.isnan()}
            self.validated = Validated(found, pl_module.confusion_counts.get("val"))
            self._improved = True
        if self._improved and not trainer.is_last_batch and not trainer.should_stop:
            refuse_non_finite(trainer)
            trainer.save_checkpoint(self.best)  # now, in mid-epoch: at its end the weights will differ
            self._improved = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write `last` if it is due, and make `best` a second name of the same file if the score improved."""
        improved, self._improved = self._improved, False
        stop = self._asked()
        if improved or stop or _is_over(trainer) or self._is_due():
            self._save(trainer, best=improved or self.best_score is None)
        if stop:
            trainer.should_stop = True  # the epoch's scores are logged before the run ends

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise Interrupted if the run was asked to stop."""
        unscored = self.best_score is None or not self.best.exists()
        if trainer.is_global_zero and self.last.exists() and unscored:
            _link(self.last, self.best)  # resumed with nothing left to train, possibly before any validation
        stop = self._asked()
        self._stop_listening()
        if stop:
            raise everywhere(Interrupted(stop, self.last))

    def state_dict(self) -> dict[str, Any]:
        """Return the best score so far, its epoch and its step."""
        return {"score": self.best_score, "epoch": self.best_epoch, "step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.best_score, self.best_epoch, self.best_step = (state_dict[key] for key in ("score", "epoch", "step"))

    def _is_due(self) -> bool:
        """Return whether writing `last` now stays within its share of the time; the same in all processes."""
        wait = self._took / SHARE if self._took > SHORT else 0.0
        return bool(agreed(time.monotonic() - self._saved_at >= wait))

    def _save(self, trainer: Trainer, best: bool = False) -> None:
        refuse_non_finite(trainer)
        if self.best_score is None:  # `best` will be the last checkpoint if no validation follows
            self.best_epoch, self.best_step = trainer.current_epoch, trainer.global_step
        began = time.monotonic()
        trainer.save_checkpoint(self.last)
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()
        self._took = self._saved_at - began
        if best and trainer.is_global_zero:
            _link(self.last, self.best)
        for logger in trainer.loggers:
            logger.save()  # rows that a resumed run will not log again

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        if self._signal and time.monotonic() - self._signalled > TWICE:
            raise KeyboardInterrupt
        if not self._signal:
            self._signal, self._signalled = number, time.monotonic()

    def _asked(self) -> int:
        """Return the signal that any of the run's processes received, or 0, so that all stop at the same step."""
        return int(agreed(self._signal))


def _is_over(trainer: Trainer) -> bool:
    """Return whether the ending epoch is the last; for budgets and steps, `Schedule` has set `should_stop` by now."""
    return trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs


def _link(source: Path, target: Path) -> None:
    """Make `target` a hard link to `source`, or a copy if the file system has no hard links."""
    aside = target.with_name(f".{target.name}.link")
    aside.unlink(missing_ok=True)
    try:
        os.link(source, aside)
        aside.replace(target)
    except OSError:
        write_aside(target, lambda copy: copy.write_bytes(source.read_bytes()))
