"""What every data set shares: splits, examination before training, loaders. A data set adds where its files are."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pytorch_lightning import LightningDataModule

from imagier.batch import SPLITS, Batch, Facts, Split
from imagier.datamodules.examination import Findings, among_the_first, class_weights, examine
from imagier.datamodules.keeping import Keep
from imagier.datamodules.loader import EpochBatches, Loader, Samples, Source, available_cores
from imagier.datamodules.outside import refuse_targets_outside
from imagier.datamodules.parts import Joined, Subset
from imagier.errors import ConfigError, DataError
from imagier.transforms.augment import Augment
from imagier.transforms.base import refuse_unequal

_DRAWS = 4  # of each blank: a transform that leaves parts of different sizes shows it


class ImageData(LightningDataModule):
    """Base of all data modules.

    A subclass implements `open_split` and `describe`, and `prepare_data` where it can generate or download its files.
    After `setup`, `facts`, `findings` and `sources` are there; `describe` may use `findings`.

    Args:
        name: as in `data=NAME`, for reports.
        root: folder of the data set; a subclass says in an error what it expects there.
        cache: folder for generated sets and for what an examination found.
        batch_size: samples a batch over all processes together. Pictures without labels, and those of several sizes,
            are evaluated one at a time in each process.
        workers: loader processes; None chooses by the machine and by whether the split lies in memory.
        seed: of order and augmentation.
        size: (height, width) to which every image is resized, or None to leave sizes alone.
        augment: transforms for the training split, see `imagier.transforms.augment.Augment`.
        augment_first: training pictures are augmented as they are and then resized, not the other way round.
        repeat: how many times an epoch goes through the training samples, each time with other augmentation.
        on_error: what to do about unreadable samples: "raise" stops before training, "skip" leaves them out.
        decode_once: keep decoded samples in `cache`, where every epoch, process and run finds them: True, False, or
            "auto", where they take up to half of the disk space that is free.
        limit: keep only the first so many samples of each split (for a quick look, or to overfit on purpose).
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
        self.features: dict[Split, np.ndarray] = {}  # float32 [N, F] a split, for its batches to bring along
        self.stand_ins: dict[Split, Split] = {}  # a split that has no samples -> the one whose samples it has
        self.notes: list[str] = []  # what a reader of the report must know, such as that there is no test split

    @abstractmethod
    def open_split(self, split: Split) -> Source:
        """List the samples of `split` without reading them. Raises DataError when there are none."""

    @abstractmethod
    def describe(self) -> Facts:
        """State the facts of this data set; called once, after the splits are open."""

    def setup(self, stage: str | None = None, measured: Split | None = None) -> None:
        """Open every split, examine all files once, and state the facts. Idempotent.

        Args:
            stage: Lightning's; it makes no difference here.
            measured: where nothing is trained, the split that is asked for, or "all" for what there is: others may be
                missing, as where somebody keeps back a test set.

        Raises:
            DataError: naming the file at fault, the value met and the cure (with on_error="raise").
        """
        if self.sources:
            return
        sources = self._all_opened(measured)
        size = None if self.augment_first else self.expected_size(sources)
        keep = Keep(self.name, self.root, self.cache, size, self.decode_once) if self.decode_once else None
        self.findings: Findings = examine(sources, self.cache, self.on_error, keep)
        self.facts = self.describe()
        if odd := [name for name in self.facts.classes if "${" in name]:
            raise DataError(f"a class is called {odd[0]}, which a configuration would read as a reference: rename it.")
        self.findings = refuse_targets_outside(self.facts, self.findings, sources, self.on_error)
        if self.limit is not None:  # class weights and balance are those of what trains
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
        """(height, width) to which samples will be resized, as far as it can be said before they are read."""
        return self.size

    def image_size(self) -> tuple[int, int] | None:
        """(height, width) of the images in a batch: `size`, else the one that all files have, else None."""
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
        return source

    def let_val_be_test(self, reason: str) -> Split:
        """Note that the samples of "val", which is returned, stand in for those of "test"."""
        self.notes.append(f"data={self.name}: {reason}, so the validation split is used as test split.")
        self.stand_ins["test"] = "val"
        return "val"

    def join(self) -> None:
        """Make "all" a split, of every sample once: one split may stand in for another."""
        own = [source for split, source in self.sources.items() if split not in self.stand_ins]
        self.sources["all"] = Joined(own)

    def class_counts(self) -> np.ndarray:
        """Training pixels (segment) or samples (classify) of each class: int64 [K]."""
        return self.findings.class_counts("train", self.facts.num_classes)

    def class_weights(self) -> np.ndarray:
        """Loss weights that raise rare classes, float64 [K]: in training, pictures of all sizes become of one."""
        return class_weights(self.findings.class_shares("train", self.facts.num_classes))

    def loader(
        self, split: Split, *, shuffle: bool = False, pin_memory: bool = False, rank: int = 0, world: int = 1
    ) -> Loader:
        """Build the loader of `split`: shuffled and augmented for training, plain and complete otherwise.

        Args:
            split: train, val or test.
            shuffle: for training.
            pin_memory: whether batches go to a GPU from here.
            rank: of this process.
            world: processes among which the samples are shared out; one gets them all.
        """
        source = self.sources[split]
        transform = Augment(
            self.augment if shuffle else (),
            size=self.size,
            num_classes=self.facts.num_classes,
            ignore_index=self.facts.ignore_index,
            resize_last=self.augment_first and shuffle,
        )
        if shuffle:
            self._try_on_blanks(transform, alike=self.batch_size > world)
        samples = Samples(source, transform, self.seed, self.on_error)
        if self.batch_size % world:
            raise ConfigError(
                f"data.batch_size={self.batch_size} cannot be split equally between {world} processes; choose a "
                f"multiple of {world}."
            )
        # Pictures of several sizes do not stack, and whole photographs are many times the crops that training stacks.
        together = self.batch_size if shuffle or (self.facts.size and self.facts.classes) else world
        samples_an_epoch = self.samples_an_epoch if shuffle else len(source)
        if shuffle and samples_an_epoch < world:  # one without any would leave the others waiting for its gradients
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

    def _try_on_blanks(self, transform: Augment, alike: bool) -> None:
        """Try the smallest and the largest sizes that the examination has met, before anything is trained.

        Raises:
            ConfigError: a crop is larger than a picture; or, where they are to be `alike`, sizes do not stack.
        """
        found = self.findings.sizes("train")
        if not found:
            return
        try:
            _, meant = self.sources["train"].read(0)
        except DataError:  # it has gone since it was examined, of which training will speak
            return
        ends = {end(found, key=key) for end in (min, max) for key in (lambda size: size, lambda size: size[::-1])}
        left = []
        for size in sorted(ends):
            image = np.zeros((*size, self.facts.channels), np.uint8)
            target = meant if not isinstance(meant, np.ndarray) else image[..., 0] if meant.ndim == 2 else image
            left += [transform(image, target, seed)[0] for seed in range(_DRAWS)]
        if alike:
            refuse_unequal(left)

    @property
    def samples_an_epoch(self) -> int:
        """Training samples that an epoch takes, each as often as `repeat` says."""
        return len(self.sources["train"]) * self.repeat

    def train_dataloader(self) -> Loader:
        """Shuffled and augmented; this process's share."""
        return self._shared("train", shuffle=True)

    def val_dataloader(self) -> Loader:
        """Every sample once, in order; this process's share."""
        return self._shared("val")

    def test_dataloader(self) -> Loader:
        """Every sample once, in order; this process's share."""
        return self._shared("test")

    def _shared(self, split: Split, shuffle: bool = False) -> Loader:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        pinned = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return self.loader(split, shuffle=shuffle, rank=rank, world=world, pin_memory=pinned)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move what nets see; Lightning's own way goes through every name in the batch and moves a target twice.

        `index` seeds what a task draws, which the host does: fetched from a GPU, it would wait for the step before.
        """
        moved = batch.copy()
        for key in ("image", "target", "features"):
            if key in batch:
                moved[key] = batch[key].to(device, non_blocking=True)
        if batch["target"] is batch["image"]:
            moved["target"] = moved["image"]
        return moved

    def worker_count(self, split: Split) -> int:
        """Loader processes of `split`: `workers`, or as many as this machine has use for."""
        return self.usual_workers(split) if self.workers is None else self.workers

    def usual_workers(self, split: Split) -> int:
        """As many loader processes as this machine has use for, whatever `workers` says."""
        cores = available_cores()
        # With one or two cores the training step needs them both.
        return 0 if cores <= 2 or getattr(self.sources[split], "in_memory", False) else min(8, cores - 2)
