"""Folders of images, with classes in subfolders or without labels."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from imagier.batch import SPLITS, Facts, Split
from imagier.datamodules import imagenet
from imagier.datamodules.base import ImageData
from imagier.datamodules.folder import (
    check_shares,
    counted,
    cut,
    list_files,
    passed_over,
    place,
    shares_of_cut,
    split_folders,
    split_of,
    subfolders,
)
from imagier.datamodules.image_file import SUFFIXES, picture_size, read_image
from imagier.datamodules.loader import Source
from imagier.datamodules.origin import locate
from imagier.datamodules.palette import distinct_colors
from imagier.errors import ConfigError, DataError, nearest

_PROBED = 32
USUAL_SIZE = (224, 224)  # for sets of several image sizes; what most networks for photographs were designed for


class PictureFiles:
    """Pictures in files: a source whose targets are classes, or the pictures themselves."""

    def __init__(
        self, root: Path, ids: Sequence[str], labels: Sequence[int] | None, classes: Sequence[str], channels: int
    ) -> None:
        self.root, self.ids, self.labels, self.channels = root, ids, labels, channels
        self.classes = classes  # a new class in one split renumbers the labels of all

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray | int]:
        """The picture, uint8 [H, W, C], and its class, or the same picture once more without labels."""
        image = read_image(f"{self.root}/{self.ids[index]}", self.channels)
        return image, image if self.labels is None else self.labels[index]

    def files(self) -> list[str]:
        """The file of each sample."""
        return [f"{self.root}/{name}" for name in self.ids]


class Photos(ImageData):
    """Images below `root`, for classification with one folder per class, or unlabelled.

    The splits are the folders train, val (or valid, validation) and test, if they exist. A split without a folder is
    cut from the training folder, or from `root` itself if there is none of them: with the fractions of `split`, by the
    hash of a file's path, so that no image changes sides when others are added, except in classes so small that chance
    leaves a part empty (`imagier.datamodules.folder.cut`). With labels, each class is cut separately. Samples of a
    split are ordered by such a hash, so that the first ones are a representative sample.

    Images of another size than `size` are stretched to it without cropping; crops for training belong in `augment`. If
    test has no folder and a fraction of 0, the validation split takes its place, with a note.

    Args:
        labels: whether the folders directly below a split's folder are classes; deeper folders have no meaning.
        classes: names of the classes to keep, or None for all.
        known: class names of a trained network that is evaluated, some of which may have no images; None: the classes
            that have images.
        per_class: maximum number of training images per class, those with the smallest hashes; None for all.
        channels: 3 for RGB, 1 for grey.
        size: [height, width], or "auto": the images' own size if all share it, otherwise 224 x 224 with labels and no
            resizing without.
        split: fractions of train, val and test, which add up to 1.
        embedded: name of a set of `imagier.synthetic` to use instead of `root`.
        options: passed to `ImageData`.

    Raises:
        ConfigError: an option is invalid or contradicts another.
    """

    def __init__(
        self,
        *,
        labels: bool = True,
        classes: Sequence[str] | None = None,
        known: Sequence[str] | None = None,
        per_class: int | None = None,
        channels: Literal[1, 3] = 3,
        size: Sequence[int] | Literal["auto"] = "auto",
        split: Sequence[float] = (0.7, 0.1, 0.2),
        embedded: str | None = None,
        **options: Any,
    ) -> None:
        _check_options(channels, size, split)
        if not labels and (classes is not None or per_class is not None):
            raise ConfigError("data.classes and data.per_class select classes, but data.labels=false has none.")
        self.auto = size == "auto"
        super().__init__(size=None if size == "auto" else size, **options)
        self.labels, self.channels, self.split, self.embedded = labels, channels, tuple(split), embedded
        self.chosen, self.per_class = None if classes is None else frozenset(classes), per_class
        self.known = tuple(known or ())
        if self.known and (unknown := sorted((self.chosen or frozenset()) - set(self.known))):
            raise ConfigError(
                f"data.classes contains {unknown[0]}, but the network knows "
                f"{', '.join(self.known)}.{nearest(unknown[0], self.known)}"
            )
        self.ignored: Counter[str] = Counter()  # files that are not images, by suffix

    def prepare_data(self) -> None:
        """Generate the embedded set if it is missing. Raises as `imagier.datamodules.origin.locate` does."""
        self._locate()

    def open_split(self, split: Split) -> PictureFiles:
        """Return the images of `split`; the folders are listed once for all splits.

        Raises:
            ConfigError: one of `classes` has no folder.
            DataError: the split or a class has no images, or a class cannot be learned.
        """
        names = self._names[split]
        if split == "test" and not names and not self.split[2]:
            return self.open_split(self.let_val_be_test("data.split has no test part"))
        if not names and not self._names["train"]:
            there = " and ".join(path.name for path in split_folders(self._locate()).values())
            raise DataError(
                f"{self._locate()} has {there}, but no folder '{split}'. Add it, or set data.root to one folder of "
                "images, which is then split by data.split."
            )
        if not names:
            total = sum(map(len, self._names.values()))
            raise DataError(
                f"{self._locate()} has no images for the split '{split}': {total} images are split by "
                f"data.split={list(self.split)}, and classes with fewer than three images only train. Add a folder "
                f"'{split}' or more images, or give every split a fraction above 0."
            )
        numbers = {label: number for number, label in enumerate(self._classes)}
        labels = [numbers[label] for _, label in names] if self.labels else None
        return PictureFiles(self._locate(), [name for name, _ in names], labels, self._classes, self.channels)

    def expected_size(self, sources: Mapping[Split, Source]) -> tuple[int, int] | None:
        """Return `USUAL_SIZE` if the first images already show that "auto" will mean it, else `size`."""
        first = [self._locate() / name for name in next(iter(sources.values())).ids[:_PROBED]]
        differ = self.auto and self.labels and len(set(filter(None, map(picture_size, first)))) > 1
        return USUAL_SIZE if differ else self.size

    def describe(self) -> Facts:
        """Describe the classes, named after their folders in alphabetical order; mean and std are ImageNet's."""
        return Facts(
            name=self.name,
            channels=self.channels,
            size=self._settle_size(),
            mean=imagenet.MEAN if self.channels == 3 else imagenet.GREY_MEAN,
            std=imagenet.STD if self.channels == 3 else imagenet.GREY_STD,
            classes=self._classes,
            colors=distinct_colors(len(self._classes)),
        )

    def _settle_size(self) -> tuple[int, int] | None:
        if self.auto and self.labels and (self.augment_first or self.image_size() is None):
            self.size = self.image_size() or USUAL_SIZE  # crops are resized to it, too
        return self.image_size()

    def _locate(self) -> Path:
        return locate(self.name, root=self.root, embedded=self.embedded, cache=self.cache, expects=self._expects)

    @property
    def _expects(self) -> str:
        kind = "a folder with one folder of images per class" if self.labels else "a folder of images"
        return f"{kind}, or a folder with such folders named train, val and test"

    @cached_property
    def _classes(self) -> tuple[str, ...]:
        """Return `known` or the class names in alphabetical order. Raises DataError if one cannot be learned."""
        if not self.labels:
            return ()
        found = {split: {label for _, label in self._names[split]} for split in SPLITS}
        if found["train"] | found["val"] | found["test"] <= set(self.known):
            return self.known
        known = found["train"] or found["val"] | found["test"]  # of a set that is only evaluated
        for split in SPLITS:
            if unknown := sorted(found[split] - known):
                raise DataError(
                    f"class '{unknown[0]}' has images in the split '{split}' but none in training, so it cannot be "
                    f"learned.{nearest(unknown[0], found['train'])} Add training images of it, or rename or remove "
                    f"its folder; training has the classes {', '.join(sorted(found['train']))}."
                )
        if len(known) < 2 and self.known:
            (other,) = known
            raise DataError(
                f"the network does not know the class '{other}' of {self._locate()}; it knows "
                f"{', '.join(self.known)}.{nearest(other, self.known)} Rename the folder to the class that it shows."
            )
        if len(known) < 2:
            cure = "Set data.root to the folder above the classes." if self.chosen is None else "Add to data.classes."
            raise DataError(
                f"{self._locate()} has only the class '{min(known)}'{' of data.classes' if self.chosen else ''}; "
                f"classification needs two or more, each in its own folder. {cure}"
            )
        return tuple(sorted(known))

    @cached_property
    def _names(self) -> dict[Split, list[tuple[str, str]]]:
        """Return (path below root, class) of the images of each split; the class is empty without labels."""
        root = self._locate()
        folders = split_folders(root)
        shares = shares_of_cut(self.split, folders)
        names: dict[Split, list[tuple[str, str]]] = {split: [] for split in SPLITS}
        for split, folder in folders.items():
            prefix = "" if folder == root else f"{folder.name}/"
            for label, members in self._list(split, folder).items():
                splits = cut(members, shares) if split == "train" else [split] * len(members)
                for member, chosen in zip(members, splits, strict=True):
                    names[chosen].append((prefix + member, label))
        if self.ignored:
            self.notes.append(f"data={self.name}: skipped files that are not images: {counted(self.ignored)}.")
        if beside := passed_over(root, folders, SUFFIXES):
            own = " and ".join(folder.name for folder in folders.values())
            self.notes.append(f"data={self.name}: skipped entries next to {own}: {', '.join(beside)}.")
        if self.labels and root in folders.values():
            for name in filter(split_of, subfolders(root) if self.chosen is None else sorted(self.chosen)):
                self.notes.append(
                    f"data={self.name}: the folder {name} is used as a class, like those next to it; if it is a "
                    "split, move the classes into folders train, val and test."
                )
        sorted_names = {split: sorted(pairs, key=lambda pair: place(pair[0])) for split, pairs in names.items()}
        if self.per_class is not None:
            sorted_names["train"] = _first_of_each(sorted_names["train"], self.per_class)
        return sorted_names

    def _list(self, split: Split, folder: Path) -> dict[str, list[str]]:
        """Return the images below the `folder` of `split` by class, sorted by name."""
        groups: defaultdict[str, list[str]] = defaultdict(list)
        for name in sorted(list_files(folder, SUFFIXES, self.ignored)):
            label, nested, _ = name.partition("/")
            if self.labels and not nested:
                raise DataError(
                    f"{folder / name} is not in a class folder: with data.labels=true each image must be in a "
                    f"subfolder of {folder} named after its class. Move it there; images without classes are for "
                    "task=denoise and task=compress, or need data.labels=false."
                )
            if self.chosen is None or label in self.chosen:
                groups[label if self.labels else ""].append(name)
        asked = self.labels and split == "train" and not self.known
        classes = self._folders_of_classes(folder) if asked else []
        empty = [name for name in classes if name not in groups]
        if empty or not groups:
            met = f" Other files were found: {counted(self.ignored)}." if self.ignored else ""
            of = "" if self.chosen is None or empty else f" of data.classes={','.join(sorted(self.chosen))}"
            raise DataError(
                f"{folder.joinpath(*empty[:1])} has no images{of}.{met} Fill the folder or remove it, or set data.root "
                f"to {self._expects}; image names end in {', '.join(sorted(SUFFIXES))}."
            )
        return groups

    def _folders_of_classes(self, folder: Path) -> list[str]:
        """List the class folders to use. Raises ConfigError if one of `classes` has none."""
        found = subfolders(folder)
        if self.chosen is None:
            return found
        if unknown := sorted(self.chosen - set(found)):
            raise ConfigError(
                f"{folder} has no class {unknown[0]}, which data.classes contains; it has "
                f"{', '.join(found)}.{nearest(unknown[0], found)}"
            )
        return [name for name in found if name in self.chosen]


def _first_of_each(names: Sequence[tuple[str, str]], count: int) -> list[tuple[str, str]]:
    """Keep the first `count` (path, class) pairs of each class, in order."""
    met: Counter[str] = Counter()
    kept = []
    for name, label in names:
        met[label] += 1
        if met[label] <= count:
            kept.append((name, label))
    return kept


def _check_options(channels: int, size: Any, split: Sequence[float]) -> None:
    if channels not in (1, 3):
        raise ConfigError(f"data.channels={channels} is not supported; give 3 for RGB or 1 for grey.")
    if size != "auto" and not (
        isinstance(size, Sequence) and len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size)
    ):
        said = "null" if size is None else size
        raise ConfigError(f"data.size={said} is not a size; give [height, width], such as [224,224], or auto.")
    check_shares(split)
