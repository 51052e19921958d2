"""Images with user-supplied masks: images/NAME.jpg and masks/NAME.png, whose grey values are classes.

root/images, root/masks                     cut into train, val and test by `split`
root/images/train, root/masks/train, ...    used as they are; likewise root/train/images, root/train/masks, ...
"""

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from imagier.batch import SPLITS, Facts, Split
from imagier.datamodules import imagenet
from imagier.datamodules.base import ImageData
from imagier.datamodules.folder import check_shares
from imagier.datamodules.image_file import read_image
from imagier.datamodules.labels import IGNORED, UNKNOWN
from imagier.datamodules.mask_file import SUFFIXES as MASK_SUFFIXES
from imagier.datamodules.mask_file import read_mask
from imagier.datamodules.mask_folders import EXPECTS, Pair, find_pairs
from imagier.datamodules.origin import locate
from imagier.datamodules.palette import distinct_colors
from imagier.errors import ConfigError, DataError

_NAMES = "classes.txt"
_PROBED = 16
_WORTH_SAYING = 0.005  # fraction of the pixels
_CURE = "Save the numbers of the classes, not their colours."


class MaskedPictures:
    """The samples of one split."""

    def __init__(
        self,
        root: Path,
        pairs: Sequence[Pair],
        classes: Sequence[str],
        values: list[int],
        ignored: int | None,
        channels: int,
    ) -> None:
        self.root, self.pairs, self.channels = root, pairs, channels
        self.classes = list(classes)  # other names are another set to whoever compares runs
        self.values, self.ignored = values, ignored
        self.ids = [pair.image for pair in pairs]
        # Of black and white, programs write one bit or eight, some of a set the one and some the other.
        self.white = 255 if 255 in values and 1 not in values else 1
        self._table = np.full(256, UNKNOWN, np.uint8)
        if ignored is not None:
            self._table[ignored] = IGNORED
        self._table[values] = range(len(values))

    def __len__(self) -> int:
        return len(self.pairs)

    def _like(self, mask: str) -> str:
        """The file that may have been meant."""
        path = self.root / mask
        names = sorted(one.name for one in path.parent.iterdir()) if path.parent.is_dir() else []
        like = [name for name in names if re.match(rf"{re.escape(path.stem)}[^0-9A-Za-z]", name)]
        if like and Path(like[0]).stem == path.stem:  # what it lacks is a suffix of masks
            return f" {like[0]} is there, in a format that changes values: draw it anew, or save it as .png."
        return f" Did you mean {like[0]}?" if like else ""

    def files(self) -> list[Path]:
        """Every file that `read` opens; masks that are missing included."""
        return [self.root / name for pair in self.pairs for name in pair]

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The picture, uint8 [H, W, C], and its classes, uint8 [H, W].

        Raises:
            DataError: a file is missing or corrupt, or the mask holds a value that means nothing.
        """
        pair = self.pairs[index]
        if not (self.root / pair.mask).exists():
            raise DataError(
                f"{self.root / pair.image} has no mask: {self.root / pair.mask} is not there."
                f"{self._like(pair.mask)} A mask has the name of "
                f"its picture and ends in {', '.join(sorted(MASK_SUFFIXES))}; draw it, remove the picture, or leave "
                "such pairs out with data.on_error=skip."
            )
        values_HW = read_mask(self.root / pair.mask, _CURE, self.white)
        classes_HW = cv2.LUT(values_HW, self._table)
        if (unknown_HW := classes_HW == UNKNOWN).any():
            met = ", ".join(map(str, np.unique(values_HW[unknown_HW])[:5]))
            known = ", ".join(map(str, self.values)) + ("" if self.ignored is None else f"; {self.ignored} is ignored")
            raise DataError(
                f"{self.root / pair.mask} holds the values {met}, which mean nothing: known are {known}. Name their "
                "classes in data.classes, and say in data.values which value is whose; or mend the mask, whose values "
                "are none of these where it was resized with smooth edges."
            )
        return read_image(self.root / pair.image, self.channels), classes_HW


class Masks(ImageData):
    """Images with one mask each. Splits without a folder are cut from the training images, as in `Photos`.

    Args:
        classes: class names, in the order of `values`; None reads them from root/classes.txt, one per line.
        values: grey value (palette index, in palette images) of each class; None: 0, 1, 2, ...
        ignored: value of unlabelled pixels, unless it is one of `values`; None: no value means unlabelled.
        channels: 3 for RGB, 1 for grey images.
        split: fractions of train, val and test, which add up to 1.
        options: passed to `ImageData`.

    Raises:
        ConfigError: `split` is invalid. Names and values are checked by `open_split`.
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

    def open_split(self, split: Split) -> MaskedPictures:
        """Return the images of `split`; the folders are listed once for all splits.

        Raises:
            ConfigError: class names are missing or not unique, or do not match the values.
            DataError: the split has no images, or the folders are not as expected.
        """
        pairs = self._pairs[split]
        if split == "test" and not pairs and not self.split[2]:
            return self.open_split(self.let_val_be_test("data.split has no test part"))
        if not pairs:
            raise DataError(
                f"{self._root} has no images for the split '{split}'. Add a folder '{split}' or more images, or give "
                "every split a fraction above 0 in data.split."
            )
        ignored = None if self._ignored in self._numbers else self._ignored
        return MaskedPictures(self._root, pairs, self._classes, self._numbers, ignored, self.channels)

    def describe(self) -> Facts:
        """Describe the named classes; mean and std are ImageNet's."""
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

    def _look_at_balance(self, measured: Split | None) -> None:
        self._tell_unlabelled(measured)
        super()._look_at_balance(measured)

    def _tell_unlabelled(self, measured: Split | None) -> None:
        """Note the share of unlabelled pixels, whose value may be meant as a class, such as 255 in masks of 0 and 255.

        Raises:
            DataError: before training, if the masks hold one class besides that value, without `values` or `limit`.
        """
        asked = list(self.findings.splits) if measured == "all" else [measured or "train"]
        counts = sum((self.findings.splits[split].counts for split in asked), Counter())
        unlabelled, met = counts[IGNORED], [value for value in counts if value != IGNORED]
        share = unlabelled / max(1, counts.total())
        if unlabelled and len(met) == 1 and self._values is None and self.limit is None:
            told = (
                f"the masks contain only {self._classes[met[0]]} and the value {self._ignored} for unlabelled, in "
                f"{share:.1%} of their pixels. If that value is a class, give the value of each: "
                f"'data.values=[{','.join(map(str, [*self._numbers[: len(self._numbers) - 1], self._ignored]))}]'."
            )
            if measured is None:
                raise DataError(told)
            self.notes.append(told)
        elif share >= _WORTH_SAYING:
            self.notes.append(
                f"{share:.1%} of the pixels are unlabelled (value {self._ignored}) and ignored; if that value is a "
                "class, add it to data.values."
            )

    @cached_property
    def _root(self) -> Path:
        return locate(self.name, root=self.root, embedded=None, cache=self.cache, expects=EXPECTS)

    @cached_property
    def _classes(self) -> tuple[str, ...]:
        names = self._names_in_file() if self._said is None else tuple(self._said)
        if not names:
            raise ConfigError(self._what_to_say())
        if odd := [name for name in names if not name.strip() or names.count(name) > 1]:
            raise ConfigError(f"data.classes={','.join(names)}: each class needs a unique name, unlike '{odd[0]}'.")
        if self._said is not None and (others := self._names_in_file()) and others != names:
            raise ConfigError(
                f"data.classes={','.join(names)}, but {self._root / _NAMES} says {','.join(others)}: use the names in "
                "the file, or correct or remove it."
            )
        return names

    def _names_in_file(self) -> tuple[str, ...]:
        path = self._root / _NAMES
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines() if path.is_file() else []
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path} is not UTF-8: {error}. Save it as UTF-8, or set data.classes=[...].") from error
        return tuple(line.strip() for line in lines if line.strip())

    def _what_to_say(self) -> str:
        values = list(self._values or self._first_values())
        said = f"'data.classes=[{','.join(f'name{value}' for value in values)}]'"
        if self._values is None and values != list(range(len(values))):
            said += f" 'data.values=[{','.join(map(str, values))}]'"
        of = "data.values has" if self._values else "The first masks contain the values"
        ignored = f"The value {self._ignored} means unlabelled (data.ignored), unless it is one of data.values."
        return (
            f"data={self.name} needs the names of its classes. {of} {', '.join(map(str, values))}: name each, {said}, "
            f"or write {self._root / _NAMES} with one name per line. {'' if self._ignored is None else ignored}"
        ).rstrip()

    def _first_values(self) -> list[int]:
        found: set[int] = set()
        first = [self._root / pair.mask for split in SPLITS for pair in self._pairs[split]][:_PROBED]
        for path in first:
            with suppress(DataError):  # the examination reports it
                found.update(np.unique(read_mask(path, _CURE, white=1)).tolist())
        if not found:
            read_mask(first[0], _CURE, white=1)  # raises the reason
        others = sorted(found - {self._ignored})
        # 0, 1, 2 and 255 are three classes and unlabelled; 0, 128 and 255 are likely all classes, as are 0 and 255.
        return others if len(others) > 1 and others == list(range(len(others))) else sorted(found)

    @cached_property
    def _numbers(self) -> list[int]:
        """Return the mask value of each class. Raises ConfigError if names and values do not match."""
        values = list(range(len(self._classes)) if self._values is None else self._values)
        if len(values) != len(self._classes) or len(set(values)) < len(values):
            raise ConfigError(
                f"data.values={values} must have one distinct value for each of the {len(self._classes)} classes "
                f"{', '.join(self._classes)}."
            )
        if self._values is None and self._ignored in values and self._ignored != IGNORED:
            raise ConfigError(
                f"data.ignored={self._ignored} is also the value of the class "
                f"{self._classes[values.index(self._ignored)]}, as data.values is not set: set it, such as "
                "data.values=[0,2]."
            )
        if not 2 <= len(values) < UNKNOWN:
            raise ConfigError(f"data.classes has {len(values)} names; masks support 2 to {UNKNOWN - 1} classes.")
        return values

    @cached_property
    def _pairs(self) -> dict[Split, list[Pair]]:
        pairs, notes = find_pairs(self._root, self.split)
        self.notes += notes
        return pairs
