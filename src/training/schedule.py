"""Learning rates as functions of how much of the run is done.

A schedule sees a share of the run in [0, 1], not a step number. So it needs no state, fits itself to a wall-clock
budget as well as to epochs, and follows when a resumed run gets more epochs or another batch size.
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
    """What a schedule is: from the share of the run done, the rate over its highest value, in (0, 1]."""

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
    """Up from `initial` to 1 and down to `final`, momentum the other way round (arXiv 1708.07120)."""

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
    """Sets the learning rate before each step, and ends the run when its budget is spent or its steps are made.

    Lightning knows nothing of `steps`: it would end in mid-epoch without a validation, and a run that is resumed where
    an epoch ended would begin with an epoch of nothing.

    Args:
        curve: the shape.
        lr: the highest rate, already scaled to the batch.
        budget: wall-clock seconds of training and validation, or None to go by epochs or steps.
        steps: of the optimiser, at most; -1: as many as there are.
        pretraining: seconds of what was trained first; they are none of the budget's.
    """

    def __init__(
        self, curve: Curve, lr: float, budget: float | None = None, steps: int = -1, pretraining: float = 0.0
    ) -> None:
        self.curve, self.lr, self.budget, self.steps, self.pretraining = curve, lr, budget, steps, pretraining
        self.earlier = 0.0  # seconds of earlier sessions of a resumed run
        self._began = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock. A resumed run may have made all of its steps, spent its budget, or be in its last epoch."""
        if self.budget is not None and self.earlier >= self.budget:
            log.warning(
                "the budget of %.0f s is already used up: no further training; set a larger one, such as "
                "trainer.budget=%.0fs", self.budget, 2 * self.budget,
            )  # fmt: skip
        self._began = time.monotonic()
        trainer.should_stop |= self._is_over(trainer)
        self.on_train_epoch_start(trainer, pl_module)  # which Lightning does not call where a run goes on in mid-epoch

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Set the rate (and momentum, where the curve has one) of every parameter group."""
        done = self.done(trainer, batch_idx)
        momentum = self.curve.momentum_at(done) if isinstance(self.curve, OneCycle) else None
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.lr * self.curve(done)
            if momentum is not None and "betas" in group:
                group["betas"] = (momentum, group["betas"][1])
            elif momentum is not None:
                group["momentum"] = momentum
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if (trainer.global_step + 1) % every == 0:  # Lightning takes long to forget what it would not write
            pl_module.log("lr", self.lr * self.curve(done), on_step=True, on_epoch=False)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the rate of the epoch's last step: a small set's epoch may hold no step that is logged.

        Where the budget was spent on the epoch's validation, which is one of the end then, no other epoch begins.
        """
        pl_module.log("lr", trainer.optimizers[0].param_groups[0]["lr"])
        if (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0 and self._is_over(trainer):
            trainer.should_stop = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Let the run end, after one more validation, once the budget is spent or the steps are made."""
        if self._is_over(trainer):
            trainer.should_stop = True
            trainer.check_val_every_n_epoch = 1  # what is measured and kept is the end, not an earlier validation

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the last epoch be validated, however many lie between two validations."""
        if trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1

    def _is_over(self, trainer: Trainer) -> bool:
        spent = self.budget is not None and self.seconds() >= self.budget
        return spent or 0 < self.steps <= trainer.global_step

    def done(self, trainer: Trainer, batch_idx: int) -> float:
        """The share of the run that is behind, in [0, 1], taken in the middle of the coming step."""
        shares = [] if self.budget is None else [self.seconds() / self.budget]
        if self.budget is None and trainer.max_epochs is not None and trainer.max_epochs > 0:
            epochs = trainer.current_epoch + (batch_idx + 0.5) / trainer.num_training_batches
            shares.append(epochs / trainer.max_epochs)
        if self.steps > 0:
            shares.append((trainer.global_step + 0.5) / self.steps)
        return min(1.0, max(shares, default=0.0))

    def seconds(self) -> float:
        """Seconds of training so far, those before an interruption included: of the process that has spent most."""
        return agreed(self.earlier + time.monotonic() - self._began)

    def state_dict(self) -> dict[str, float]:
        """The time spent, so that a resumed run has the rest of its budget."""
        return {"seconds": self.seconds(), "pretraining": self.pretraining}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Undo `state_dict`."""
        self.earlier = state_dict["seconds"]
        self.pretraining = state_dict.get("pretraining", self.pretraining)  # earlier versions kept none


def prolonged(length: DictConfig, times: int) -> list[str]:
    """The words that make a run `times` as long as its `trainer` settings have it, and may be said of a resumed one."""
    words = [f"trainer.max_steps={times * length.max_steps}"] if length.max_steps > 0 else []
    if length.budget is not None:
        return [*words, f"trainer.budget={times * seconds(length.budget):.15g}s"]
    return [*words, f"trainer.max_epochs={times * length.max_epochs}"]


def seconds(budget: str | float) -> float:
    """Read a wall-clock budget: `90s`, `20m`, `1h30m`.

    Raises:
        ConfigError: for anything else.
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
