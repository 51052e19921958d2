"""Augmentation of an image together with its target, as a pure function of a seed.

Transforms that only move pixels, and TrivialAugment, are imagier's own (`imagier.transforms.exact`, `trivial`) and
cheap; all others are albumentations', which is imported only when one of them is used.
"""

import copy
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from imagier.randomness import uniforms
from imagier.transforms.base import Transform
from imagier.transforms.resize import resize_image, resize_mask

# Otherwise, importing albumentations looks up its newest version online.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

# OpenCV's threads would compete with torch's for the cores, and a loader's worker forked after they have started would
# wait for them forever.
cv2.setNumThreads(1)

Target = np.ndarray | int | float


class Chance(NamedTuple):
    """The sources of randomness of a batch of samples.

    Args:
        seeds: uint64 [B], derived from the run's seed, the epoch and the sample's index.
        own: uint64 [B], derived from the run's seed and the image alone.
        times: int [B], the epoch plus the number of passes over the data set already made in it (data.repeat).
    """

    seeds: np.ndarray
    own: np.ndarray
    times: np.ndarray

    @classmethod
    def of(cls, seeds: np.ndarray) -> "Chance":
        """Return the sources for images that are augmented only once."""
        return cls(seeds, seeds, np.zeros(len(seeds), int))


class Draw(NamedTuple):
    """The random draws for one sample: numbers in [0, 1) for imagier's transforms, a seed for albumentations."""

    numbers: list[float]
    seed: int


class Augment:
    """Resizes and transforms samples; everything random is drawn from one seed per sample.

    Args:
        transforms: imagier's and albumentations' transforms in the order in which they are applied; they are copied.
        size: (height, width) to which images and targets are resized, or None.
        num_classes: number of classes of the masks; 0 without labels.
        ignore_index: the mask value that is ignored, or None. Mask pixels that a transform uncovers get this value, or
            0 (void, background) if nothing is ignored.
        resize_last: resize after the transforms, which then see each image at its original size, instead of before.

    Raises:
        ConfigError: for an unknown argument of a transform, or a `fill_mask` that is neither a class nor ignored.
    """

    def __init__(
        self,
        transforms: Sequence[Any] = (),
        size: tuple[int, int] | None = None,
        num_classes: int = 0,
        ignore_index: int | None = None,
        resize_last: bool = False,
    ) -> None:
        self.size, self.resize_last = size, resize_last
        self.fill = 0 if ignore_index is None or not num_classes else ignore_index
        self._stages: list[Any] = []
        others: list[Any] = []
        for transform in copy.deepcopy([*transforms, None]):
            if others and (transform is None or isinstance(transform, Transform)):
                from imagier.transforms.composed import Composed  # albumentations takes a second to import

                self._stages.append(Composed(others, num_classes, ignore_index, place=len(self._stages)))
                others = []
            if isinstance(transform, Transform):
                self._stages.append(transform)
            elif transform is not None:
                others.append(transform)
        own = [stage for stage in self._stages if isinstance(stage, Transform)]
        self._count = sum(stage.draws for stage in own)
        self._alternate = np.flatnonzero([stage.alternates for stage in own for _ in range(stage.draws)])

    @property
    def batched(self) -> bool:
        """Whether `apply_all` may be used: all transforms are imagier's own, and nothing is resized after them."""
        return not self.resize_last and all(isinstance(stage, Transform) for stage in self._stages)

    def draw(self, chance: Chance) -> list[Draw]:
        """Return the random draws of all samples at once, since drawing them one by one is slow."""
        numbers = self._numbers(chance).tolist()
        return [Draw(*pair) for pair in zip(numbers, chance.seeds.tolist(), strict=True)]

    def _numbers(self, chance: Chance) -> np.ndarray:
        numbers_BD = uniforms(chance.seeds, self._count)
        if len(self._alternate):
            own_BA = uniforms(chance.own, self._count)[:, self._alternate]
            numbers_BD[:, self._alternate] = (own_BA + chance.times[:, None] / 2) % 1
        return numbers_BD

    def __call__(self, image: np.ndarray, target: Target, seed: int) -> tuple[np.ndarray, Target]:
        """Return the augmented pair; equal seeds give equal results in every process, whatever was drawn before.

        Args:
            image: uint8 [H, W, C]; it may be read-only, and the result may be a view of it.
            target: a mask uint8 [H, W], resized and warped by nearest neighbour and never blurred or recoloured; an
                image uint8 [H, W, C], treated like `image`; or a number, passed through.
            seed: determines everything random.

        Raises:
            ConfigError: if a crop is larger than the image.
        """
        return self.apply(image, target, self.draw(Chance.of(np.array([seed], np.uint64)))[0])

    def apply(self, image: np.ndarray, target: Target, draw: Draw) -> tuple[np.ndarray, Target]:
        """Augment one pair as `__call__` does, with random draws from `draw`."""
        if self.resize_last:
            return self._resized(*self._transformed(image, target, draw))
        return self._transformed(*self._resized(image, target), draw)

    def _resized(self, image: np.ndarray, target: Target) -> tuple[np.ndarray, Target]:
        resized = resize_image(image, self.size)
        if target is image:
            return resized, resized
        if isinstance(target, np.ndarray):
            target = resize_mask(target, self.size) if target.ndim == 2 else resize_image(target, self.size)
        return resized, target

    def _transformed(self, image: np.ndarray, target: Target, draw: Draw) -> tuple[np.ndarray, Target]:
        used = 0
        for stage in self._stages:
            if not isinstance(stage, Transform):
                image, target = stage(image, target, draw.seed)
                continue
            numbers = draw.numbers[used : used + stage.draws]
            used += stage.draws
            is_itself = target is image
            image = stage.apply(image, numbers, 0)
            if is_itself:
                target = image
            elif isinstance(target, np.ndarray):
                target = stage.apply(target, numbers, self.fill if target.ndim == 2 else 0)
        return image, target

    def apply_all(self, images_BHWC: np.ndarray, targets: np.ndarray, chance: Chance) -> tuple[np.ndarray, np.ndarray]:
        """Return what `apply` does for each sample, computed for a whole batch; requires `batched`.

        Args:
            images_BHWC: uint8, already of the size that `__call__` would resize to; they may be overwritten.
            targets: masks uint8 [B, H, W], images uint8 [B, H, W, C], `images_BHWC` itself, or classes [B].
            chance: the samples' sources of randomness.

        Raises:
            ConfigError: if the transforms leave images of different sizes, or a crop is larger than the images.
        """
        numbers_BD = self._numbers(chance)
        used = 0
        for stage in self._stages:
            mine = numbers_BD[:, used : used + stage.draws]
            used += stage.draws
            is_itself = targets is images_BHWC
            images_BHWC = stage.apply_all(images_BHWC, mine, 0)
            if is_itself:
                targets = images_BHWC
            elif targets.ndim > 1:
                targets = stage.apply_all(targets, mine, self.fill if targets.ndim == 3 else 0)
        return images_BHWC, targets
