"""Large pictures in bounded memory: tiles that overlap, whose answers fade into one another."""

from collections.abc import Callable, Iterator

import numpy as np

AUTO_PIXELS = 1 << 22  # pictures of more pixels are tiled of themselves
AUTO_TILE = 1024
Answer = Callable[[np.ndarray], np.ndarray]  # uint8 [B, C, H, W] -> float32 [B, K, H, W]


def answers_in_bands(image_HWC: np.ndarray, answer: Answer, tile: int | None, stride: int = 1) -> Iterator[np.ndarray]:
    """Let `answer` look at a picture, tile by tile where it is larger than `tile`.

    A quarter of a tile overlaps the next one. Within the overlap a tile's weight falls linearly to its end, so that
    no seam is left. Tiles begin at multiples of the net's stride, so that it pools the same pixels as in the whole
    picture. In memory is one row of tiles, or one column of a picture that is wider than high.

    Args:
        image_HWC: uint8.
        answer: of a dense net.
        tile: length of a tile's side, or None: the whole picture at once.
        stride: of the net.

    Yields:
        The answers, float32 [K, h, W], of bands that follow one another from top to bottom; of a picture that is wider
        than high, float32 [K, H, w], from left to right.
    """
    height, width = image_HWC.shape[:2]
    tile = max(tile or max(height, width), stride)  # a net extends a smaller one to its stride anyway
    if max(height, width) <= tile:
        yield answer(to_batch(image_HWC))[0]
    elif width <= height:
        yield from _downwards(image_HWC, answer, tile, stride)
    else:
        lying_WHC = image_HWC.swapaxes(0, 1)
        for band_KwH in _downwards(lying_WHC, lambda tile_BCwh: _turned(answer(_turned(tile_BCwh))), tile, stride):
            yield band_KwH.swapaxes(1, 2)


def _turned(batch: np.ndarray) -> np.ndarray:
    """With the last two axes changed for one another."""
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
            _move_up(rows_HW, done)  # the next row of tiles overlaps it


def tile_for(tile: int | str | None, height: int, width: int) -> int | None:
    """What `tile=auto` means for a picture of this size: AUTO_TILE for more than AUTO_PIXELS pixels, else none."""
    if tile == "auto":
        return AUTO_TILE if height * width > AUTO_PIXELS else None
    return None if tile is None else int(tile)


def to_batch(image_HWC: np.ndarray) -> np.ndarray:
    """The picture as a net takes it: uint8 [1, C, H, W]."""
    return np.ascontiguousarray(image_HWC.transpose(2, 0, 1)[None])


def _starts(length: int, tile: int, stride: int) -> list[int]:
    """Where tiles begin: at multiples of `stride`, evenly, each overlapping the next by a quarter where it can."""
    if length <= tile:
        return [0]
    steps, most = -(-(length - tile) // stride), max(1, (tile - tile // 4) // stride)
    count = -(-steps // most) + 1
    return [round(number * steps / (count - 1)) * stride for number in range(count)]


def _weights(start: int, length: int, whole: int) -> np.ndarray:
    """Float32 [length]: 1, but falling over a quarter to either end that is not the picture's own, and above 0."""
    place = np.arange(length, dtype=np.float32) + 0.5
    fall = max(1, length // 4)
    before = place if start else np.full_like(place, fall)
    after = length - place if start + length < whole else np.full_like(place, fall)
    return np.minimum(1, np.minimum(before, after) / fall)


def _move_up(rows_HW: np.ndarray, by: int) -> None:
    kept = len(rows_HW) - by
    rows_HW[:kept] = rows_HW[by:].copy()
    rows_HW[kept:] = 0
