"""Transforms that move pixels and compute none: mirrored, turned, cropped, shifted by whole pixels, covered.

Each takes its numbers in [0, 1) from outside and returns a view of the picture wherever it can, so that a batch copies
each picture once. Small pictures pass here many times faster than through a general library.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from imagier.errors import ConfigError
from imagier.transforms.base import Transform

_LARGE = 4096  # bytes from which OpenCV mirrors and turns faster than the copy of a view does


class HorizontalFlip(Transform):
    """Exchange left and right with probability `p`.

    With `alternate`, a picture that is mirrored in one epoch is not in the next: in as many epochs a net sees more of
    the pictures both ways (Jordan 2024, arXiv 2404.00498).

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
        """Mirror or not."""
        return _mirrored(pixels) if numbers[0] < self.p else pixels

    def apply_all(self, pixels_BHW: np.ndarray, numbers_BD: np.ndarray, fill: int) -> np.ndarray:
        """Mirror those that are to be."""
        chosen = numbers_BD[:, 0] < self.p
        if chosen.any():
            mirrored = pixels_BHW[chosen]  # a copy; to OpenCV the rows of all of them are one tall picture
            rows = mirrored.reshape(-1, *pixels_BHW.shape[2:])
            pixels_BHW[chosen] = cv2.flip(rows, 1).reshape(mirrored.shape)
        return pixels_BHW


class VerticalFlip(Transform):
    """Exchange top and bottom with probability `p`."""

    draws = 1

    def __init__(self, p: float = 0.5) -> None:
        self.p = _probability("VerticalFlip", p)

    def apply(self, pixels: np.ndarray, numbers: Sequence[float], fill: int) -> np.ndarray:
        """Mirror or not."""
        return pixels[::-1] if numbers[0] < self.p else pixels


class D4(Transform):
    """One of the eight symmetries of a square: turned by quarters, mirrored or not; every one as likely."""

    draws = 1

    def apply(self, pixels: np.ndarray, numbers: Sequence[float], fill: int) -> np.ndarray:
        """Transpose, mirror sidewise, mirror upside down: three bits of the number say which of them."""
        which = int(numbers[0] * 8)
        if which & 1:
            pixels = _transposed(pixels)
        if which & 2:
            pixels = _mirrored(pixels)
        return pixels[::-1] if which & 4 else pixels


class RandomCrop(Transform):
    """A part of `height` x `width` anywhere; with `pad`, pictures that are too small are first reflected at the edge.

    Raises:
        ConfigError: without `pad`, for a picture that is smaller than the crop.
    """

    draws = 2

    def __init__(self, height: int, width: int, pad: bool = False) -> None:
        self.height, self.width, self.pad = _whole("height", height, 1), _whole("width", width, 1), pad
        if not isinstance(pad, bool):
            raise ConfigError(f"augment: RandomCrop has pad={pad}; it is true or false.")

    def apply(self, pixels: np.ndarray, numbers: Sequence[float], fill: int) -> np.ndarray:
        """Cut the part out."""
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
        """Cut all parts out with one index."""
        height, width = pixels_BHW.shape[1:3]
        if height < self.height or width < self.width:
            return super().apply_all(pixels_BHW, numbers_BD, fill)
        tops = (numbers_BD[:, 0] * (height - self.height + 1)).astype(int)
        lefts = (numbers_BD[:, 1] * (width - self.width + 1)).astype(int)
        return _windows(pixels_BHW, tops, lefts, self.height, self.width)


class RandomPart(Transform):
    """Cut out a part of a share of the picture and of a shape that are drawn, as Inception's training did.

    Parts differ in size: they are for `data.augment_first`, which resizes them. torchvision's RandomResizedCrop draws a
    part again that does not fit; this one is as long as the picture there. Szegedy et al. 2015, arXiv 1409.4842.

    Args:
        area: smallest and largest share of the picture's area.
        ratio: smallest height over width of the part, up to 1; the largest is its inverse.
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
        """Cut the part out."""
        return pixels[_rectangle(pixels.shape[:2], self.area, self.ratio, numbers)]


class Shift(Transform):
    """Move by up to `pixels` in each direction, every whole number as likely; what is uncovered is filled."""

    draws = 2

    def __init__(self, pixels: int) -> None:
        self.pixels = _whole("pixels", pixels, 0)

    def apply(self, pixels: np.ndarray, numbers: Sequence[float], fill: int) -> np.ndarray:
        """Copy to the new place."""
        height, width = pixels.shape[:2]
        down, right = (int(number * (2 * self.pixels + 1)) - self.pixels for number in numbers)
        down, right = max(-height, min(height, down)), max(-width, min(width, right))
        moved = np.full_like(pixels, fill)
        moved[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = pixels[
            max(-down, 0) : height - max(down, 0), max(-right, 0) : width - max(right, 0)
        ]
        return moved

    def apply_all(self, pixels_BHW: np.ndarray, numbers_BD: np.ndarray, fill: int) -> np.ndarray:
        """Lay each picture on a larger ground, and cut that at its place."""
        reach, (height, width) = self.pixels, pixels_BHW.shape[1:3]
        ground = np.full(
            (len(pixels_BHW), height + 2 * reach, width + 2 * reach, *pixels_BHW.shape[3:]), fill, np.uint8
        )
        ground[:, reach : reach + height, reach : reach + width] = pixels_BHW
        tops, lefts = 2 * reach - (numbers_BD * (2 * reach + 1)).astype(int).T
        return _windows(ground, tops, lefts, height, width)


class Erase(Transform):
    """Cover a rectangle, after random erasing (Zhong et al. 2017, arXiv 1708.04896), with one grey value drawn for it.

    In a mask, what is covered counts nowhere; where a set ignores nothing, it is of class 0 (void, background).

    Args:
        p: how probable it is.
        area: smallest and largest share of the picture that is covered.
        ratio: smallest height over width; the largest is its inverse.
    """

    draws = 6

    def __init__(self, p: float = 0.5, area: Sequence[float] = (0.02, 0.4), ratio: float = 0.3) -> None:
        if len(area) != 2 or not 0 < area[0] <= area[1] < 1:
            raise ConfigError(f"augment: Erase has area={list(area)}; give two ascending fractions between 0 and 1.")
        if not 0 < ratio <= 1:
            raise ConfigError(f"augment: Erase has ratio={ratio}; give the smallest height over width, up to 1.")
        self.p, self.area, self.ratio = _probability("Erase", p), (area[0], area[1]), ratio

    def apply(self, pixels: np.ndarray, numbers: Sequence[float], fill: int) -> np.ndarray:
        """Cover a copy."""
        if numbers[0] >= self.p:
            return pixels
        covered = pixels.copy()
        self._cover(covered, numbers, fill)
        return covered

    def apply_all(self, pixels_BHW: np.ndarray, numbers_BD: np.ndarray, fill: int) -> np.ndarray:
        """Cover those that are to be."""
        for row in np.flatnonzero(numbers_BD[:, 0] < self.p):
            self._cover(pixels_BHW[row], numbers_BD[row].tolist(), fill)
        return pixels_BHW

    def _cover(self, pixels: np.ndarray, numbers: Sequence[float], fill: int) -> None:
        place = _rectangle(pixels.shape[:2], self.area, self.ratio, numbers[1:5])
        pixels[place] = int(numbers[5] * 256) if pixels.ndim == 3 else fill


def _rectangle(
    size: tuple[int, ...], area: tuple[float, float], ratio: float, numbers: Sequence[float]
) -> tuple[slice, slice]:
    """Rows and columns of a part of a picture of `size`, of a share of its area and a shape that four numbers draw."""
    height, width = size
    share = area[0] + numbers[0] * (area[1] - area[0])
    shape = ratio ** (1 - 2 * numbers[1])
    tall = min(height, max(1, round((share * height * width * shape) ** 0.5)))
    wide = min(width, max(1, round((share * height * width / shape) ** 0.5)))
    top, left = int(numbers[2] * (height - tall + 1)), int(numbers[3] * (width - wide + 1))
    return slice(top, top + tall), slice(left, left + wide)


def _windows(pixels_BHW: np.ndarray, tops: np.ndarray, lefts: np.ndarray, height: int, width: int) -> np.ndarray:
    """Of each picture the part of `height` x `width` at its `tops` and `lefts`, int [B]."""
    # Parts are slices of a view in which every place of a picture begins one, so that NumPy copies whole rows.
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
    return cv2.flip(pixels, 1).reshape(pixels.shape)  # OpenCV drops the channel of a grey picture


def _transposed(pixels: np.ndarray) -> np.ndarray:
    turned = pixels.swapaxes(0, 1)
    return turned if pixels.size < _LARGE else cv2.transpose(pixels).reshape(turned.shape)


def _reflected(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Extend to at least height x width, the edge not repeated (a side of one pixel is), equally on both sides."""
    for axis, side in ((0, height), (1, width)):
        lacking = max(0, side - pixels.shape[axis])
        amounts = [(0, 0)] * pixels.ndim
        amounts[axis] = (lacking // 2, lacking - lacking // 2)
        pixels = np.pad(pixels, amounts, mode="reflect" if pixels.shape[axis] > 1 else "edge")
    return pixels
