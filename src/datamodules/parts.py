"""Sources made from other sources: subsets and concatenations."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from imagier.datamodules.loader import ArraySource, Source


class Subset:
    """Some samples of a source, by position."""

    def __init__(self, source: Source, positions: Sequence[int]) -> None:
        self.source, self.positions = source, np.array(positions, np.int64)
        self.ids = [source.ids[position] for position in positions]
        self.in_memory = getattr(source, "in_memory", False)
        self.shape = getattr(source, "shape", None)

    def __len__(self) -> int:
        return len(self.positions)

    def read(self, index: int) -> tuple[np.ndarray, Any]:
        """Return the image and target at `index` of the subset."""
        return self.source.read(int(self.positions[index]))

    def read_all(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return many images and targets at once, where the source can."""
        return cast(ArraySource, self.source).read_all(self.positions[indices])


class Joined:
    """Several sources, one after the other."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.places = [(source, index) for source in sources for index in range(len(source))]
        self.ids = [source.ids[index] for source, index in self.places]
        self.in_memory = all(getattr(source, "in_memory", False) for source in sources)

    def __len__(self) -> int:
        return len(self.places)

    def read(self, index: int) -> tuple[np.ndarray, Any]:
        """Return the image and target at `index`."""
        source, place = self.places[index]
        return source.read(place)
