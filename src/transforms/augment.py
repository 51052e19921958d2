"""Augmentation of an image together with its target, as a pure function of a seed.

The transforms are albumentations'; what this module adds is that a seed alone decides what they do, that borders they
open in a mask are unlabelled, and that a misspelt argument is an error.
"""

import copy
import inspect
import os
import random
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from imagier.errors import ConfigError, nearest
from imagier.randomness import generator

# Otherwise albumentations asks a server for its newest version when it is imported.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
Target = np.ndarray | int


class Augment:
    """Resizes, then applies albumentations transforms; everything random is drawn from the seed of the call.

    A transform's `fill_mask` says what a mask holds where a rotation, shift or padding uncovers it. Left at the
    library's default of 0, which would declare those pixels to be of class 0, it becomes `ignore_index`; only where a
    set ignores nothing does it stay 0 (void, background). `null`, where a transform allows it, leaves masks untouched.

    Args:
        transforms: albumentations transforms in the order of their application; they are copied.
        size: (height, width) to which images and targets are resized first, or None.
        num_classes: how many classes masks hold; 0 without labels.
        ignore_index: the mask value that counts nowhere, or None.

    Raises:
        ConfigError: for an unknown argument of a transform, or a `fill_mask` that is neither a class nor ignored.
    """

    def __init__(
        self,
        transforms: Sequence[Any] = (),
        size: tuple[int, int] | None = None,
        num_classes: int = 0,
        ignore_index: int | None = None,
    ) -> None:
        self.size = size
        chosen = copy.deepcopy(list(transforms))
        for transform in _leaves(chosen):
            _check_arguments(transform)
            _settle_fill(transform, num_classes, ignore_index)
        self._compose = None
        if chosen:
            import albumentations as A  # half a second, which a sentence without augmentation is spared

            self._compose = A.Compose(chosen, additional_targets={"picture": "image"})

    def __call__(self, image: np.ndarray, target: Target, seed: int) -> tuple[np.ndarray, Target]:
        """Return the augmented pair; equal seeds give equal results in every process and after any history.

        Args:
            image: uint8 [H, W, C].
            target: a mask uint8 [H, W], resized and warped with nearest neighbours and never blurred or recoloured;
                a picture uint8 [H, W, C], treated as the image is; or a class index, passed through.
            seed: decides all that is random.

        Raises:
            ConfigError: when a crop is larger than the image.
        """
        is_itself = target is image
        image = resize_image(image, self.size)
        if is_itself:
            target = image
        elif isinstance(target, np.ndarray):
            target = resize_mask(target, self.size) if target.ndim == 2 else resize_image(target, self.size)
        if self._compose is None:
            return image, target
        # One generator for all: Compose.set_random_seed would give each transform the same numbers, so that, say,
        # every flipped image were also rotated to the left.
        self._compose.set_random_state(generator("transforms", seed), random.Random(seed))
        if is_itself or not isinstance(target, np.ndarray):
            image = self._apply(image=image)["image"]
            return image, image if is_itself else target
        key = "mask" if target.ndim == 2 else "picture"
        done = self._apply(image=image, **{key: target})
        return done["image"], done[key]

    def _apply(self, **pair: np.ndarray) -> dict[str, np.ndarray]:
        from albumentations.augmentations.crops.transforms import CropSizeError

        assert self._compose is not None
        try:
            result: dict[str, np.ndarray] = self._compose(**pair)
        except CropSizeError as error:
            height, width = pair["image"].shape[:2]
            raise ConfigError(
                f"augment.transforms holds a crop that does not fit an image of {height} x {width} (height x width): "
                f"{error} Choose a smaller crop, give it pad_if_needed=true, or a larger data.size=[H,W]."
            ) from error
        return result


def resize_image(image: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Resize uint8 [H, W, C] to (height, width): areas are averaged where it shrinks, linear where it grows."""
    if size is None or image.shape[:2] == size:
        return image
    (height, width), channels = image.shape[:2], image.shape[2]
    smaller = min(size[0], height), min(size[1], width)
    if smaller != (height, width):
        image = cv2.resize(image, smaller[::-1], interpolation=cv2.INTER_AREA)
    if smaller != size:
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    return image.reshape(*size, channels)  # OpenCV drops the channel of a grey image


def resize_mask(mask: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Resize uint8 [H, W] to (height, width) with the nearest neighbour, aligned with `resize_image`."""
    if size is None or mask.shape == size:
        return mask
    # Plain INTER_NEAREST rounds down and so shifts a mask by up to half a pixel against its image.
    return cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def _leaves(transforms: Sequence[Any]) -> Iterator[Any]:
    for transform in transforms:
        from albumentations.core.composition import BaseCompose

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
            f"{num_classes - 1} and {ignored}. Leave fill_mask out, and uncovered pixels become unlabelled."
        )
