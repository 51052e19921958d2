"""What a transform of this house is: small pictures pass by whole batches, and all chance comes from outside."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from imagier.errors import ConfigError


class Transform(ABC):
    """Base of these transforms.

    `draws` says how many numbers in [0, 1) decide what happens to a sample. Where it `alternates`, they are the
    picture's own ones, to which a half is added, modulo one, in every other epoch (see Chance).
    """

    draws: int
    alternates: bool = False

    @abstractmethod
    def apply(self, pixels: np.ndarray, numbers: Sequence[float], fill: int) -> np.ndarray:
        """Return what becomes of the pixels, without changing `pixels`.

        Args:
            pixels: uint8 [H, W, C] or [H, W], such as a picture and then its mask.
            numbers: `draws` of them; the same for a picture and its mask.
            fill: what is where nothing was.
        """

    def apply_all(self, pixels_BHW: np.ndarray, numbers_BD: np.ndarray, fill: int) -> np.ndarray:
        """`apply` for a batch at once, where calling it for each small picture would take longer than the work does.

        Args:
            pixels_BHW: uint8 [B, H, W, C] or [B, H, W], which may be written into.
            numbers_BD: float64 [B, draws].
            fill: what is where nothing was.

        Raises:
            ConfigError: what was of one size is so no more, as where some of the pictures are turned.
        """
        moved = [self.apply(*pair, fill) for pair in zip(pixels_BHW, numbers_BD.tolist(), strict=True)]
        refuse_unequal(moved)
        return np.stack(moved)


def refuse_unequal(images: Sequence[np.ndarray]) -> None:
    """Raise ConfigError unless all images, [H, W, C] or [H, W], are of one size, so that a batch can hold them."""
    sizes = sorted({image.shape[:2] for image in images})
    if len(sizes) > 1:
        listed = " and ".join(f"{height} x {width}" for height, width in sizes[:2])
        raise ConfigError(
            f"a batch would hold images of {listed} (height x width), but all must have one size. Set "
            "data.size=[H,W], crop them to one size in augment, or set data.batch_size=1."
        )
