"""Transforms that move pixels without interpolation: flips, quarter turns, crops, shifts by whole pixels, erasing.

Each gets its random numbers in [0, 1) as arguments and returns a view of the image whenever it can, so that a batch
copies each image once. Small images are transformed many times faster than by a general library.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from imagier.errors import ConfigError
from imagier.transforms.base import Transform

_LARGE = 4096  # bytes from which OpenCV flips and transposes faster than copying a view later


class HorizontalFlip(Transform):
    """Flip left to right with probability `p`.

    With `alternate`, an image flipped in one epoch is not flipped in the next, so that the network sees more images
    both ways in the same number of epochs (Jordan 2024, arXiv 2404.00498).

    Raises:
        ConfigError: for a probability out of range, or one other than a half with `alternate`.
    """

    draws = 1

    def __init__(self, p: float = 0.5, alternate: bool = False) -> None:
        self.p, self.alternates = _probability("HorizontalFlip", p), alternate
        if alternate is not False and (alternate is not True or p != 0.5):
            raise ConfigError(
                f"augment: HorizontalFlip has alternate={alternate} and p={p}; alternate is true or false, and true "
                "requires p=0.5."
            )

    def apply(self, pixels: np.ndarray, numbers: Sequence[float], fill: int) -> np.ndarray:
        """Flip the pixels if the number is below `p`."""
        return _mirrored(pixels) if numbers[0] < self.p else pixels

    def apply_all(self, pixels_BHW: np.ndarray, numbers_BD: np.ndarray, fill: int) -> np.ndarray:
        """Flip the chosen images in place."""
        chosen = numbers_BD[:, 0] < self.p
        if chosen.any():
            mirrored = pixels_BHW[chosen]  # a copy, stacked into one tall image for OpenCV
            rows = mirrored.reshape(-1, *pixels_BHW.shape[2:])
            pixels_BHW[chosen] = cv2.flip(rows, 1).reshape(mirrored.shape)
        return pixels_BHW


class VerticalFlip(Transform):
    """Flip top to bottom with probability `p`."""

    draws = 1

    def __init__(self, p: float = 0.5) -> None:
        self.p = _probability("VerticalFlip", p)

    def apply(self, pixels: np.ndarray, numbers: Sequence[float], fill: int) -> np.ndarray:
        """Flip the pixels if the number is below `p`."""
        return pixels[::-1] if numbers[0] < self.p else pixels


class D4(Transform):
    """Apply one of the eight symmetries of a square (quarter turns and reflections), all equally likely."""

    draws = 1

    def apply(self, pixels: np.ndarray, numbers: Sequence[float], fill: int) -> np.ndarray:
        """Transpose, flip left to right, flip top to bottom, each according to one bit of the number."""
        which = int(numbers[0] * 8)
        if which & 1:
            pixels = _transposed(pixels)
        if which & 2:
            pixels = _mirrored(pixels)
        return pixels[::-1] if which & 4 else pixels


class RandomCrop(Transform):
    """Crop `height` x `width` at a random position; with `pad`, smaller images are first padded by reflection.

    Raises:
        ConfigError: for an argument out of range, or, without `pad`, an image smaller than the crop.
    """

    draws = 2

    def __init__(self, height: int, width: int, pad: bool = False) -> None:
        self.height, self.width, self.pad = _whole("height", height, 1), _whole("width", width, 1), pad
        if not isinstance(pad, bool):
            raise ConfigError(f"augment: RandomCrop has pad={pad}; it is true or false.")

    def apply(self, pixels: np.ndarray, numbers: Sequence[float], fill: int) -> np.ndarray:
        """Crop the pixels."""
        height, width = pixels.shape[:2]
        if height < self.height or width < self.width:
            if not self.pad:
                raise ConfigError(
                    f"augment.transforms crops {self.height} x {self.width} but got an image of {height} x {width} "
                    "(height x width). Choose a smaller crop, give it pad=true, or set a larger data.size=[H,W]."
                )
            pixels = _reflected(pixels, self.height, self.width)
            height, width = pixels.shape[:2]
        top = int(numbers[0] * (height - self.height + 1))
        left = int(numbers[1] * (width - self.width + 1))
        return pixels[top : top + self.height, left : left + self.width]

    def apply_all(self, pixels_BHW: np.ndarray, numbers_BD: np.ndarray, fill: int) -> np.ndarray:
        """Crop all images with a single indexing operation."""
        height, width = pixels_BHW.shape[1:3]
        if height < self.height or width < self.width:
            return super().apply_all(pixels_BHW, numbers_BD, fill)
        tops = (numbers_BD[:, 0] * (height - self.height + 1)).astype(int)
        lefts = (numbers_BD[:, 1] * (width - self.width + 1)).astype(int)
        return _windows(pixels_BHW, tops, lefts, self.height, self.width)


class RandomPart(Transform):
    """Crop a random fraction of the image with a random aspect ratio, as for Inception (Szegedy et al. 2015).

    Crops differ in size, so they need `data.augment_first`, which resizes them. If a crop does not fit, torchvision's
    RandomResizedCrop draws another; here its side is limited to that of the image. arXiv 1409.4842.

    Args:
        area: smallest and largest fraction of the image's area.
        ratio: smallest height over width of the crop, up to 1; the largest is its inverse.

    Raises:
        ConfigError: for an argument out of range.
    """

    draws = 4

    def __init__(self, area: Sequence[float] = (0.08, 1.0), ratio: float = 0.75) -> None:
        if len(area) != 2 or not 0 < area[0] <= area[1] <= 1:
            raise ConfigError(
                f"augment: RandomPart has area={list(area)}; give two ascending fractions above 0, up to 1."
            )
        if not 0 < ratio <= 1:
            raise ConfigError(f"augment: RandomPart has ratio={ratio}; give the smallest height over width, up to 1.")
        self.area, self.ratio = (area[0], area[1]), ratio

    def apply(self, pixels: np.ndarray, numbers: Sequence[float], fill: int) -> np.ndarray:
        """Crop the pixels."""
        return pixels[_rectangle(pixels.shape[:2], self.area, self.ratio, numbers)]


class Shift(Transform):
    """Shift by up to `pixels` in each direction, all whole numbers equally likely; uncovered pixels are filled."""

    draws = 2

    def __init__(self, pixels: int) -> None:
        self.pixels = _whole("pixels", pixels, 0)

    def apply(self, pixels: np.ndarray, numbers: Sequence[float], fill: int) -> np.ndarray:
        """Copy the pixels to their new position."""
        height, width = pixels.shape[:2]
        down, right = (int(number * (2 * self.pixels + 1)) - self.pixels for number in numbers)
        down, right = max(-height, min(height, down)), max(-width, min(width, right))
        moved = np.full_like(pixels, fill)
        moved[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = pixels[
            max(-down, 0) : height - max(down, 0), max(-right, 0) : width - max(right, 0)
        ]
        return moved

    def apply_all(self, pixels_BHW: np.ndarray, numbers_BD: np.ndarray, fill: int) -> np.ndarray:
        """Pad all images with `fill`, then crop each at its own offset."""
        reach, (height, width) = self.pixels, pixels_BHW.shape[1:3]
        ground = np.full(
            (len(pixels_BHW), height + 2 * reach, width + 2 * reach, *pixels_BHW.shape[3:]), fill, np.uint8
        )
        ground[:, reach : reach + height, reach : reach + width] = pixels_BHW
        tops, lefts = 2 * reach - (numbers_BD * (2 * reach + 1)).astype(int).T
        return _windows(ground, tops, lefts, height, width)


class Erase(Transform):
    """Fill a rectangle with one random grey value: random erasing, after Zhong et al. 2017, arXiv 1708.04896.

    In a mask, erased pixels are ignored, or of class 0 (void, background) if the data set ignores nothing.

    Args:
        p: probability.
        area: smallest and largest fraction of the image that is erased.
        ratio: smallest height over width; the largest is its inverse.

    Raises:
        ConfigError: for an argument out of range.
    """

    draws = 6

    def __init__(self, p: float = 0.5, area: Sequence[float] = (0.02, 0.4), ratio: float = 0.3) -> None:
        if len(area) != 2 or not 0 < area[0] <= area[1] < 1:
            raise ConfigError(f"augment: Erase has area={list(area)}; give two ascending fractions between 0 and 1.")
        if not 0 < ratio <= 1:
            raise ConfigError(f"augment: Erase has ratio={ratio}; give the smallest height over width, up to 1.")
        self.p, self.area, self.ratio = _probability("Erase", p), (area[0], area[1]), ratio

    def apply(self, pixels: np.ndarray, numbers: Sequence[float], fill: int) -> np.ndarray:
        """Erase a rectangle in a copy, or return the pixels unchanged."""
        if numbers[0] >= self.p:
            return pixels
        covered = pixels.copy()
        self._cover(covered, numbers, fill)
        return covered

    def apply_all(self, pixels_BHW: np.ndarray, numbers_BD: np.ndarray, fill: int) -> np.ndarray:
        """Erase a rectangle in each of the chosen images, in place."""
        for row in np.flatnonzero(numbers_BD[:, 0] < self.p):
            self._cover(pixels_BHW[row], numbers_BD[row].tolist(), fill)
        return pixels_BHW

    def _cover(self, pixels: np.ndarray, numbers: Sequence[float], fill: int) -> None:
        place = _rectangle(pixels.shape[:2], self.area, self.ratio, numbers[1:5])
        pixels[place] = int(numbers[5] * 256) if pixels.ndim == 3 else fill


def _rectangle(
    size: tuple[int, ...], area: tuple[float, float], ratio: float, numbers: Sequence[float]
) -> tuple[slice, slice]:
    """Return the rows and columns of a rectangle whose area, shape, top and left four numbers in [0, 1) determine."""
    height, width = size
    share = area[0] + numbers[0] * (area[1] - area[0])
    shape = ratio ** (1 - 2 * numbers[1])
    tall = min(height, max(1, round((share * height * width * shape) ** 0.5)))
    wide = min(width, max(1, round((share * height * width / shape) ** 0.5)))
    top, left = int(numbers[2] * (height - tall + 1)), int(numbers[3] * (width - wide + 1))
    return slice(top, top + tall), slice(left, left + wide)


def _windows(pixels_BHW: np.ndarray, tops: np.ndarray, lefts: np.ndarray, height: int, width: int) -> np.ndarray:
    """Crop `height` x `width` from each image at its own `tops` and `lefts`, int [B]."""
    # Indexing a view of all possible windows lets NumPy copy whole rows.
    view = sliding_window_view(pixels_BHW, (height, width), (1, 2))
    parts = view[np.arange(len(pixels_BHW)), tops, lefts]
    return np.ascontiguousarray(parts if pixels_BHW.ndim == 3 else np.moveaxis(parts, 1, -1))


def _probability(name: str, p: float) -> float:
    if not 0 <= p <= 1:
        raise ConfigError(f"augment: {name} has p={p}, which is not a probability; give a number from 0 to 1.")
    return p


def _whole(name: str, value: int, least: int) -> int:
    if not isinstance(value, int) or value < least:
        raise ConfigError(f"augment: {name}={value} is out of range: it is a whole number of pixels, at least {least}.")
    return value


def _mirrored(pixels: np.ndarray) -> np.ndarray:
    if pixels.size < _LARGE:
        return pixels[:, ::-1]
    return cv2.flip(pixels, 1).reshape(pixels.shape)  # OpenCV drops the channel of a grey image


def _transposed(pixels: np.ndarray) -> np.ndarray:
    turned = pixels.swapaxes(0, 1)
    return turned if pixels.size < _LARGE else cv2.transpose(pixels).reshape(turned.shape)


def _reflected(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pad equally on both sides to at least height x width, by reflection (by repetition along a side of one pixel)."""
    for axis, side in ((0, height), (1, width)):
        lacking = max(0, side - pixels.shape[axis])
        amounts = [(0, 0)] * pixels.ndim
        amounts[axis] = (lacking // 2, lacking - lacking // 2)
        pixels = np.pad(pixels, amounts, mode="reflect" if pixels.shape[axis] > 1 else "edge")
    return pixels
