"""Checks samples: whether they can be read, and whether training can use them."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from imagier.batch import Facts
from imagier.datamodules.loader import Source, Target
from imagier.errors import DataError

# An error message, or the image's (height, width) and the target's values with their counts.
Outcome = str | tuple[tuple[int, int], list[tuple[int, int]]]

WHOLE = 1 << 32  # one sample in fixed point, fine enough for a pixel's share
_BYTE = np.dtype(np.uint8)  # compares faster than np.uint8


@dataclass
class Tally:
    """Statistics of some samples of a source.

    counts:  pixels (masks) or samples (class indices) of each target value.
    shares:  fraction of each sample with that value, summed, in units of 1 / WHOLE: integers, exact in any order.
    present: number of samples in which it occurs.
    sizes:   number of samples of each (height, width).
    bad:     error message of each unusable sample, by position.
    """

    counts: Counter[int] = field(default_factory=Counter)
    shares: Counter[int] = field(default_factory=Counter)
    present: Counter[int] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    bad: dict[int, str] = field(default_factory=dict)

    def add(self, position: int, outcome: Outcome) -> None:
        """Count one sample."""
        if isinstance(outcome, str):
            self.bad[position] = outcome
            return
        size, counts = outcome
        self.sizes[size] += 1
        total = sum(count for _, count in counts)
        for value, count in counts:
            self.counts[value] += count
            self.shares[value] += count * WHOLE // total
            self.present[value] += 1

    def remove(self, outcome: Outcome) -> None:
        """Subtract one sample."""
        one = Tally()
        one.add(0, outcome)
        self.counts -= one.counts
        self.shares -= one.shares
        self.present -= one.present
        self.sizes -= one.sizes

    def merge(self, other: "Tally") -> None:
        """Add the statistics of other samples."""
        self.counts.update(other.counts)
        self.shares.update(other.shares)
        self.present.update(other.present)
        self.sizes.update(other.sizes)
        self.bad.update(other.bad)


def look_at(source: Source, position: int) -> Outcome:
    """Read and check one sample. A faulty file gives an error message; other errors of `read` are raised.

    Raises:
        TypeError: `read` returned something other than an image and its target.
    """
    return look_closely(source, position)[0]


def look_closely(source: Source, position: int) -> tuple[Outcome, tuple[np.ndarray, Target] | None]:
    """Do as `look_at`, and also return the sample, or None if it cannot be read."""
    try:
        image, target = source.read(position)
    except DataError as error:
        return str(error), None
    except Exception as error:
        error.add_note(f"while {type(source).__name__} was reading the sample {source.ids[position]}")
        raise
    _check_types(source, image, target)
    return _found(source.ids[position], image, target), (image, target)


def _found(name: str, image: np.ndarray, target: Target) -> Outcome:
    size = image.shape[0], image.shape[1]
    if isinstance(target, float | np.floating):
        return (size, []) if np.isfinite(target) else f"{name}: the target is {target}, but must be a finite number."
    if not isinstance(target, np.ndarray):
        return size, [(int(target), 1)]
    if target.shape[:2] != size:
        return (
            f"{name}: the mask is {target.shape[0]} x {target.shape[1]} but its image "
            f"{size[0]} x {size[1]} (height x width); both must have the same size. Export the pair again at one size."
        )
    if target.ndim != 2:
        return size, []  # a target image has no classes
    counts = np.bincount(target.ravel(), minlength=256)
    return size, [(int(value), int(counts[value])) for value in np.flatnonzero(counts)]


def outside(facts: Facts, name: str, value: int) -> str:
    """Return the error message for a target value that is neither a class nor ignored."""
    ignored = "none is ignored" if facts.ignore_index is None else f"{facts.ignore_index} is ignored"
    return (
        f"{name}: the target contains the value {value}, but data={facts.name} has the classes 0 to "
        f"{facts.num_classes - 1} and {ignored}. Correct the target, or declare the value as ignore_index."
    )


def _check_types(source: Source, image: np.ndarray, target: Target) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != _BYTE or image.ndim != 3:
        right = "an image as uint8 [H, W, C] (also for grey)"
        raise TypeError(f"{type(source).__name__}.read must return {right}, not {_kind(image)}")
    whole = isinstance(target, np.ndarray) and target.dtype == _BYTE and target.ndim in (2, 3)
    if not whole and not isinstance(target, int | float | np.integer | np.floating | np.bool_):
        right = "a mask as uint8 [H, W], an image as uint8 [H, W, C], or a number"
        raise TypeError(f"{type(source).__name__}.read must return {right}, not {_kind(target)}")


def _kind(value: object) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
