"""Statistics of a few numbers: mean and deviation, and the paired comparison of two settings over shared seeds."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit  # Student's t; scipy.stats has the same and takes a second to import

CONFIDENCE = 0.95
_ROUNDING = 2**-22  # relative to a score: rounding of differences between single-precision numbers


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation of `count` numbers: mean NaN for none, deviation None for fewer than two."""

    mean: float
    deviation: float | None
    count: int


@dataclass(frozen=True)
class Paired:
    """Mean difference over `count` shared seeds, its sample standard deviation, confidence interval and p-value.

    Deviation, interval and p-value are None for fewer than two seeds. Interval and p-value are also None if all
    differences are equal: the t-test estimates chance from their spread, and would take a few equal steps of an
    accuracy for certainty.
    """

    count: int
    mean: float
    deviation: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None


def spread(values: Iterable[float]) -> Spread:
    """Return mean and deviation of the finite `values`."""
    known = np.array([value for value in values if math.isfinite(value)])
    if not len(known):
        return Spread(math.nan, None, 0)
    mean = float(known.mean())
    if len(known) == 1:
        return Spread(mean, None, 1)
    deviation = float(known.std(ddof=1))
    return Spread(mean, deviation if deviation > 1e-12 * abs(mean) else 0.0, len(known))  # equal, but for rounding


def paired(ones: Mapping[int, float], others: Mapping[int, float]) -> Paired:
    """Compare two settings by the two-sided paired t-test (Student, Biometrika 6, 1908).

    Args:
        ones: seed -> score.
        others: seed -> score of the setting that is subtracted.

    Returns:
        The difference `ones` - `others` over the seeds that both have finite scores for.
    """
    shared = [seed for seed in ones if seed in others and math.isfinite(ones[seed] - others[seed])]
    summed = spread(ones[seed] - others[seed] for seed in shared)
    if summed.deviation is None:
        return Paired(summed.count, summed.mean)
    largest = max(abs(score) for seed in shared for score in (ones[seed], others[seed]))
    if summed.deviation <= _ROUNDING * largest:  # the differences are equal
        return Paired(summed.count, summed.mean, 0.0)
    freedom, error = summed.count - 1, summed.deviation / math.sqrt(summed.count)
    reach = error * float(stdtrit(freedom, (1 + CONFIDENCE) / 2))
    p = 2 * float(stdtr(freedom, -abs(summed.mean) / error))
    return Paired(summed.count, summed.mean, summed.deviation, (summed.mean - reach, summed.mean + reach), p)
