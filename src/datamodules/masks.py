"""Pictures with masks of one's own: images/NAME.jpg and masks/NAME.png, whose grey values are classes.

root/images, root/masks                     cut into train, val and test by `split`
root/images/train, root/masks/train, ...    as they lie; likewise root/train/images, root/train/masks, ...
"""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np

from imagier.batch import SPLITS, Facts, Split
from imagier.datamodules import imagenet
from imagier.datamodules.base import ImageData
from imagier.datamodules.folder import check_shares, cut, list_files, place, shares_of_cut, split_folders
from imagier.datamodules.image_file import SUFFIXES, read_image
from imagier.datamodules.mask_file import SUFFIXES as MASK_SUFFIXES
from imagier.datamodules.mask_file import read_mask
from imagier.datamodules.origin import locate
from imagier.datamodules.palette import distinct_colors
from imagier.errors import ConfigError, DataError

IGNORED = 255  # in a batch
_UNKNOWN = 254  # marks, in a lookup table, the values that mean nothing
_NAMES = "classes.txt"
_PROBED = 16
_EXPECTS = "the folder that holds images/ and masks/, or train/, val/ and test/ that hold these"
_CURE = "Save the numbers of the classes, not their colours."


class Pair(NamedTuple):
    """The files of a picture and of its mask, below the root."""

    image: str
    mask: str


class MaskedPictures:
    """The samples of one split."""

    def __init__(
        self, root: Path, pairs: Sequence[Pair], values: list[int], ignored: int | None, channels: int
    ) -> None:
        self.root, self.pairs, self.channels = root, pairs, channels
        self.values, self.ignored = values, ignored
        self.ids = [pair.image for pair in pairs]
        self._table = np.full(256, _UNKNOWN, np.uint8)
        if ignored is not None:
            self._table[ignored] = IGNORED
        self._table[values] = range(len(values))

    def __len__(self) -> int:
        return len(self.pairs)

    def files(self) -> list[Path]:
        """Every file that `read` opens; masks that are missing included."""
        return [self.root / name for pair in self.pairs for name in pair]

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The picture, uint8 [H, W, C], and its classes, uint8 [H, W].

        Raises:
            DataError: a file is missing or corrupt, or the mask holds a value that means nothing.
        """
        pair = self.pairs[index]
        values_HW = read_mask(self.root / pair.mask, _CURE)
        classes_HW = cv2.LUT(values_HW, self._table)
        if (unknown_HW := classes_HW == _UNKNOWN).any():
            met = ", ".join(map(str, np.unique(values_HW[unknown_HW])[:5]))
            known = ", ".join(map(str, self.values)) + ("" if self.ignored is None else f"; {self.ignored} is ignored")
            raise DataError(
                f"{self.root / pair.mask} holds the values {met}, which mean nothing: known are {known}. Name their "
                "classes in data.classes, and say in data.values which value is whose; or mend the mask."
            )
        return read_image(self.root / pair.image, self.channels), classes_HW


class Masks(ImageData):
    """Pictures with a mask each. What has no folder of its own is cut from the training pictures, as `Photos` does.

    Args:
        classes: their names, in the order of `values`; None takes them from root/classes.txt, a name a line.
        values: the grey value (or index, of a palette) of each class; None: 0, 1, 2, ...
        ignored: the value of pixels that are not labelled, unless it is one of `values`; None: there is none.
        channels: 3 for RGB, 1 for grey pictures.
        split: shares of train, val and test, which add up to 1.
        options: those of `ImageData`.

    Raises:
        ConfigError: there are no names, or not one for each value.
    """

    def __init__(
        self,
        *,
        classes: Sequence[str] | None = None,
        values: Sequence[int] | None = None,
        ignored: int | None = IGNORED,
        channels: Literal[1, 3] = 3,
        split: Sequence[float] = (0.7, 0.1, 0.2),
        **options: Any,
    ) -> None:
        check_shares(split)
        super().__init__(**options)
        self.channels, self.split = channels, tuple(split)
        self._said, self._values, self._ignored = classes, values, ignored
        self.passed_over: Counter[str] = Counter()  # files that are no pictures, by suffix

    def open_split(self, split: Split) -> MaskedPictures:
        """The pictures of `split`, from one look at the folders for all splits."""
        pairs = self._pairs[split]
        if split == "test" and not pairs and not self.split[2]:
            self.notes.append(f"data={self.name}: data.split gives test no pictures, so the test score is that of val.")
            self.stand_ins["test"] = "val"
            return self.open_split("val")
        if not pairs:
            raise DataError(
                f"{self._root} leaves no picture for the split '{split}'. Add a folder '{split}' or more pictures, or "
                "give every split a share above 0 in data.split."
            )
        ignored = None if self._ignored in self._numbers else self._ignored
        return MaskedPictures(self._root, pairs, self._numbers, ignored, self.channels)

    def describe(self) -> Facts:
        """The classes that were named; ImageNet's mean and deviation."""
        return Facts(
            name=self.name,
            channels=self.channels,
            size=self.image_size(),
            mean=imagenet.MEAN if self.channels == 3 else imagenet.GREY_MEAN,
            std=imagenet.STD if self.channels == 3 else imagenet.GREY_STD,
            classes=self._classes,
            colors=distinct_colors(len(self._classes)),
            ignore_index=IGNORED,
        )

    @cached_property
    def _root(self) -> Path:
        return locate(self.name, root=self.root, embedded=None, cache=self.cache, expects=_EXPECTS)

    @cached_property
    def _classes(self) -> tuple[str, ...]:
        if self._said is not None:
            return tuple(self._said)
        try:
            lines = (self._root / _NAMES).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            lines = []
        if names := tuple(line.strip() for line in lines if line.strip()):
            return names
        values = self._first_values()
        said = f"'data.classes=[{','.join(f'name{value}' for value in values)}]'"
        said += "" if values == list(range(len(values))) else f" 'data.values=[{','.join(map(str, values))}]'"
        raise ConfigError(
            f"data={self.name} does not know what its classes are called. The first masks hold the values "
            f"{', '.join(map(str, values))}: name each, {said}, or write {self._root / _NAMES} with a name a line. "
            f"{IGNORED} is not labelled, unless it is one of data.values."
        )

    def _first_values(self) -> list[int]:
        found: set[int] = set()
        for pair in [pair for split in SPLITS for pair in self._pairs[split]][:_PROBED]:
            found.update(np.unique(read_mask(self._root / pair.mask, _CURE)).tolist())
        return sorted(found - {IGNORED} if len(found) > 2 else found)

    @cached_property
    def _numbers(self) -> list[int]:
        """The value of each class in a file."""
        values = list(range(len(self._classes)) if self._values is None else self._values)
        if len(values) != len(self._classes) or len(set(values)) < len(values):
            raise ConfigError(
                f"data.values={values} needs one value, and each another, for the {len(self._classes)} classes "
                f"{', '.join(self._classes)}."
            )
        if not 2 <= len(values) < _UNKNOWN:
            raise ConfigError(f"data.classes has {len(values)} names; a mask tells 2 to {_UNKNOWN - 1} classes apart.")
        return values

    @cached_property
    def _pairs(self) -> dict[Split, list[Pair]]:
        folders = self._folders()
        pairs: dict[Split, list[Pair]] = {split: [] for split in SPLITS}
        for split, (images, masks) in folders.items():
            names = sorted(list_files(self._root / images, SUFFIXES, self.passed_over))
            drawn = {_stem(name): name for name in list_files(self._root / masks, MASK_SUFFIXES, Counter())}
            splits = cut(names, shares_of_cut(self.split, folders)) if split == "train" else [split] * len(names)
            for name, chosen in zip(names, splits, strict=True):
                mask = drawn.get(_stem(name), f"{_stem(name)}.png")
                pairs[chosen].append(Pair(f"{images}/{name}", f"{masks}/{mask}"))
        return {split: sorted(those, key=lambda pair: place(pair.image)) for split, those in pairs.items()}

    def _folders(self) -> dict[Split, tuple[str, str]]:
        """The folders of pictures and of masks of each split that has any, below the root."""
        if (self._root / "images").is_dir():
            found = split_folders(self._root / "images")
            inner = {split: "" if folder.name == "images" else f"/{folder.name}" for split, folder in found.items()}
            folders = {split: (f"images{name}", f"masks{name}") for split, name in inner.items()}
        else:
            found = split_folders(self._root)
            if self._root in found.values():
                raise DataError(f"{self._root} has no folder images/. Set data.root to {_EXPECTS}.")
            folders = {split: (f"{folder.name}/images", f"{folder.name}/masks") for split, folder in found.items()}
        for pair in folders.values():
            for name in pair:
                if not (self._root / name).is_dir():
                    raise DataError(f"{self._root} has no folder {name}/. Set data.root to {_EXPECTS}.")
        return folders


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))
