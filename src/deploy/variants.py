"""Test-time augmentation: the mean of a network's outputs for variants of each image."""

from collections.abc import Sequence

import cv2
import numpy as np

from imagier.deploy.runtime import Runtime
from imagier.errors import ConfigError


class Variants:
    """A `Runtime` that averages another one's outputs for images, at several scales and mirrored.

    Args:
        runtime: the other one.
        flip: include the horizontally mirrored images.
        scales: factors of height and width, 0.1 to 10; 1 is the original size.

    Raises:
        ConfigError: `scales` is empty, or one is out of range.
    """

    def __init__(self, runtime: Runtime, flip: bool = False, scales: Sequence[float] = (1.0,)) -> None:
        if not scales or not all(0.1 <= scale <= 10 for scale in scales):
            raise ConfigError(f"scales={list(scales)} is invalid: give numbers from 0.1 to 10, such as [0.75,1,1.25].")
        self.runtime, self.flip, self.scales = runtime, flip, tuple(scales)

    def __call__(self, image_BCHW: np.ndarray) -> np.ndarray:
        """See `Runtime`."""
        size = image_BCHW.shape[2:]
        answers = []
        for scale in self.scales:
            scaled = size if scale == 1 else tuple(max(1, round(side * scale)) for side in size)
            seen_BCHW = _resized(image_BCHW, scaled)
            answers.append(_resized(self.runtime(seen_BCHW), size))
            if self.flip:
                answers.append(_resized(_mirrored(self.runtime(_mirrored(seen_BCHW))), size))
        mean: np.ndarray = np.mean(answers, axis=0)
        return mean


def _mirrored(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x[..., ::-1]) if x.ndim == 4 else x


def _resized(x: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Resize images or maps [B, C, H, W] to (height, width); return a classifier's logits [B, K] unchanged."""
    if x.ndim != 4 or x.shape[2:] == size:
        return x
    maps = [cv2.resize(map_HW, size[::-1], interpolation=cv2.INTER_LINEAR) for map_HW in x.reshape(-1, *x.shape[2:])]
    return np.stack(maps).reshape(*x.shape[:2], *size)
