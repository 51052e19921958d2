"""The nets that a server has, by their names."""

import dataclasses
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from imagier.deploy.bundle import Description
from imagier.deploy.predictor import Predictor
from imagier.server.batching import Batched
from imagier.server.monitoring import Monitor


class Codec(Protocol):
    """What compresses; see `imagier.deploy.codec.PictureCodec`."""

    channels: int
    qualities: int

    def compress(self, image_HWC: np.ndarray, quality: int | None = None) -> bytes: ...  # noqa: D102
    def decompress(self, data: bytes) -> np.ndarray: ...  # noqa: D102
    def size(self, data: bytes) -> tuple[int, int]: ...  # noqa: D102


@dataclass(frozen=True)
class Net:
    """A net that is served.

    name:        by which it is asked for.
    description: of the net.
    predictor:   answers about pictures; None: it is a codec.
    codec:       compresses pictures; None: it is none.
    training:    pictures of its training, by their names.
    """

    name: str
    description: Description
    predictor: Predictor | None = None
    codec: Codec | None = None
    training: Mapping[str, Path] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it: all that its users must know."""
        qualities = {"qualities": self.codec.qualities} if self.codec else {}
        told = {"name": self.name, "color_space": self.description.color_space}
        return dataclasses.asdict(self.description) | told | qualities


@dataclass(frozen=True)
class Opened:
    """A net as it was opened: what it is, what answers, and pictures of its training by their names."""

    description: Description
    answers: Predictor | Codec
    training: Mapping[str, Path] = field(default_factory=dict)


class OneAtATime:
    """A codec that is asked by many threads, and works for one of them."""

    def __init__(self, codec: Codec) -> None:
        self._codec, self._busy = codec, threading.Lock()
        self.channels, self.qualities = codec.channels, codec.qualities

    def compress(self, image_HWC: np.ndarray, quality: int | None = None) -> bytes:
        """See `Codec`."""
        with self._busy:
            return self._codec.compress(image_HWC, quality)

    def size(self, data: bytes) -> tuple[int, int]:
        """See `Codec`."""
        return self._codec.size(data)

    def decompress(self, data: bytes) -> np.ndarray:
        """See `Codec`."""
        with self._busy:
            return self._codec.decompress(data)


def to_serve(opened: Sequence[Opened], batch_size: int, monitor: Monitor) -> Mapping[str, Net]:
    """Make nets ready for many threads; equal names get a number.

    Args:
        opened: the nets.
        batch_size: pictures of equal size that a net answers together.
        monitor: is told of every batch.
    """
    nets: dict[str, Net] = {}
    met: Counter[str] = Counter()
    for one in opened:
        description, answers = one.description, one.answers
        met[description.name] += 1
        number = met[description.name]
        name = description.name if number == 1 else f"{description.name}-{number}"
        if isinstance(answers, Predictor):
            runtime = Batched(answers.runtime, batch_size, monitor.batches(name))
            predictor = Predictor(description, runtime, tile=answers.tile)
            nets[name] = Net(name, description, predictor=predictor, training=one.training)
        else:
            nets[name] = Net(name, description, codec=OneAtATime(answers), training=one.training)
    return nets
