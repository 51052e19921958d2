"""The words of a sweep: those that stay, and those that vary."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, Override, RangeSweep

from imagier.errors import ConfigError

Values = dict[str, str]  # key -> value, as they are typed


class UnsoundWordsError(Exception):
    """Words that cannot be composed, and Hydra's error."""

    def __init__(self, words: list[str], cause: Exception) -> None:
        super().__init__(" ".join(words))
        self.words, self.cause = words, cause


@dataclass(frozen=True)
class Dimension:
    """A key that varies, as Hydra writes it: `a,b`, `choice(a,b)`, `range(1,5)`, `interval(0,1)`, `tag(log, ...)`.

    line:     all of it, as typed.
    key:      what stands before the equals sign.
    values:   all of them, as typed; of an interval the two ends.
    interval: whether everything between the ends counts too.
    ordered:  whether the values are numbers with equal steps between them.
    whole:    whether only whole numbers count.
    log:      whether ratios matter, not differences.
    """

    line: str
    key: str
    values: tuple[str, ...]
    interval: bool = False
    ordered: bool = False
    whole: bool = False
    log: bool = False

    def number(self, value: str) -> Any:
        """The number that `value` is, where values are ordered; else `value` itself."""
        return value if not self.ordered else int(value) if self.whole else float(value)

    def holds(self, value: str | None) -> bool:
        """Whether `value` is one of the values, or between them where they are ordered."""
        if value is None or not self.ordered:
            return value in self.values
        ends = [self.number(end) for end in (self.values[0], self.values[-1])]
        try:
            return bool(min(ends) <= self.number(value) <= max(ends))
        except ValueError:
            return False


def read_words(
    words: Sequence[str], space: Mapping[str, str], loader: ConfigLoader | None = None
) -> tuple[list[str], list[Dimension]]:
    """Split a sweep's words into those that every trial has and the keys that vary.

    Args:
        words: of the command line; those about the sweep itself and its launcher are left out.
        space: further keys that vary, unless a word speaks of them.
        loader: what `glob(...)` asks for the choices of a group.
    """
    parser = OverridesParser.create(config_loader=loader)
    last = {one.key_or_group: one for one in parser.parse_overrides(list(words))}  # of a key said twice the last counts
    for more in parser.parse_overrides([f"{key}={values}" for key, values in space.items()]):
        last.setdefault(more.key_or_group, more)
    kept = [one for key, one in last.items() if key.replace("/", ".").split(".")[0] not in ("sweep", "hydra")]
    fixed = [override.input_line or "" for override in kept if not override.is_sweep_override()]
    return fixed, [_dimension(override) for override in kept if override.is_sweep_override()]


def first_values(words: Sequence[str], loader: ConfigLoader | None = None) -> list[str]:
    """The words with the first value of each key that varies: an ordinary sentence."""
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(list(words))
    first = ((one, _dimension(one) if one.is_sweep_override() else None) for one in overrides)
    return [f"{varies.key}={varies.values[0]}" if varies else one.input_line or "" for one, varies in first]


def _dimension(override: Override) -> Dimension:
    sweep, line, key = override.value(), override.input_line or "", override.get_key_element()
    if isinstance(sweep, Glob):  # those with an underscore are parts of others
        return Dimension(
            line, key, tuple(name for name in override.sweep_string_iterator() if not name.startswith("_"))
        )
    assert isinstance(sweep, IntervalSweep | RangeSweep | ChoiceSweep)
    log = "log" in sweep.tags
    if isinstance(sweep, IntervalSweep):
        whole = isinstance(sweep.start, int)
        ends = (word(sweep.start), word(sweep.end))
        return Dimension(line, key, ends, interval=True, ordered=True, whole=whole, log=log)
    values = tuple(str(value) for value in override.sweep_string_iterator())
    if isinstance(sweep, RangeSweep):
        return Dimension(line, key, values, ordered=True, whole=isinstance(sweep.range(), range), log=log)
    return Dimension(line, key, values, log=log)


def word(value: object) -> str:
    """A value as it is typed: a number with four digits, as many as can matter."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def typed(values: Values) -> list[str]:
    """The values as words."""
    return [f"{key}={value}" for key, value in values.items()]


def combinations(dimensions: Sequence[Dimension]) -> Iterator[Values]:
    """Every combination of the values.

    Raises:
        ConfigError: for an interval, which holds no list of values.
    """
    if endless := [dimension.key for dimension in dimensions if dimension.interval]:
        raise ConfigError(
            f"{endless[0]} is an interval, but a grid needs values, as in {endless[0]}=1,2,3; sweep=optuna searches "
            "intervals."
        )
    for values in product(*(dimension.values for dimension in dimensions)):
        yield {dimension.key: value for dimension, value in zip(dimensions, values, strict=True)}


def extremes(dimensions: Sequence[Dimension]) -> Iterator[Values]:
    """Every value once, a few of an interval standing for all, the other keys at their first."""
    first = {dimension.key: dimension.values[0] for dimension in dimensions}
    yield first
    for dimension in dimensions:
        between = [_between(*map(float, dimension.values))] if dimension.interval and not dimension.whole else []
        for value in [*between, *dimension.values[1:]]:
            yield first | {dimension.key: value}


def _between(low: float, high: float) -> str:
    return word(low + (high - low) / math.e)  # hardly ever a whole number
