"""Rules for the values of settings, checked before torch is imported.

Networks, data modules and losses also check their own arguments, for callers that construct them from Python.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol


class Rule(Protocol):
    """A set of allowed values; its text completes "KEY is ..." in an error message."""

    def allows(self, value: Any) -> bool: ...  # noqa: D102


@dataclass(frozen=True)
class Number:
    """A finite number between bounds, where `above` and `below` are exclusive; or one of `also`."""

    low: float | None = None
    above: float | None = None
    high: float | None = None
    below: float | None = None
    whole: bool = False
    also: tuple[Any, ...] = ()

    def allows(self, value: Any) -> bool:
        """Whether `value` is such a number; a bool is not."""
        if value in self.also and type(value) in map(type, self.also):
            return True
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        return (
            (not self.whole or isinstance(value, int))
            and (self.low is None or value >= self.low)
            and (self.above is None or value > self.above)
            and (self.high is None or value <= self.high)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        bounds = {"at least": self.low, "above": self.above, "at most": self.high, "below": self.below}
        words = [f"{name} {bound:.15g}" for name, bound in bounds.items() if bound is not None]
        also = "".join(f", or {'null' if value is None else value}" for value in self.also)
        return f"a {'whole ' if self.whole else ''}number {' and '.join(words)}{also}"


@dataclass(frozen=True)
class OneOf:
    """One of a few values."""

    choices: tuple[Any, ...]

    def allows(self, value: Any) -> bool:
        """Whether `value` is one of them and of the same type: 1 is not true."""
        return any(value == choice and type(value) is type(choice) for choice in self.choices)

    def __str__(self) -> str:
        words = ("null" if choice is None else str(choice).lower() for choice in self.choices)
        return "one of: " + ", ".join(words)


@dataclass(frozen=True)
class Several:
    """A list, of `length` items if given, each of which `item` allows; or one of `also`."""

    item: Number
    length: int | None = None
    also: tuple[Any, ...] = ()

    def allows(self, value: Any) -> bool:
        """Whether `value` is such a list."""
        if not isinstance(value, list):
            return value in self.also
        return (self.length is None or len(value) == self.length) and all(map(self.item.allows, value))

    def __str__(self) -> str:
        also = "".join(f", or {'null' if value is None else value}" for value in self.also)
        return f"a list of {self.length or 'numbers'}, each {self.item}{also}"


@dataclass(frozen=True)
class Either:
    """A value that at least one of two rules allows."""

    one: Rule
    other: Rule

    def allows(self, value: Any) -> bool:
        """Whether one of the rules allows `value`."""
        return self.one.allows(value) or self.other.allows(value)

    def __str__(self) -> str:
        return f"{self.one}, or {self.other}"


@dataclass(frozen=True)
class Names:
    """A list of at least one name; or one of `also`."""

    also: tuple[Any, ...] = ()

    def allows(self, value: Any) -> bool:
        """Whether `value` is such a list."""
        return value in self.also or (
            isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)
        )

    def __str__(self) -> str:
        also = "".join(f", or {'null' if value is None else value}" for value in self.also)
        return f"a list of names{also}; quote names that are numbers, such as \"['0','1']\""


@dataclass(frozen=True)
class PathName:
    """The path of a file or folder; or null, unless it is `needed`."""

    needed: bool = False

    def allows(self, value: Any) -> bool:
        """Whether `value` is one; an empty path is refused, since it could mean the current folder or nothing."""
        return (value is None and not self.needed) or (isinstance(value, str) and bool(value.strip()))

    def __str__(self) -> str:
        return "a path" if self.needed else "a path, or null"


COUNT = Number(low=1, whole=True)
COUNT_OR_NULL = Number(low=1, whole=True, also=(None,))
SHARE = Number(low=0, below=1)
SWITCH = OneOf((True, False))
AUTO_SWITCH = OneOf(("auto", True, False))
LIMIT = Number(above=0)
PATH = PathName()

RULES: dict[str, Rule] = {
    "seed": Number(low=0, high=2**32 - 1, whole=True),
    "test": SWITCH,
    "report": SWITCH,
    "split": OneOf(("train", "val", "test", "all")),
    "runs": PATH,
    "seeds": COUNT_OR_NULL,
    "threads": COUNT_OR_NULL,
    "tile": Number(low=32, whole=True, also=(None, "auto")),
    "flip": SWITCH,
    "scales": Several(Number(low=0.1, high=10)),
    "top": COUNT,
    "quality": COUNT_OR_NULL,
    "overwrite": SWITCH,
    "samples": COUNT_OR_NULL,
    "calibration": COUNT_OR_NULL,
    "port": Number(low=0, high=65535, whole=True),
    "queue": COUNT,
    "batch_size": COUNT,
    "max_megabytes": Number(above=0),
    "max_megapixels": Number(above=0),
    "timeout": Number(above=0),
    "page": SWITCH,
    "device": OneOf(("auto", "cpu", "cuda")),
    "pictures": COUNT_OR_NULL,
    "rates": Several(Number(low=0.001, high=10_000)),  # megabits per second
    "data.root": PATH,
    "data.cache": PATH,
    "paths.runs": PATH,
    "paths.cache": PATH,
    "ckpt": PathName(needed=True),
    "source": Either(PathName(needed=True), Names()),
    "output": PATH,
    "resume": PATH,
    "data.split": Several(Number(low=0, high=1), length=3),
    "data.batch_size": COUNT,
    "data.workers": Number(low=0, whole=True, also=(None,)),
    "data.limit": COUNT_OR_NULL,
    "data.repeat": COUNT,
    "data.augment_first": SWITCH,
    "data.decode_once": AUTO_SWITCH,
    "data.on_error": OneOf(("raise", "skip")),
    "data.size": Several(COUNT, length=2, also=(None, "auto")),
    "data.channels": OneOf((1, 3)),
    "data.values": Several(Number(low=0, high=255, whole=True), also=(None,)),
    "data.ignored": Number(low=0, high=255, whole=True, also=(None,)),
    "data.classes": Names(also=(None,)),
    "data.per_class": COUNT_OR_NULL,
    "data.download": SWITCH,
    "data.labels": SWITCH,
    "data.label_set": OneOf(("train", "category", "category8")),
    "data.val_fraction": Number(above=0, below=1),
    "model.freeze": SWITCH,
    "model.jpu": SWITCH,
    "model.mirror": SWITCH,
    "model.symmetries": SWITCH,
    "model.whiten": SWITCH,
    "task.labelled": SWITCH,
    "task.auxiliary_weight": Number(low=0),
    "task.cutmix": Number(low=0, high=1),
    "task.cutmix_epochs": Number(low=0, whole=True),
    "task.class_weights": Several(Number(low=0), also=(None, "auto")),
    "augment.alternate": SWITCH,
    "noise.clip": SWITCH,
    "loss.label_smoothing": SHARE,
    "optimizer.lr": Number(above=0),
    "optimizer.weight_decay": Number(low=0),
    "optimizer.momentum": SHARE,
    "optimizer.nesterov": SWITCH,
    "optimizer.eps": Number(above=0),
    "optimizer.betas": Several(SHARE, length=2),
    "optimizer.reference_batch": COUNT,
    "optimizer.lr_scaling": OneOf(("linear", "sqrt", "none")),
    "scheduler.warmup": SHARE,
    "scheduler.final": Number(low=0, high=1),
    "scheduler.initial": Number(above=0, high=1),
    "scheduler.power": Number(above=0),
    "scheduler.rise": Number(above=0, below=1),
    "scheduler.momentum": Several(SHARE, length=2, also=(None,)),
    "trainer.accelerator": OneOf(("auto", "cpu", "gpu", "cuda", "mps")),
    "trainer.devices": Either(Number(low=1, whole=True, also=("auto", -1)), Several(Number(low=0, whole=True))),
    "trainer.precision": OneOf(("auto", "fastest", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true")),
    "trainer.max_epochs": Number(low=1, whole=True),
    "trainer.max_steps": Number(low=1, whole=True, also=(-1,)),
    "trainer.accumulate_grad_batches": COUNT,
    "trainer.gradient_clip_val": Number(above=0, also=(None,)),
    "trainer.check_val_every_n_epoch": COUNT,
    "trainer.log_every_n_steps": COUNT,
    "trainer.limit_train_batches": LIMIT,
    "trainer.limit_val_batches": LIMIT,
    "trainer.limit_test_batches": LIMIT,
    "trainer.channels_last": AUTO_SWITCH,
    "trainer.fused": AUTO_SWITCH,
    "trainer.compile": SWITCH,
    "trainer.threads": Number(low=1, whole=True, also=("auto",)),
    "trainer.deterministic": SWITCH,
    "callbacks.checkpoints.every_n_steps": COUNT,
    "callbacks.ema.decay": Number(above=0, below=1, also=(None,)),
    "callbacks.early_stopping.patience": COUNT_OR_NULL,
    "callbacks.early_stopping.min_delta": Number(low=0),
    "callbacks.pictures.every_n_epochs": COUNT,
    "callbacks.pictures.count": COUNT,
    "sweep.trials": COUNT,
    "sweep.at_once": COUNT,
    "sweep.name": PATH,
    "sweep.folder": PATH,
    "sweep.sampler.multivariate": SWITCH,
    "sweep.sampler.constant_liar": SWITCH,
    "logger.wandb.mode": OneOf(("auto", "online", "offline")),
}
