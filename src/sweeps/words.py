"""The words of a sweep: those that are fixed, and those that vary."""

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
    """Hydra cannot compose these words; holds its error as `cause`."""

    def __init__(self, words: list[str], cause: Exception) -> None:
        super().__init__(" ".join(words))
        self.words, self.cause = words, cause


@dataclass(frozen=True)
class Dimension:
    """A key that varies, as Hydra writes it: `a,b`, `choice(a,b)`, `range(1,5)`, `interval(0,1)`, `tag(log, ...)`.

    line:     the whole word, as typed.
    key:      the part before the equals sign.
    values:   all values, as typed; the two ends of an interval.
    interval: whether all numbers between the ends are values too.
    ordered:  whether it is an interval, or a range of evenly spaced numbers.
    whole:    whether the values of an interval or range are integers.
    log:      whether to sample on a logarithmic scale.
    """

    line: str
    key: str
    values: tuple[str, ...]
    interval: bool = False
    ordered: bool = False
    whole: bool = False
    log: bool = False

    def number(self, value: str) -> Any:
        """Return `value` as a number if the values are ordered, else as it is. Raises ValueError if it is none."""
        return value if not self.ordered else int(value) if self.whole else float(value)

    def holds(self, value: str | None) -> bool:
        """Return whether `value` is one of the values or, if they are ordered, in their range."""
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
    """Split a sweep's words into those that all trials share and the keys that vary.

    Args:
        words: words of the command line; those about the sweep itself and its launcher are dropped.
        space: further keys that vary, unless a word sets them.
        loader: gives `glob(...)` the choices of a group.
    """
    parser = OverridesParser.create(config_loader=loader)
    last = {one.key_or_group: one for one in parser.parse_overrides(list(words))}  # a key's last word counts
    for more in parser.parse_overrides([f"{key}={values}" for key, values in space.items()]):
        last.setdefault(more.key_or_group, more)
    kept = [one for key, one in last.items() if key.replace("/", ".").split(".")[0] not in ("sweep", "hydra")]
    fixed = [override.input_line or "" for override in kept if not override.is_sweep_override()]
    return fixed, [_dimension(override) for override in kept if override.is_sweep_override()]


def first_values(words: Sequence[str], loader: ConfigLoader | None = None) -> list[str]:
    """Return the words with the first value of each key that varies: the command line of a single run."""
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(list(words))
    first = ((one, _dimension(one) if one.is_sweep_override() else None) for one in overrides)
    return [f"{varies.key}={varies.values[0]}" if varies else one.input_line or "" for one, varies in first]


def _dimension(override: Override) -> Dimension:
    sweep, line, key = override.value(), override.input_line or "", override.get_key_element()
    if isinstance(sweep, Glob):  # names with an underscore are parts of others
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
    """Format a value as it is typed: a float with four significant digits, as more would not matter."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def typed(values: Values) -> list[str]:
    """Return the values as words, key=value."""
    return [f"{key}={value}" for key, value in values.items()]


def combinations(dimensions: Sequence[Dimension]) -> Iterator[Values]:
    """Yield every combination of the values.

    Raises:
        ConfigError: a dimension is an interval, which has no list of values.
    """
    if endless := [dimension.key for dimension in dimensions if dimension.interval]:
        raise ConfigError(
            f"{endless[0]} is an interval, but a grid needs values, as in {endless[0]}=1,2,3; sweep=optuna searches "
            "intervals."
        )
    for values in product(*(dimension.values for dimension in dimensions)):
        yield {dimension.key: value for dimension, value in zip(dimensions, values, strict=True)}


def extremes(dimensions: Sequence[Dimension]) -> Iterator[Values]:
    """Yield every value once (of an interval, two or three), with the other keys at their first value."""
    first = {dimension.key: dimension.values[0] for dimension in dimensions}
    yield first
    for dimension in dimensions:
        between = [_between(*map(float, dimension.values))] if dimension.interval and not dimension.whole else []
        for value in [*between, *dimension.values[1:]]:
            yield first | {dimension.key: value}


def _between(low: float, high: float) -> str:
    return word(low + (high - low) / math.e)  # hardly ever an integer
