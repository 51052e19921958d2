"""Base of all data modules: splits, examination before training, and loaders."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pytorch_lightning import LightningDataModule

from imagier.batch import SPLITS, Batch, Facts, Split
from imagier.datamodules.blanks import try_on_blanks
from imagier.datamodules.examination import Findings, among_the_first, class_weights, examine
from imagier.datamodules.folder import check_utf8
from imagier.datamodules.keeping import Keep
from imagier.datamodules.loader import EpochBatches, Loader, Samples, Source, available_cores
from imagier.datamodules.outside import refuse_targets_outside
from imagier.datamodules.parts import Joined, Subset
from imagier.errors import ConfigError, DataError
from imagier.transforms.augment import Augment


class ImageData(LightningDataModule):
    """Base of all data modules.

    A subclass implements `open_split` and `describe`, and `prepare_data` if it can generate or download its files.
    `setup` provides `facts`, `findings` and `sources`; `describe` may use `findings`.

    Args:
        name: data set name as in `data=NAME`, for reports.
        root: folder of the data set; a subclass's errors say what it must hold.
        cache: folder for generated sets, decoded samples and examination results.
        batch_size: samples per batch over all processes. Images without classes, and images of several sizes, are
            evaluated one at a time in each process.
        workers: worker processes of a loader; None chooses by CPU cores and by whether the split is in memory.
        seed: seed of sample order and augmentation.
        size: (height, width) to which every image is resized, or None to keep original sizes.
        augment: transforms for the training split, see `imagier.transforms.augment.Augment`.
        augment_first: augment training images before resizing them, not after.
        repeat: passes over the training samples per epoch, each with different augmentation.
        on_error: how to treat bad samples: "raise" stops before training, "skip" leaves them out.
        decode_once: cache decoded samples on disk for every epoch, process and run: True, False, or "auto", which does
            so if they take at most half of the free disk space.
        limit: use only the first `limit` samples of each split (for a quick look, or to overfit on purpose).
    """

    name: str  # Lightning's own may be None

    def __init__(
        self,
        *,
        name: str,
        cache: str | Path,
        root: str | Path | None = None,
        batch_size: int = 16,
        workers: int | None = None,
        seed: int = 0,
        size: Sequence[int] | None = None,
        augment: Sequence[Any] = (),
        augment_first: bool = False,
        repeat: int = 1,
        on_error: Literal["raise", "skip"] = "raise",
        decode_once: bool | Literal["auto"] = "auto",
        limit: int | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.root = Path(root).expanduser() if root else None
        self.cache = Path(cache).expanduser()
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        if isinstance(size, str):
            raise ConfigError(
                f"data.size={size} is only for image folders (data=photos), not for data={name}; give [height, "
                "width], or null to keep the original sizes."
            )
        self.size: tuple[int, int] | None = (size[0], size[1]) if size else None
        self.augment, self.augment_first, self.repeat = augment, augment_first, repeat
        self.on_error, self.limit, self.decode_once = on_error, limit, decode_once
        self.sources: dict[Split, Source] = {}
        self.features: dict[Split, np.ndarray] = {}  # float32 [N, F] per split, added to its batches
        self.stand_ins: dict[Split, Split] = {}  # split without samples -> split used in its place
        self.notes: list[str] = []  # remarks for the report, such as a missing test split
        self._measured: Split | None = None

    @abstractmethod
    def open_split(self, split: Split) -> Source:
        """List the samples of `split` without reading them. Raises DataError when there are none."""

    @abstractmethod
    def describe(self) -> Facts:
        """Return the facts of this data set; called once, after the examination."""

    def setup(self, stage: str | None = None, measured: Split | None = None) -> None:
        """Open every split, examine all samples, and set `facts`. Idempotent.

        Args:
            stage: Lightning's; ignored.
            measured: if nothing is trained, the split to evaluate, or "all" for every split that exists; other splits
                may be missing.

        Raises:
            DataError: a split or its classes are missing, or (with on_error="raise") samples are bad; the message
                names the file, the value found and the remedy.
        """
        if self.sources:
            return
        self._measured = measured
        sources = self._all_opened(measured)
        size = None if self.augment_first else self.expected_size(sources)
        keep = Keep(self.name, self.root, self.cache, size, self.decode_once) if self.decode_once else None
        self.findings: Findings = examine(sources, self.cache, self.on_error, keep)
        self.facts = self.describe()
        if odd := [name for name in self.facts.classes if "${" in name]:
            raise DataError(f"a class is called {odd[0]}, which a configuration would read as a reference: rename it.")
        self.findings = refuse_targets_outside(self.facts, self.findings, sources, self.on_error)
        if self.limit is not None:  # class weights and balance must describe what is used
            self.findings = among_the_first(self.limit, self.findings, sources, self.cache)
        for split, source in sources.items():
            state = self.findings.splits[split].state
            decoded = keep.decoded(source, state) if keep and size in (None, self.size) else None
            self.sources[split] = Subset(decoded or source, self.findings.good(split)[: self.limit])
        self._look_at_balance(measured)

    def _shows_classes(self, split: Split) -> bool:
        asked = list(self.findings.splits) if split == "all" else [split]
        return any(self.findings.class_counts(one, self.facts.num_classes).any() for one in asked)

    def _look_at_balance(self, measured: Split | None) -> None:
        asked: Sequence[Split] = ("train", "val") if measured is None else (measured,)
        for split in asked if self.facts.num_classes else ():
            if split != "all" and not self.findings.splits[split].counts and self.findings.sizes(split):
                raise DataError(
                    f"no target of data={self.name}'s split '{split}' is a class: classes are whole numbers (int) or "
                    "masks of them."
                )
            if not self._shows_classes(split):
                raise DataError(
                    f"no target of data={self.name}'s split '{split}' belongs to any of its {self.facts.num_classes} "
                    "classes: all are ignored, so there is nothing to "
                    f"{'train on' if split == 'train' else 'evaluate'}. Check the masks, or choose another label set."
                )
        if "train" not in self.sources or measured is not None:
            return
        if self.facts.num_classes and not self._shows_classes("test"):
            self.sources["test"] = self.sources[self.let_val_be_test("the test split has no labels")]
        if absent := [name for name, count in zip(self.facts.classes, self.class_counts(), strict=True) if not count]:
            self.notes.append(f"classes without training samples, which cannot be learned: {', '.join(absent)}.")

    def expected_size(self, sources: Mapping[Split, Source]) -> tuple[int, int] | None:
        """Return the (height, width) to which samples will be resized, as far as known before they are read."""
        return self.size

    def image_size(self) -> tuple[int, int] | None:
        """Return (height, width) of the images in a batch: `size`, else the size that all files share, else None."""
        found = {size for split in self.findings.splits for size in self.findings.sizes(split)}
        return self.size or (found.pop() if len(found) == 1 else None)

    def _all_opened(self, measured: Split | None) -> dict[Split, Source]:
        sources: dict[Split, Source] = {}
        missing: list[DataError] = []
        for split in SPLITS:
            try:
                sources[split] = self._opened(split)
            except DataError as error:
                if measured in (None, split):
                    raise
                missing.append(error)
        if not sources:
            raise missing[0]
        return sources

    def _opened(self, split: Split) -> Source:
        try:
            source = self.open_split(split)
        except OSError as error:
            raise DataError(
                f"data={self.name} cannot list its files: {error}. Is data.root={self.root} the right folder?"
            ) from error
        if not len(source):
            raise DataError(f"data={self.name} has no samples for the split '{split}' in data.root={self.root}.")
        for name in source.ids:
            if not name.isascii():
                check_utf8(name)
        return source

    def let_val_be_test(self, reason: str) -> Split:
        """Record that "val" stands in for "test", with a note unless another split is evaluated, and return "val"."""
        if self._measured in (None, "test"):
            self.notes.append(f"data={self.name}: {reason}, so the validation split is used as the test split.")
        self.stand_ins["test"] = "val"
        return "val"

    def join(self) -> None:
        """Add the split "all", with every sample once, even if one split stands in for another."""
        own = [source for split, source in self.sources.items() if split not in self.stand_ins]
        self.sources["all"] = Joined(own)

    def class_counts(self) -> np.ndarray:
        """Count the training pixels (segment) or samples (classify) of each class: int64 [K]."""
        return self.findings.class_counts("train", self.facts.num_classes)

    def class_weights(self) -> np.ndarray:
        """Return loss weights that favour rare classes, float64 [K]; images weigh the same whatever their size."""
        return class_weights(self.findings.class_shares("train", self.facts.num_classes))

    def loader(
        self, split: Split, *, shuffle: bool = False, pin_memory: bool = False, rank: int = 0, world: int = 1
    ) -> Loader:
        """Build the loader of `split`: shuffled and augmented for training, plain and complete otherwise.

        Args:
            split: train, val or test, or all after `join`.
            shuffle: whether to shuffle, augment and repeat, for training.
            pin_memory: whether to pin batches for copying to a GPU.
            rank: rank of this process.
            world: number of processes that share the samples.

        Raises:
            ConfigError: `world` does not divide the batch size or exceeds the training samples, or `augment` does not
                fit the image sizes.
        """
        source = self.sources[split]
        transform = Augment(
            self.augment if shuffle else (),
            size=self.size,
            num_classes=self.facts.num_classes,
            ignore_index=self.facts.ignore_index,
            resize_last=self.augment_first and shuffle,
        )
        if shuffle and (sizes := self.findings.sizes("train")):
            with suppress(DataError):  # the first sample has gone since the examination; training reports it
                _, meant = source.read(0)
                try_on_blanks(transform, sizes, self.facts.channels, meant, alike=self.batch_size > world)
        samples = Samples(source, transform, self.seed, self.on_error)
        if self.batch_size % world:
            raise ConfigError(
                f"data.batch_size={self.batch_size} cannot be split equally between {world} processes; choose a "
                f"multiple of {world}."
            )
        # Images of several sizes do not stack, and whole photographs need far more memory than training crops.
        together = self.batch_size if shuffle or (self.facts.size and self.facts.classes) else world
        samples_an_epoch = self.samples_an_epoch if shuffle else len(source)
        if shuffle and samples_an_epoch < world:  # one without any would block the others, which wait for its gradients
            raise ConfigError(
                f"{samples_an_epoch} training samples per epoch are fewer than the {world} processes, each of which "
                "needs at least one; use fewer processes, or a higher data.repeat."
            )
        batches = EpochBatches(samples_an_epoch, together, shuffle=shuffle, seed=self.seed, rank=rank, world=world)
        return Loader(
            samples,
            batches,
            workers=self.worker_count(split),
            pin_memory=pin_memory,
            features=self.features.get(split),
        )

    @property
    def samples_an_epoch(self) -> int:
        """Number of training samples per epoch, each counted `repeat` times."""
        return len(self.sources["train"]) * self.repeat

    def train_dataloader(self) -> Loader:
        """Return the loader of this process's share of the training split, shuffled and augmented."""
        return self._shared("train", shuffle=True)

    def val_dataloader(self) -> Loader:
        """Return the loader of this process's share of the validation split, in order."""
        return self._shared("val")

    def test_dataloader(self) -> Loader:
        """Return the loader of this process's share of the test split, in order."""
        return self._shared("test")

    def _shared(self, split: Split, shuffle: bool = False) -> Loader:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        pinned = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return self.loader(split, shuffle=shuffle, rank=rank, world=world, pin_memory=pinned)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move only what networks use, where Lightning would walk every key; an image that is its target stays so.

        `index` stays on the CPU, where tasks derive seeds from it: reading it from a GPU would wait for the last step.
        """
        moved = batch.copy()
        for key in ("image", "target", "features"):
            if key in batch:
                same = key == "target" and batch["target"] is batch["image"]
                moved[key] = moved["image"] if same else batch[key].to(device, non_blocking=True)
        return moved

    def worker_count(self, split: Split) -> int:
        """Return the number of loader workers of `split`: `workers`, or a number that suits this machine."""
        return self.usual_workers(split) if self.workers is None else self.workers

    def usual_workers(self, split: Split) -> int:
        """Return the number of loader workers that suits this machine, regardless of `workers`."""
        cores = available_cores()
        # With one or two cores the training step needs them both.
        return 0 if cores <= 2 or getattr(self.sources[split], "in_memory", False) else min(8, cores - 2)
