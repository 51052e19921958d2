"""Albumentations transforms, as a pure function of a seed.

Compared with plain albumentations, the result depends on the seed alone, uncovered mask pixels are unlabelled, and
unknown arguments are errors.
"""

import inspect
import random
from collections.abc import Iterator, Sequence
from typing import Any

import albumentations as A
import numpy as np
from albumentations.augmentations.crops.transforms import CropSizeError
from albumentations.core.composition import BaseCompose

from imagier.errors import ConfigError, nearest
from imagier.randomness import derive_seed, generator

Target = np.ndarray | int | float


class Composed:
    """A sequence of albumentations transforms.

    A transform's `fill_mask` is the value of mask pixels that a rotation, shift or padding uncovers. A value of 0, the
    library's default, would label those pixels as class 0 and is replaced by `ignore_index`; it stays 0 (void,
    background) if nothing is ignored. `null`, if a transform allows it, leaves masks unchanged.

    Args:
        transforms: the transforms, which are modified.
        num_classes: number of classes of the masks; 0 without labels.
        ignore_index: the mask value that is ignored, or None.
        place: index among the stages of an augmentation, so that each stage draws its own random numbers.

    Raises:
        ConfigError: for an unknown argument of a transform, or a `fill_mask` that is neither a class nor ignored.
    """

    def __init__(self, transforms: Sequence[Any], num_classes: int, ignore_index: int | None, place: int = 0) -> None:
        self._place = place
        for transform in _leaves(transforms):
            _check_arguments(transform)
            _settle_fill(transform, num_classes, ignore_index)
        first = transforms[0]
        self._crop = first if isinstance(first, A.RandomSizedCrop) else None
        self._compose = A.Compose(list(transforms), additional_targets={"picture": "image"})

    def __call__(self, image: np.ndarray, target: Target, seed: int) -> tuple[np.ndarray, Target]:
        """Return the augmented pair; see `imagier.transforms.augment.Augment`."""
        # One generator shared by all: Compose.set_random_seed would give every transform the same numbers, so that, for
        # example, all flipped images would also be rotated to the left.
        drawn = derive_seed("transforms", self._place, seed)
        self._compose.set_random_state(generator(drawn), random.Random(drawn))
        # Copies, since some transforms write to their input, which may be the array that a data set keeps.
        if target is image or not isinstance(target, np.ndarray):
            augmented = self._apply(image=image.copy())["image"]
            return augmented, augmented if target is image else target
        key = "mask" if target.ndim == 2 else "picture"
        done = self._apply(image=image.copy(), **{key: target.copy()})
        return done["image"], done[key]

    def _apply(self, **pair: np.ndarray) -> dict[str, np.ndarray]:
        if self._crop is not None:
            _refuse_clipped(self._crop, *pair["image"].shape[:2])
        try:
            result: dict[str, np.ndarray] = self._compose(**pair)
        except CropSizeError as error:
            height, width = pair["image"].shape[:2]
            raise ConfigError(
                f"augment.transforms has a crop that does not fit an image of {height} x {width} (height x width): "
                f"{error} Choose a smaller crop, give it pad_if_needed=true, or set a larger data.size=[H,W]."
            ) from error
        return result


def _refuse_clipped(crop: A.RandomSizedCrop, height: int, width: int) -> None:
    """Raise ConfigError if crops may exceed the image: albumentations would clip and then stretch them."""
    tall = max(crop.min_max_height)
    wide = int(tall * crop.w2h_ratio)
    if tall > height or wide > width:
        raise ConfigError(
            f"augment.transforms crops up to {tall} x {wide} but got an image of {height} x {width} (height x width). "
            "Choose smaller crops, such as augment.heights=[64,128] of augment=street_crops, or a larger "
            "data.size=[H,W]."
        )


def _leaves(transforms: Sequence[Any]) -> Iterator[Any]:
    for transform in transforms:
        if isinstance(transform, BaseCompose):
            yield from _leaves(transform.transforms)
        else:
            yield transform


def _check_arguments(transform: Any) -> None:
    unknown = getattr(transform, "invalid_args", [])
    if unknown:
        name = type(transform).__name__
        known = [
            parameter for parameter in inspect.signature(type(transform).__init__).parameters if parameter != "self"
        ]
        raise ConfigError(
            f"augment: {name} has no argument '{unknown[0]}'.{nearest(unknown[0], known)} It takes {', '.join(known)}."
        )


def _settle_fill(transform: Any, num_classes: int, ignore_index: int | None) -> None:
    fill = getattr(transform, "fill_mask", None)
    if fill is None or num_classes == 0:
        return
    if fill == 0:
        transform.fill_mask = 0 if ignore_index is None else ignore_index
    elif fill != ignore_index and fill not in range(num_classes):
        ignored = "nothing is ignored" if ignore_index is None else f"{ignore_index} is ignored"
        raise ConfigError(
            f"augment: {type(transform).__name__} has fill_mask={fill}, but this data set has classes 0 to "
            f"{num_classes - 1} and {ignored}. Remove fill_mask, and uncovered pixels become unlabelled."
        )
