"""Pairs images with their masks, and assigns the pairs to train, val and test."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from imagier.batch import SPLITS, Split
from imagier.datamodules.folder import (
    counted,
    cut,
    list_files,
    passed_over,
    place,
    shares_of_cut,
    split_folders,
    subfolders,
)
from imagier.datamodules.image_file import SUFFIXES
from imagier.datamodules.mask_file import SUFFIXES as MASK_SUFFIXES
from imagier.errors import DataError

EXPECTS = "the folder that holds images/ and masks/, or train/, val/ and test/ that contain these"


class Pair(NamedTuple):
    """Paths of an image and of its mask, relative to the root."""

    image: str
    mask: str


def find_pairs(root: Path, shares: Sequence[float]) -> tuple[dict[Split, list[Pair]], list[str]]:
    """Return the pairs of each split, and notes about skipped files.

    Pairs are ordered by a hash of their names, so that the first ones are a representative sample.

    Args:
        root: folder in a layout of `imagier.datamodules.masks`.
        shares: fractions of train, val and test, with which splits without a folder are cut from training images.

    Raises:
        DataError: folders are missing or ambiguous, or two images or masks differ only in their suffix.
    """
    folders = _folders(root)
    pairs: dict[Split, list[Pair]] = {split: [] for split in SPLITS}
    ignored: Counter[str] = Counter()
    notes: list[str] = []
    for split, (images, masks) in folders.items():
        pictures = _by_stem(root / images, list_files(root / images, SUFFIXES, ignored))
        drawn = _by_stem(root / masks, list_files(root / masks, MASK_SUFFIXES, ignored))
        stems = sorted(pictures)
        splits = cut(stems, shares_of_cut(shares, folders)) if split == "train" else [split] * len(stems)
        for stem, chosen in zip(stems, splits, strict=True):
            mask = drawn.get(stem, f"{stem}.png")  # reported as missing when it is read
            pairs[chosen].append(Pair(f"{images}/{pictures[stem]}", f"{masks}/{mask}"))
    if ignored:
        notes.append(f"{root}: skipped files that are not images or masks: {counted(ignored)}.")
    own = {split: root / images for split, (images, _) in folders.items()}
    if _has_both(root) and (beside := passed_over(root / "images", own, SUFFIXES)):
        names = " and ".join(folder.name for folder in own.values())
        notes.append(f"{root / 'images'}: skipped entries next to {names}: {', '.join(beside)}.")
    return {split: sorted(those, key=lambda pair: place(pair.image)) for split, those in pairs.items()}, notes


def _has_both(folder: Path) -> bool:
    return (folder / "images").is_dir() and (folder / "masks").is_dir()


def _by_stem(folder: Path, names: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in sorted(names):
        # The same accented letter may be composed (Linux) or decomposed (macOS).
        stem = unicodedata.normalize("NFC", str(PurePosixPath(name).with_suffix("")))
        if stem in found:
            raise DataError(
                f"{folder} has both {found[stem]} and {name}, so it is unclear which one belongs to which mask or "
                "image; remove or rename one."
            )
        found[stem] = name
    return found


def _folders(root: Path) -> dict[Split, tuple[str, str]]:
    """Return the folders of images and of masks of each split that has them, relative to the root."""
    parted = [name for name in subfolders(root) if _has_both(root / name)]
    if _has_both(root):
        if parted:
            raise DataError(
                f"{root} has images/ and masks/, but also {parted[0]}/ with folders of these names. Set data.root to "
                "the one you mean, or move the other away."
            )
        found = split_folders(root / "images")
        inner = {split: "" if folder.name == "images" else f"/{folder.name}" for split, folder in found.items()}
        folders = {split: (f"images{name}", f"masks{name}") for split, name in inner.items()}
    else:
        with_pictures = [name for name in subfolders(root) if (root / name / "images").is_dir()]
        found = split_folders(root, among=with_pictures)
        folders = {split: (f"{folder.name}/images", f"{folder.name}/masks") for split, folder in found.items()}
    if root in found.values():  # no folder is named after a split
        there = ", ".join(subfolders(root)) or "no folders"
        raise DataError(f"{root} lacks images/ or masks/ (it contains {there}). Set data.root to {EXPECTS}.")
    if missing := [name for _, name in folders.values() if not (root / name).is_dir()]:
        raise DataError(
            f"{root} has no folder {missing[0]}/, but images can be used only with masks. Add the masks, or move the "
            f"images out of data.root, which must be {EXPECTS}."
        )
    return folders
