"""Images in, predictions out: the interface through which Python, command line and server run a network."""

from collections.abc import Iterator, Sequence
from typing import Literal, overload

import cv2
import numpy as np

from imagier.deploy.bundle import Description
from imagier.deploy.pictures import Given, to_pixels
from imagier.deploy.results import Classes, Mask, Picture, Result, as_pixels
from imagier.deploy.runtime import Runtime
from imagier.deploy.tiling import answers_in_bands, tile_for, to_batch
from imagier.transforms.resize import resize_image


class Predictor:
    """Runs one network on images.

    Args:
        description: of the network.
        runtime: runs the network or its graph.
        tile: side length of the tiles into which a dense network that does not resize splits larger images; "auto":
            1024 for images of more than 2^22 pixels; None: never.
        batch_size: maximum number of images per batch of a classifier; dense networks take one at a time.
    """

    def __init__(
        self,
        description: Description,
        runtime: Runtime,
        *,
        tile: int | Literal["auto"] | None = "auto",
        batch_size: int = 1,
    ) -> None:
        self.description, self.runtime = description, runtime
        self.tile, self.batch_size = tile, batch_size

    @overload
    def __call__(self, given: list[Given] | tuple[Given, ...]) -> list[Result]: ...
    @overload
    def __call__(self, given: Given) -> Result: ...

    def __call__(self, given: Given | list[Given] | tuple[Given, ...]) -> Result | list[Result]:
        """Predict for one image, or for a list of images.

        Args:
            given: a path, the bytes of a file, an array uint8 [H, W, C], a PIL image, or a list of these.

        Raises:
            DataError: one of them is not an image.
        """
        if isinstance(given, list | tuple):
            return list(self.stream([to_pixels(one, self.description.channels) for one in given]))
        return next(self.stream([to_pixels(given, self.description.channels)]))

    def stream(self, images: Sequence[np.ndarray]) -> Iterator[Result]:
        """Yield the predictions for images, uint8 [H, W, C] with the network's channels, in order."""
        if self.description.task == "classify":
            yield from self._classify(images)
            return
        for image_HWC in images:
            yield self._dense(image_HWC)

    @property
    def takes_any_size(self) -> bool:
        """Whether images keep their size, and large ones may be tiled."""
        return self.description.resize is None and self.description.task != "classify"

    def _classify(self, images: Sequence[np.ndarray]) -> Iterator[Result]:
        names = self.description.classes
        for alike in _alike([self._fitted(image_HWC) for image_HWC in images], self.batch_size):
            logits_BK = self.runtime(np.stack([seen_HWC for _, seen_HWC in alike]).transpose(0, 3, 1, 2))
            for (place, _), probabilities_K in zip(alike, _softmax(logits_BK), strict=True):
                yield Classes(images[place], names, probabilities_K)

    def _dense(self, image_HWC: np.ndarray) -> Result:
        seen_HWC = self._fitted(image_HWC)
        if self.description.resize is not None:  # the training size, which needs no tiles
            whole = self._decided(self.runtime(to_batch(seen_HWC))[0], image_HWC.shape[:2])
        else:
            tile = tile_for(self.tile, *image_HWC.shape[:2])
            bands = answers_in_bands(image_HWC, self.runtime, tile, self.description.stride or 1)
            decided = [self._decided(band_KHW, band_KHW.shape[1:]) for band_KHW in bands]
            whole = np.concatenate(decided, axis=int(image_HWC.shape[1] > image_HWC.shape[0]))
        if self.description.task == "segment":
            return Mask(image_HWC, self.description.classes, self.description.colors, whole)
        return Picture(image_HWC, whole)

    def _fitted(self, image_HWC: np.ndarray) -> np.ndarray:
        return resize_image(image_HWC, self.description.resize)

    def _decided(self, answer_KHW: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
        """Resize a network's output to (height, width): classes uint8 [H, W], or pixels uint8 [H, W, C]."""
        if self.description.task == "segment":
            return _most_probable(answer_KHW, size)
        image_CHW = np.stack([_stretched(channel_HW, size) for channel_HW in answer_KHW])
        return as_pixels(image_CHW).transpose(1, 2, 0)


def _most_probable(logits_KHW: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Return the most probable class of every pixel, uint8 [H, W], of logits resized to (height, width)."""
    if logits_KHW.shape[1:] == size:
        return logits_KHW.argmax(0).astype(np.uint8)
    best_HW = _stretched(logits_KHW[0], size)  # one class at a time: all of a large image could exhaust the memory
    labels_HW = np.zeros(size, np.uint8)
    for index in range(1, len(logits_KHW)):
        logit_HW = _stretched(logits_KHW[index], size)
        better_HW = logit_HW > best_HW
        labels_HW[better_HW] = index
        np.maximum(best_HW, logit_HW, out=best_HW)
    return labels_HW


def _stretched(answer_HW: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    if answer_HW.shape == size:
        return answer_HW
    stretched: np.ndarray = cv2.resize(answer_HW, size[::-1], interpolation=cv2.INTER_LINEAR)
    return stretched


def _alike(images: Sequence[np.ndarray], most: int) -> Iterator[list[tuple[int, np.ndarray]]]:
    """Group consecutive images of equal size, at most `most` per group, with their indices."""
    group: list[tuple[int, np.ndarray]] = []
    for place, image_HWC in enumerate(images):
        if group and (len(group) == most or group[0][1].shape != image_HWC.shape):
            yield group
            group = []
        group.append((place, image_HWC))
    if group:
        yield group


def _softmax(logits_BK: np.ndarray) -> np.ndarray:
    exponentials_BK = np.exp(logits_BK - logits_BK.max(1, keepdims=True))
    probabilities_BK: np.ndarray = exponentials_BK / exponentials_BK.sum(1, keepdims=True)
    return probabilities_BK
