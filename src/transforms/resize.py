"""Resizing of images and masks."""

import cv2
import numpy as np


def resize_image(image: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Resize uint8 [H, W, C] to (height, width): area averaging along a side that shrinks, linear where it grows."""
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
    """Resize uint8 [H, W] to (height, width) by nearest neighbour, aligned with `resize_image`."""
    if size is None or mask.shape == size:
        return mask
    # INTER_NEAREST rounds down, which shifts a mask by up to half a pixel relative to its image.
    return cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
