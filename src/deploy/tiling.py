"""Dense prediction of large images in bounded memory, by overlapping tiles whose outputs are blended."""

from collections.abc import Callable, Iterator

import numpy as np

AUTO_PIXELS = 1 << 22  # images of more pixels are tiled with tile=auto
AUTO_TILE = 1024
Answer = Callable[[np.ndarray], np.ndarray]  # uint8 [B, C, H, W] -> float32 [B, K, H, W]


def answers_in_bands(image_HWC: np.ndarray, answer: Answer, tile: int | None, stride: int = 1) -> Iterator[np.ndarray]:
    """Run a dense network on an image, in tiles if a side is longer than `tile`.

    Neighbouring tiles overlap by about a quarter or more. Towards an edge inside the image a tile's weight falls
    linearly over a quarter, so that there are no seams. Tiles start at multiples of the stride, so that the network
    pools the same pixels as in the whole image. Only one row of tiles is in memory, or one column if the image is
    wider than high.

    Args:
        image_HWC: uint8.
        answer: runs the network.
        tile: side length of a tile, or None: the whole image at once.
        stride: of the network.

    Yields:
        The outputs of consecutive bands, float32 [K, h, W], from top to bottom; if the image is tiled and wider than
        high, float32 [K, H, w], from left to right.
    """
    height, width = image_HWC.shape[:2]
    tile = max(tile or max(height, width), stride)  # the network would pad a smaller one to its stride anyway
    if max(height, width) <= tile:
        yield answer(to_batch(image_HWC))[0]
    elif width <= height:
        yield from _downwards(image_HWC, answer, tile, stride)
    else:
        lying_WHC = image_HWC.swapaxes(0, 1)
        for band_KwH in _downwards(lying_WHC, lambda tile_BCwh: _turned(answer(_turned(tile_BCwh))), tile, stride):
            yield band_KwH.swapaxes(1, 2)


def _turned(batch: np.ndarray) -> np.ndarray:
    """Return a copy with height and width exchanged."""
    return np.ascontiguousarray(batch.swapaxes(2, 3))


def _downwards(image_HWC: np.ndarray, answer: Answer, tile: int, stride: int) -> Iterator[np.ndarray]:
    height, width = image_HWC.shape[:2]
    tops, lefts = _starts(height, tile, stride), _starts(width, tile, stride)
    summed_HW, total_KHW = np.zeros((min(tile, height), width), np.float32), None
    for number, top in enumerate(tops):
        for left in lefts:
            piece_HWC = image_HWC[top : top + tile, left : left + tile]  # the last ones are shorter
            rows, columns = piece_HWC.shape[:2]
            weight_HW = _weights(top, rows, height)[:, None] * _weights(left, columns, width)
            found_KHW = answer(to_batch(piece_HWC))[0]
            if total_KHW is None:
                total_KHW = np.zeros((len(found_KHW), *summed_HW.shape), np.float32)
            total_KHW[:, :rows, left : left + columns] += found_KHW * weight_HW
            summed_HW[:rows, left : left + columns] += weight_HW
        assert total_KHW is not None
        done = (tops[number + 1] if number + 1 < len(tops) else height) - top
        yield total_KHW[:, :done] / summed_HW[:done]
        for rows_HW in (*total_KHW, summed_HW):
            _move_up(rows_HW, done)  # keep the rows that the next row of tiles overlaps


def tile_for(tile: int | str | None, height: int, width: int) -> int | None:
    """Resolve tile="auto" for an image: AUTO_TILE for more than AUTO_PIXELS pixels, else None."""
    if tile == "auto":
        return AUTO_TILE if height * width > AUTO_PIXELS else None
    return None if tile is None else int(tile)


def to_batch(image_HWC: np.ndarray) -> np.ndarray:
    """Return the image as a batch of one, uint8 [1, C, H, W]."""
    return np.ascontiguousarray(image_HWC.transpose(2, 0, 1)[None])


def _starts(length: int, tile: int, stride: int) -> list[int]:
    """Return where tiles start: evenly spaced multiples of `stride`, overlapping by about a quarter or more."""
    if length <= tile:
        return [0]
    steps, most = -(-(length - tile) // stride), max(1, (tile - tile // 4) // stride)
    count = -(-steps // most) + 1
    return [round(number * steps / (count - 1)) * stride for number in range(count)]


def _weights(start: int, length: int, whole: int) -> np.ndarray:
    """Return weights, float32 [length] above 0: 1, falling over a quarter towards each end inside the image."""
    place = np.arange(length, dtype=np.float32) + 0.5
    fall = max(1, length // 4)
    before = place if start else np.full_like(place, fall)
    after = length - place if start + length < whole else np.full_like(place, fall)
    return np.minimum(1, np.minimum(before, after) / fall)


def _move_up(rows_HW: np.ndarray, by: int) -> None:
    kept = len(rows_HW) - by
    rows_HW[:kept] = rows_HW[by:].copy()
    rows_HW[kept:] = 0
