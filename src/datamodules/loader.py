"""Turns a source of samples into batches: one loader for every data set.

The order of an epoch and every augmentation are pure functions of (seed, epoch, index). A loader's state is therefore
only the epoch and the number of samples handed out, and a resumed run sees the batches that an uninterrupted one would
have seen, whatever the number of workers or processes.
"""

import logging
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol, cast

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from imagier.batch import Batch
from imagier.errors import DataError, ImagierError
from imagier.randomness import derive_seed, permutation, sample_seeds
from imagier.transforms.augment import Augment, Chance
from imagier.transforms.base import refuse_unequal

log = logging.getLogger(__name__)

_SMALL = 1 << 14  # bytes; images up to this size are gathered and augmented as one array

Key = tuple[int, int]  # (epoch, index); indices beyond the last sample wrap around (data.repeat)
Target = np.ndarray | int | float  # a mask uint8 [H, W], an image uint8 [H, W, C], a class index, or a measured number


class Source(Protocol):
    """The samples of one split: names, and how to read one. Holds paths or arrays, never a generator."""

    @property
    def ids(self) -> Sequence[str]:
        """The samples' names."""
        ...

    def __len__(self) -> int:
        """How many samples there are."""
        ...

    def read(self, index: int) -> tuple[np.ndarray, Target]:
        """Return the image, uint8 [H, W, C], and its target. Raises DataError naming the file that is at fault."""
        ...


class ArraySource(Source, Protocol):
    """A source whose images are rows of one array, so that many can be read at once."""

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """(H, W, C) of every image, or None if `read_all` cannot be used."""
        ...

    def read_all(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return copies for int64 [B]: images uint8 [B, H, W, C] and stacked targets, or the same array twice."""
        ...


class Samples(Dataset[Batch | ImagierError]):
    """Reads, transforms and stacks whole batches; runs inside the loader's workers."""

    def __init__(
        self, source: Source, augment: Augment, seed: int, on_error: Literal["raise", "skip"] = "raise"
    ) -> None:
        self.source, self.augment, self.seed, self.on_error = source, augment, seed, on_error
        self._rows = _small_rows(source, augment.size) if augment.batched else None

    def __len__(self) -> int:
        return len(self.source)

    def __getitems__(self, keys: list[Key]) -> Batch | ImagierError:
        """Return the batch of `keys`, all of one epoch; on_error=skip drops unreadable samples with a warning.

        An ImagierError is returned, for `Loader` to raise: raised in a worker, it would arrive wrapped in a traceback.
        """
        try:
            return self._stack(keys)
        except ImagierError as error:
            return error

    def _stack(self, keys: list[Key]) -> Batch:
        epoch, indices = keys[0][0], np.array([index for _, index in keys])
        chance = self._chance(epoch, indices)
        if self._rows is not None:
            images, targets = self._rows.read_all(indices % len(self.source))
            images, targets = self.augment.apply_all(images, targets, chance)
        else:
            indices, images, targets = self._one_by_one(indices, chance)
        ids = self.source.ids
        batch = {
            "image": _tensor(images),
            "index": torch.from_numpy(indices),
            "id": [ids[index] for index in (indices % len(self.source)).tolist()],
        }
        if targets is not images:  # else `_whole` restores the alias after pinning, which copies per key
            batch["target"] = _tensor(targets)
        return cast(Batch, batch)

    def _chance(self, epoch: int, indices: np.ndarray) -> Chance:
        again, pictures = np.divmod(indices, len(self.source))  # data.repeat continues past the last index
        return Chance(
            sample_seeds(derive_seed("augment", self.seed, epoch), indices),
            sample_seeds(derive_seed("augment", self.seed), pictures),
            epoch + again,
        )

    def _one_by_one(self, indices: np.ndarray, chance: Chance) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the indices, images and targets of the samples that could be read, stacked."""
        read = [
            (index, *self.augment.apply(*sample, draw))
            for index, draw in zip(indices.tolist(), self.augment.draw(chance), strict=True)
            if (sample := self._read(index)) is not None
        ]
        if not read:
            raise DataError(
                f"none of the {len(indices)} samples of a batch can be read; run `imagier doctor` on this data set"
            )
        kept, images, targets = zip(*read, strict=True)
        refuse_unequal(images)
        stacked = np.stack(images)
        themselves = all(target is image for image, target in zip(images, targets, strict=True))
        return np.array(kept), stacked, stacked if themselves else np.stack(targets)

    def _read(self, index: int) -> tuple[np.ndarray, Target] | None:
        try:
            return self.source.read(index % len(self.source))
        except DataError as error:
            if self.on_error == "raise":
                raise
            log.warning("skipped a sample: %s", error)
            return None


class EpochBatches(Sampler[list[Key]]):
    """The batches of one epoch for one process: lists of (epoch, index).

    `batch_size` counts the samples of all processes together; process `rank` of `world` takes every world-th of them,
    so that one process with 64 and two with 32 each see the same samples.
    """

    def __init__(
        self, size: int, batch_size: int, *, shuffle: bool, seed: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        self.size, self.batch_size, self.shuffle, self.seed = size, batch_size, shuffle, seed
        self.rank, self.world = rank, world
        # A last batch of one or two samples would upset batch normalisation; evaluation needs every sample.
        self.drop_last = shuffle and size >= batch_size
        self.epoch, self.start = 0, 0

    def set_epoch(self, epoch: int) -> None:
        """Start `epoch` at its first sample, unless it is already set (and may be a resumed one)."""
        if epoch != self.epoch:
            self.epoch, self.start = epoch, 0

    def __len__(self) -> int:
        """Return the number of batches in a whole epoch, even while a resumed one has fewer left."""
        return self.size // self.batch_size if self.drop_last else -(-self.size // self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        order = permutation(self.seed, self.epoch, self.size) if self.shuffle else np.arange(self.size)
        stop = self.size - self.batch_size + 1 if self.drop_last else self.size
        for first in range(self.start, stop, self.batch_size):
            chosen = order[first : first + self.batch_size][self.rank :: self.world]
            if len(chosen):
                yield [(self.epoch, index) for index in chosen.tolist()]


class Loader:
    """Resumable loader of batches: its state is a position in an epoch, where `load_state_dict` continues."""

    def __init__(
        self,
        samples: Samples,
        batches: EpochBatches,
        *,
        workers: int = 0,
        pin_memory: bool = False,
        features: np.ndarray | None = None,
    ) -> None:
        self.samples, self._features = samples, features
        # Lightning looks for these attributes, as of a torch DataLoader, to call their set_epoch before each epoch.
        self.sampler = self.batch_sampler = batches
        self._handed_out = 0
        self._loader: DataLoader[Batch | ImagierError] = DataLoader(
            samples,
            batch_sampler=batches,
            collate_fn=as_is,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            worker_init_fn=_single_thread,
            generator=torch.Generator(),  # unused by workers; only keeps the global one untouched
        )

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        # A generator starts at its first `next`, hence after `set_epoch`, although Lightning calls iter() earlier.
        self._handed_out = self.sampler.start
        for batch in self._loader:
            if isinstance(batch, ImagierError):
                raise batch
            batch = _whole(batch)
            self._handed_out += self.sampler.batch_size
            if self._features is not None:
                batch["features"] = torch.from_numpy(self._features[batch["index"].numpy() % len(self._features)])
            yield batch
        self.sampler.start = 0

    def pick(self, indices: list[int]) -> Batch:
        """Return the batch of these samples, augmented as in epoch 0. Raises the errors of reading them."""
        batch = self.samples.__getitems__([(0, index) for index in indices])
        if isinstance(batch, ImagierError):
            raise batch
        return _whole(batch)

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch, its samples handed out so far over all processes, and its total of samples."""
        return {"epoch": self.sampler.epoch, "samples": self._handed_out, "size": self.sampler.size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after the samples that `state` counts; the batch size may have changed since."""
        self.sampler.epoch, self.sampler.start = state["epoch"], state["samples"]


def _whole(batch: Batch) -> Batch:
    """Make the images the targets of a batch without targets."""
    batch.setdefault("target", batch["image"])
    return batch


def _small_rows(source: Source, size: tuple[int, int] | None) -> ArraySource | None:
    """Return the source if its images can be read at once, need no resizing and are small, else None."""
    shape: tuple[int, int, int] | None = getattr(source, "shape", None)
    if shape is None or math.prod(shape) > _SMALL or (size is not None and shape[:2] != size):
        return None
    return cast(ArraySource, source)


def _tensor(stacked: np.ndarray) -> torch.Tensor:
    # Permuting without a copy leaves images in channels_last memory format, the fastest for convolutions.
    tensor = torch.from_numpy(stacked.astype(np.float32) if stacked.dtype == np.float64 else stacked)
    return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor


def available_cores() -> int:
    """Return the number of CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def as_is(batch: Any) -> Any:
    """Return the batch unchanged: a `collate_fn` for data sets that stack their own batches."""
    return batch


def _single_thread(worker: int) -> None:
    # A thread pool in each worker would compete with the training step for the cores.
    torch.set_num_threads(1)
