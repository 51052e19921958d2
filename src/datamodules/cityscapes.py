"""Cityscapes (Cordts et al. 2016, arXiv:1604.01685), and data sets in its layout: street scenes with label-id masks.

root/leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png       8-bit RGB
root/gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png        8-bit label ids, see `imagier.datamodules.labels`
"""

from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from imagier.batch import SPLITS, Facts, Split
from imagier.datamodules import imagenet
from imagier.datamodules.base import ImageData
from imagier.datamodules.image_file import read_image
from imagier.datamodules.labels import UNKNOWN, LabelSet, find_label_set
from imagier.datamodules.mask_file import read_mask
from imagier.datamodules.origin import locate
from imagier.errors import DataError

_IMAGE, _MASK = "_leftImg8bit.png", "_gtFine_labelIds.png"
_LAST_VOID_ID = 6
_PROBED = 20  # masks, to find out whether a test split is labelled
_EXPECTS = (
    "the folder that holds leftImg8bit/ and gtFine/, each with train/ and val/, which contain one folder per city; "
    "the environment variable CITYSCAPES_DATASET is read as well (registered users get the files from "
    "https://www.cityscapes-dataset.com)"
)


class MaskedImages:
    """The samples of one split: pairs of files."""

    def __init__(self, images: list[Path], masks: list[Path], labels: LabelSet) -> None:
        self.images, self.masks, self.labels = images, masks, labels
        self.ids = [path.name.removesuffix(_IMAGE) for path in images]
        if len(set(self.ids)) < len(self.ids):  # not so in Cityscapes, whose names begin with the city
            self.ids = [f"{path.parent.name}/{name}" for path, name in zip(images, self.ids, strict=True)]
        self.label_set = labels.name

    def __len__(self) -> int:
        return len(self.images)

    def files(self) -> list[Path]:
        """Every file that `read` opens; masks that are missing included."""
        return [*self.images, *self.masks]

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The image, uint8 [H, W, 3], and its classes, uint8 [H, W].

        Raises:
            DataError: a file is missing or corrupt, the two differ in size, or the mask holds something else than ids.
        """
        image = read_image(self.images[index], channels=3)
        path = self.masks[index]
        ids_HW = read_ids(path)
        if ids_HW.shape != image.shape[:2]:
            raise DataError(
                f"{path} is {_size(ids_HW)} (height x width) but its image {self.images[index].name} is "
                f"{_size(image)}; both must have the same size. Export the pair again at one size."
            )
        classes_HW = cv2.LUT(ids_HW, self.labels.table)
        if (unknown := classes_HW == UNKNOWN).any():
            raise DataError(_unknown_ids(path, ids_HW, unknown))
        return image, classes_HW


class Cityscapes(ImageData):
    """Cityscapes as published, or as its two archives unpack (`*leftImg8bit*/leftImg8bit`, `*gtFine*/gtFine`).

    If the test split cannot be scored, because it has no images, no masks or (as published) only unlabelled masks, the
    validation split takes its place, with a note.

    Args:
        label_set: classes to learn: train, category or category8, see `imagier.datamodules.labels`.
        embedded: name of a set of `imagier.synthetic` to use instead of `root`.
        options: passed to `ImageData`.

    Raises:
        ConfigError: there is no such label set.
    """

    def __init__(self, *, label_set: str = "train", embedded: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.labels = find_label_set(label_set)
        self.embedded = embedded

    def prepare_data(self) -> None:
        """Generate the embedded set if it is missing."""
        if self.embedded:
            self._locate()

    def open_split(self, split: Split) -> MaskedImages:
        """List the images of `split` and the expected paths of their masks. Raises DataError if there are no images."""
        if split == "test" and (reason := self._why_no_test()):
            split = self.let_val_be_test(reason)
        images, masks = self._pairs(split)
        if not images:
            raise DataError(
                f"{self._folders[0] / split} has no file CITY/*{_IMAGE}; the split '{split}' needs at least one. Set "
                f"data.root to {_EXPECTS}."
            )
        return MaskedImages(images, masks, self.labels)

    def describe(self) -> Facts:
        """Describe the classes and colours of the label set; mean and std are ImageNet's."""
        return Facts(
            name=self.name,
            channels=3,
            size=self.image_size(),
            mean=imagenet.MEAN,
            std=imagenet.STD,
            classes=self.labels.classes,
            colors=self.labels.colors,
            ignore_index=self.labels.ignore_index,
        )

    def _locate(self) -> Path:
        return locate(self.name, root=self.root, embedded=self.embedded, cache=self.cache, expects=_EXPECTS)

    @cached_property
    def _folders(self) -> tuple[Path, Path]:
        """Return the folders of images and of masks, each with one folder per split."""
        root = self._locate()
        return _find_folder(root, "leftImg8bit"), _find_folder(root, "gtFine")

    def _pairs(self, split: Split) -> tuple[list[Path], list[Path]]:
        folder, mask_folder = (parent / split for parent in self._folders)
        images = sorted(folder.glob(f"[!.]*/[!.]*{_IMAGE}"))  # macOS leaves a ._NAME beside files on non-Apple disks
        masks = [mask_folder / path.parent.name / f"{path.name.removesuffix(_IMAGE)}{_MASK}" for path in images]
        return images, masks

    def _why_no_test(self) -> str | None:
        images, masks = self._pairs("test")
        if not images:
            return "there are no test images"
        present = [mask for mask in masks if mask.is_file()]
        if not present:
            return "the test images have no masks"
        try:
            some = present[:: -(-len(present) // _PROBED)]
            dummy = all(read_ids(mask).max() <= _LAST_VOID_ID for mask in some)
        except DataError:
            return None  # the examination reports it with the others
        return "the test masks have no labels" if dummy else None


def read_ids(path: Path) -> np.ndarray:
    """Read label ids, uint8 [H, W]. Raises DataError as `read_mask` does."""
    return read_mask(path, f"Use *{_MASK}, not *_gtFine_color.png.")


def _find_folder(root: Path, name: str) -> Path:
    folders = [folder for folder in (root / name, *sorted(root.glob(f"*{name}*/{name}"))) if folder.is_dir()]
    # The archive of extra frames, with train_extra/ alone, may be unpacked beside that of the splits.
    found = next((folder for folder in folders if any((folder / split).is_dir() for split in SPLITS)), None)
    if found is None and not folders:
        inside = sorted(entry.name for entry in root.iterdir())
        listed = ", ".join(inside[:5]) + (", ..." if len(inside) > 5 else "") if inside else "nothing"
        raise DataError(f"{root} has no folder {name}/ (it holds {listed}). Set data.root to {_EXPECTS}.")
    return found or folders[0]


def _unknown_ids(path: Path, ids_HW: np.ndarray, unknown_HW: np.ndarray) -> str:
    values = np.unique(ids_HW[unknown_HW])
    row, column = np.argwhere(unknown_HW)[0]
    listed = ", ".join(map(str, values[:5])) + (", ..." if len(values) > 5 else "")
    return (
        f"{path} holds {listed} in {int(unknown_HW.sum())} pixels, the first at row {row}, column {column}; a mask "
        "may contain only Cityscapes' label ids 0 to 33, and 255 for -1. Map the values to those ids, 0 being "
        "unlabelled."
    )


def _size(pixels: np.ndarray) -> str:
    return f"{pixels.shape[0]} x {pixels.shape[1]}"
