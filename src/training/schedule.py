"""Learning rate schedules as functions of the completed fraction of the run.

A schedule sees a fraction in [0, 1], not a step number. So it has no state, works with a wall-clock budget as well as
with epochs, and adapts when a resumed run gets more epochs or another batch size.
"""

import logging
import math
import re
import time
from dataclasses import dataclass
from typing import Any, Protocol

from omegaconf import DictConfig
from pytorch_lightning import Callback, LightningModule, Trainer

from imagier.errors import ConfigError
from imagier.training.processes import agreed

log = logging.getLogger(__name__)


class Curve(Protocol):
    """A schedule: maps the completed fraction of the run to the learning rate over its maximum, both in [0, 1]."""

    def __call__(self, done: float) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class Constant:
    """A constant rate after a linear warm-up."""

    warmup: float = 0.0

    def __call__(self, done: float) -> float:
        """Return the factor at `done`."""
        return _warm(done, self.warmup)


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from 1 to `final` after a linear warm-up (SGDR without restarts, arXiv 1608.03983)."""

    warmup: float = 0.0
    final: float = 0.0

    def __call__(self, done: float) -> float:
        """Return the factor at `done`."""
        return _warm(done, self.warmup) * _cosine(1.0, self.final, _after(done, self.warmup))


@dataclass(frozen=True)
class Poly:
    """(1 - done) ** power down to `final`, after a linear warm-up (DeepLab, arXiv 1606.00915)."""

    power: float = 0.9
    warmup: float = 0.0
    final: float = 0.0

    def __call__(self, done: float) -> float:
        """Return the factor at `done`."""
        falling = (1 - _after(done, self.warmup)) ** self.power
        return _warm(done, self.warmup) * (self.final + (1 - self.final) * falling)


@dataclass(frozen=True)
class OneCycle:
    """Up from `initial` to 1 and down to `final` along cosines, momentum the other way round (arXiv 1708.07120)."""

    rise: float = 0.3
    initial: float = 0.04
    final: float = 4e-6
    momentum: tuple[float, float] | None = (0.95, 0.85)

    def __call__(self, done: float) -> float:
        """Return the factor at `done`."""
        return self._anneal(done, self.initial, 1.0, self.final)

    def momentum_at(self, done: float) -> float | None:
        """Return the momentum (SGD) or first beta (Adam, Muon's AdamW) at `done`, or None to leave it alone."""
        return self.momentum and self._anneal(done, self.momentum[0], self.momentum[1], self.momentum[0])

    def _anneal(self, done: float, first: float, top: float, last: float) -> float:
        if done < self.rise:
            return _cosine(first, top, done / self.rise)
        return _cosine(top, last, _after(done, self.rise))


def _warm(done: float, warmup: float) -> float:
    return min(1.0, done / warmup) if warmup else 1.0


def _after(done: float, start: float) -> float:
    return min(1.0, max(0.0, (done - start) / (1 - start))) if start < 1 else 0.0


def _cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2


class Schedule(Callback):
    """Sets the learning rate before each step, and ends the run when its budget or its steps are used up.

    Lightning is not told of `steps`: it would stop in mid-epoch without a validation, and start a run resumed at the
    end of an epoch with an empty one.

    Args:
        curve: shape of the schedule.
        lr: maximum learning rate, already scaled to the batch size.
        budget: wall-clock seconds of training and validation; None to go by epochs or steps.
        steps: maximum number of optimiser steps; -1 for no limit.
        pretraining: seconds of the pretraining run, which do not count towards the budget.
    """

    def __init__(
        self, curve: Curve, lr: float, budget: float | None = None, steps: int = -1, pretraining: float = 0.0
    ) -> None:
        self.curve, self.lr, self.budget, self.steps, self.pretraining = curve, lr, budget, steps, pretraining
        self.earlier = 0.0  # seconds of earlier sessions of a resumed run
        self._began = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; stop a resumed run whose budget or steps are already used up."""
        if self.budget is not None and self.earlier >= self.budget:
            log.warning(
                "the budget of %.0f s is already used up: no further training; set a larger one, such as "
                "trainer.budget=%.0fs", self.budget, 2 * self.budget,
            )  # fmt: skip
        self._began = time.monotonic()
        trainer.should_stop |= self._is_over(trainer)
        self.on_train_epoch_start(trainer, pl_module)  # Lightning does not call it in a run resumed in mid-epoch

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Set the learning rate (and momentum, if the curve has one) of every parameter group."""
        done = self.done(trainer, batch_idx)
        momentum = self.curve.momentum_at(done) if isinstance(self.curve, OneCycle) else None
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.lr * self.curve(done)
            if momentum is not None and "betas" in group:
                group["betas"] = (momentum, group["betas"][1])
            elif momentum is not None:
                group["momentum"] = momentum
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if (trainer.global_step + 1) % every == 0:  # logging values that Lightning would not write is slow
            pl_module.log("lr", self.lr * self.curve(done), on_step=True, on_epoch=False)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the learning rate of the epoch's last step, since a short epoch may have no step that is logged.

        If the budget ran out during the epoch's validation, that one is final and no further epoch starts.
        """
        pl_module.log("lr", trainer.optimizers[0].param_groups[0]["lr"])
        if (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0 and self._is_over(trainer):
            trainer.should_stop = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop, after one more validation, once the budget or the steps are used up."""
        if self._is_over(trainer):
            trainer.should_stop = True
            trainer.check_val_every_n_epoch = 1  # so that the final weights are validated

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the last epoch, whatever the interval between validations."""
        if trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1

    def _is_over(self, trainer: Trainer) -> bool:
        spent = self.budget is not None and self.seconds() >= self.budget
        return spent or 0 < self.steps <= trainer.global_step

    def done(self, trainer: Trainer, batch_idx: int) -> float:
        """Return the completed fraction of the run, in [0, 1], by the nearest limit; the coming step counts half."""
        shares = [] if self.budget is None else [self.seconds() / self.budget]
        if self.budget is None and trainer.max_epochs is not None and trainer.max_epochs > 0:
            epochs = trainer.current_epoch + (batch_idx + 0.5) / trainer.num_training_batches
            shares.append(epochs / trainer.max_epochs)
        if self.steps > 0:
            shares.append((trainer.global_step + 0.5) / self.steps)
        return min(1.0, max(shares, default=0.0))

    def seconds(self) -> float:
        """Return the seconds of training so far, in all sessions of the run; the maximum over its processes."""
        return agreed(self.earlier + time.monotonic() - self._began)

    def state_dict(self) -> dict[str, float]:
        """Return the time spent, so that a resumed run gets only the rest of its budget."""
        return {"seconds": self.seconds(), "pretraining": self.pretraining}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Restore what `state_dict` returned."""
        self.earlier = state_dict["seconds"]
        self.pretraining = state_dict.get("pretraining", self.pretraining)  # earlier versions did not save it


def prolonged(length: DictConfig, times: int) -> list[str]:
    """Return the overrides that make a run `times` as long as its `trainer` settings; they may go with `resume`."""
    words = [f"trainer.max_steps={times * length.max_steps}"] if length.max_steps > 0 else []
    if length.budget is not None:
        return [*words, f"trainer.budget={times * seconds(length.budget):.15g}s"]
    return [*words, f"trainer.max_epochs={times * length.max_epochs}"]


def seconds(budget: str | float) -> float:
    """Convert a wall-clock budget such as `90s`, `20m` or `1h30m` to seconds.

    Raises:
        ConfigError: if it is written in another way, or zero.
    """
    text = str(budget).strip()
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text)
    if match and text:
        total = sum(float(part or 0) * unit for part, unit in zip(match.groups(), (3600, 60, 1), strict=True))
    else:
        total = 0.0
    if total <= 0:
        raise ConfigError(f"trainer.budget={budget!r} is not a duration; write it as 90s, 20m or 1h30m.")
    return total
