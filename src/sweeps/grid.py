"""Where the trials of a sweep come from: a grid of all combinations."""

from collections.abc import Sequence
from typing import Any, Protocol

from imagier.sweeps.record import Record
from imagier.sweeps.words import Dimension, combinations


class Source(Protocol):
    """Proposes trials and hears what became of them."""

    total: int
    pruning: dict[str, Any] | None  # settings of the callback that ends hopeless trials

    def ask(self, count: int) -> list[Record]:
        """The next trials, at most `count`; none when the sweep is over."""
        ...

    def tell(self, record: Record) -> None:
        """Take note of a trial that has ended."""
        ...


class Grid:
    """Every combination of values, the last key's changing fastest."""

    pruning: dict[str, Any] | None = None

    def __init__(self, dimensions: Sequence[Dimension]) -> None:
        self._left = [Record(number, values) for number, values in enumerate(combinations(dimensions), 1)]
        self.total = len(self._left)

    def ask(self, count: int) -> list[Record]:
        """The next combinations."""
        asked, self._left = self._left[:count], self._left[count:]
        return asked

    def tell(self, record: Record) -> None:
        """A grid learns nothing."""
