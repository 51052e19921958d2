"""Sources of a sweep's trials: their protocol, and a grid of all combinations."""

from collections.abc import Sequence
from typing import Any, Protocol

from imagier.sweeps.record import Record
from imagier.sweeps.words import Dimension, combinations


class Source(Protocol):
    """Proposes trials and receives their results."""

    total: int
    pruning: dict[str, Any] | None  # settings of the callback that ends unpromising trials

    def ask(self, count: int) -> list[Record]:
        """Return the next trials, at most `count`; none when the sweep is complete."""
        ...

    def tell(self, record: Record) -> None:
        """Record a trial that has ended."""
        ...


class Grid:
    """Every combination of values; the last key varies fastest."""

    pruning: dict[str, Any] | None = None

    def __init__(self, dimensions: Sequence[Dimension]) -> None:
        self._left = [Record(number, values) for number, values in enumerate(combinations(dimensions), 1)]
        self.total = len(self._left)

    def ask(self, count: int) -> list[Record]:
        """Return the next combinations, at most `count`."""
        asked, self._left = self._left[:count], self._left[count:]
        return asked

    def tell(self, record: Record) -> None:
        """Do nothing: a grid does not depend on results."""
