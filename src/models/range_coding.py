"""Lossless coding of integers by range coding with integer frequency tables.

Tables rather than formulas, because encoder and decoder must agree to the last bit. `constriction` does the coding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import constriction
import numpy as np

from imagier.errors import DataError

TOTAL = 1 << 16  # sum of the counts of a row
LARGEST = 1 << 22  # symbols lie between minus and plus this
_LENGTHS = 32  # the distance of an escaped symbol has fewer binary digits than this

_model = constriction.stream.model
_queue = constriction.stream.queue


@dataclass(frozen=True, eq=False)
class Tables:
    """Distributions of integers, one per row, each over a run of consecutive symbols plus an escape for all others.

    low:    int64 [T], the first symbol of each run.
    start:  int64 [T + 1], offset of each row in `counts`.
    counts: int64 [sum of (run + 1)], at least 1; a row sums to TOTAL and ends with the count of the escape.
    """

    low: np.ndarray
    start: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[tuple[int, np.ndarray]]) -> "Tables":
        """Build tables from each row's first symbol and the probabilities, float64, of its run, which sum to at most 1.

        The escape gets the remainder.
        """
        counts = [_counts(probabilities) for _, probabilities in rows]
        low = np.array([first for first, _ in rows], np.int64)
        start = np.cumsum([0, *(len(row) for row in counts)]).astype(np.int64)
        return cls(low, start, np.concatenate(counts))

    def split(self, symbols: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return each symbol's cell in its row (the escape's if outside) and its signed distance outside the run."""
        run = (self.start[1:] - self.start[:-1] - 1)[rows]
        cell = symbols - self.low[rows]
        outside = np.minimum(cell, 0) + np.maximum(cell - run + 1, 0)
        return np.where(outside == 0, cell, run), outside

    def join(self, cell: np.ndarray, outside: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Invert `split`."""
        run = (self.start[1:] - self.start[:-1] - 1)[rows]
        edge = np.where(outside < 0, 0, run - 1)
        return self.low[rows] + np.where(outside == 0, cell, edge + outside)

    def bits(self, symbols: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the cost in bits of each symbol under its row, float64 of the symbols' shape; `rows` may broadcast."""
        cell, outside = self.split(symbols, rows)
        escaped = np.where(outside == 0, 0, 5 + _length(outside))  # sign, length, digits after the first
        return self._cost[self.start[rows] + cell] + escaped

    def models(self, rows: np.ndarray) -> Iterator[tuple[object, np.ndarray]]:
        """Yield the model of each row that occurs, with the positions of its symbols in the flattened `rows`."""
        flat = rows.ravel().astype(np.int16 if len(self.low) < 1 << 15 else np.int64)  # int16 sorts faster
        order = np.argsort(flat, kind="stable")
        present, first = np.unique(flat[order], return_index=True)
        for row, places in zip(present, np.split(order, first[1:]), strict=True):
            counts = self.counts[self.start[row] : self.start[row + 1]]
            yield _model.Categorical(counts / TOTAL, perfect=False), places

    def tobytes(self) -> bytes:
        """Return everything that coding depends on."""
        return b"".join(array.astype("<i8").tobytes() for _, array in self.arrays())

    def arrays(self) -> tuple[tuple[str, np.ndarray], ...]:
        """Return the three arrays with their names."""
        return ("low", self.low), ("start", self.start), ("counts", self.counts)

    @cached_property
    def _cost(self) -> np.ndarray:
        return -np.log2(self.counts / TOTAL)


class Encoder:
    """Encode arrays of symbols, one after another, into bytes."""

    def __init__(self) -> None:
        self._coder = _queue.RangeEncoder()

    def write(self, symbols: np.ndarray, rows: np.ndarray, tables: Tables) -> None:
        """Append integers of any shape, within LARGEST, each coded by the table row in `rows`, of the same shape."""
        cell, outside = (array.ravel() for array in tables.split(symbols, rows))
        for model, places in tables.models(rows):
            self._coder.encode(cell[places].astype(np.int32), model)
        escaped = outside[outside != 0]
        if len(escaped):
            length = _length(escaped)
            self._coder.encode((escaped < 0).astype(np.int32), _model.Uniform(2))
            self._coder.encode(length, _model.Uniform(_LENGTHS))
            size = (1 << (length - 1)).astype(np.int32)
            self._coder.encode((np.abs(escaped) - size).astype(np.int32)[size > 1], _model.Uniform(), size[size > 1])

    def data(self) -> bytes:
        """Return the coded bytes, a multiple of four."""
        return self._coder.get_compressed().astype("<u4").tobytes()


class Decoder:
    """Decode the arrays of an `Encoder` in the order in which they were written.

    Raises:
        DataError: here or while reading, if no `Encoder` can have written the bytes.
    """

    def __init__(self, data: bytes) -> None:
        if len(data) % 4:
            raise _damaged()
        self._coder = _queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))

    def read(self, rows: np.ndarray, tables: Tables) -> np.ndarray:
        """Return the next symbols, int64 of the same shape as `rows`."""
        try:
            return self._read(rows, tables)
        except AssertionError as error:  # constriction raises it for invalid data
            raise _damaged() from error

    def finish(self) -> None:
        """Raise DataError if bytes are certainly left over."""
        if not self._coder.maybe_exhausted():
            raise _damaged()

    def _read(self, rows: np.ndarray, tables: Tables) -> np.ndarray:
        cell = np.empty(rows.size, np.int64)
        for model, places in tables.models(rows):
            cell[places] = self._coder.decode(model, len(places))
        outside = np.zeros(rows.size, np.int64)
        flat = rows.ravel()
        escaped = cell == (tables.start[1:] - tables.start[:-1] - 1)[flat]
        if number := int(escaped.sum()):
            negative = self._coder.decode(_model.Uniform(2), number)
            length = self._coder.decode(_model.Uniform(_LENGTHS), number).astype(np.int64)
            if length.min() < 1 or length.max() > 24:
                raise _damaged()
            distance = 1 << (length - 1)
            size = distance.astype(np.int32)
            distance[size > 1] += self._coder.decode(_model.Uniform(), size[size > 1])
            outside[escaped] = np.where(negative == 1, -distance, distance)
        return tables.join(cell, outside, flat).reshape(rows.shape)


def _counts(probabilities: np.ndarray) -> np.ndarray:
    """Return counts of at least 1 that sum to TOTAL: those of the run, then that of the escape."""
    all_cells = np.append(probabilities, max(0.0, 1.0 - float(probabilities.sum())))
    counts = 1 + np.floor(all_cells * (TOTAL - len(all_cells))).astype(np.int64)
    counts[np.argmax(counts)] += TOTAL - counts.sum()
    return counts


def _length(number: np.ndarray) -> np.ndarray:
    """Return the number of binary digits of |number|."""
    return np.frexp(np.abs(number).astype(np.float64))[1].astype(np.int32)


def _damaged() -> DataError:
    return DataError("The compressed image is damaged: no network writes such bytes. Compress the image again.")
