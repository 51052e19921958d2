"""The networks of a server, by name."""

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from imagier.deploy.bundle import Description
from imagier.deploy.predictor import Predictor
from imagier.server.batching import Batched
from imagier.server.monitoring import Monitor


class Codec(Protocol):
    """A codec's interface; see `imagier.deploy.codec.PictureCodec`."""

    channels: int
    qualities: int

    def compress(self, image_HWC: np.ndarray, quality: int | None = None) -> bytes: ...  # noqa: D102
    def decompress(self, data: bytes) -> np.ndarray: ...  # noqa: D102
    def size(self, data: bytes) -> tuple[int, int]: ...  # noqa: D102


@dataclass(frozen=True)
class Net:
    """A network as served.

    name:        in URLs; unique in the server.
    description: of the network.
    predictor:   None for a codec.
    codec:       None for any other network.
    training:    paths of the training plots, by name.
    """

    name: str
    description: Description
    predictor: Predictor | None = None
    codec: Codec | None = None
    training: Mapping[str, Path] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the description for JSON, with the name, the colour space, and the number of a codec's qualities."""
        qualities = {"qualities": self.codec.qualities} if self.codec else {}
        told = {"name": self.name, "color_space": self.description.color_space}
        return dataclasses.asdict(self.description) | told | qualities


@dataclass(frozen=True)
class Opened:
    """A network as opened: its description, what runs it, and the paths of its training plots by name."""

    description: Description
    answers: Predictor | Codec
    training: Mapping[str, Path] = field(default_factory=dict)


class OneAtATime:
    """A codec that many threads may call; it works for one at a time."""

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
    """Prepare networks for concurrent calls, by name; the second of equal names becomes NAME-2, and so on.

    Args:
        opened: the networks.
        batch_size: maximum number of images of equal size that a network runs as one batch.
        monitor: receives the size of every batch.
    """
    nets: dict[str, Net] = {}
    for one in opened:
        description, answers = one.description, one.answers
        numbered = (f"{description.name}-{number}" for number in count(2))
        name = next(name for name in chain([description.name], numbered) if name not in nets)
        if isinstance(answers, Predictor):
            runtime = Batched(answers.runtime, batch_size, monitor.batches(name))
            predictor = Predictor(description, runtime, tile=answers.tile)
            nets[name] = Net(name, description, predictor=predictor, training=one.training)
        else:
            nets[name] = Net(name, description, codec=OneAtATime(answers), training=one.training)
    return nets
