"""The interface of imagier's own transforms, which handle whole batches and get all random numbers as arguments."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from imagier.errors import ConfigError


class Transform(ABC):
    """Base class of imagier's transforms.

    `draws` is the number of random numbers in [0, 1) that a sample needs. If `alternates` is set, they depend on the
    image alone, plus a half, modulo one, in every other epoch (see `imagier.transforms.augment.Chance`).
    """

    draws: int
    alternates: bool = False

    @abstractmethod
    def apply(self, pixels: np.ndarray, numbers: Sequence[float], fill: int) -> np.ndarray:
        """Return the transformed pixels, possibly a view, without modifying `pixels`.

        Args:
            pixels: an image, uint8 [H, W, C], or a mask, uint8 [H, W].
            numbers: `draws` random numbers in [0, 1); the same for an image and its mask.
            fill: value of uncovered pixels.
        """

    def apply_all(self, pixels_BHW: np.ndarray, numbers_BD: np.ndarray, fill: int) -> np.ndarray:
        """Apply the transform to a batch; subclasses override this to avoid the overhead of a call per small image.

        Args:
            pixels_BHW: uint8 [B, H, W, C] or [B, H, W], which may be overwritten.
            numbers_BD: float64 [B, draws].
            fill: value of uncovered pixels.

        Raises:
            ConfigError: if the results differ in size, for instance because only some of the images were rotated.
        """
        moved = [self.apply(*pair, fill) for pair in zip(pixels_BHW, numbers_BD.tolist(), strict=True)]
        refuse_unequal(moved)
        return np.stack(moved)


def refuse_unequal(images: Sequence[np.ndarray]) -> None:
    """Raise ConfigError unless all images, [H, W, C] or [H, W], have one size and thus fit into a batch."""
    sizes = sorted({image.shape[:2] for image in images})
    if len(sizes) > 1:
        listed = " and ".join(f"{height} x {width}" for height, width in sizes[:2])
        raise ConfigError(
            f"a batch would hold images of {listed} (height x width), but all must have one size. Set "
            "data.size=[H,W], crop them to one size in augment, or set data.batch_size=1."
        )
