"""Large pictures in bounded memory: tiles that overlap, whose answers fade into one another."""

from collections.abc import Callable, Iterator

import numpy as np

AUTO_PIXELS = 1 << 22  # pictures of more pixels are tiled of themselves
AUTO_TILE = 1024
Answer = Callable[[np.ndarray], np.ndarray]  # uint8 [B, C, H, W] -> float32 [B, K, H, W]


def answers_in_bands(image_HWC: np.ndarray, answer: Answer, tile: int | None) -> Iterator[np.ndarray]:
    """Let `answer` look at a picture, tile by tile where it is larger than `tile`.

    A quarter of a tile overlaps the next one. Within the overlap a tile's weight falls linearly to its border, so that
    no seam is left. In memory is one row of tiles.

    Args:
        image_HWC: uint8.
        answer: of a dense net.
        tile: length of a tile's side, or None: the whole picture at once.

    Yields:
        The answers, float32 [K, h, W], of bands that follow one another from top to bottom.
    """
    height, width = image_HWC.shape[:2]
    if tile is None or max(height, width) <= tile:
        yield answer(to_batch(image_HWC))[0]
        return
    tops, lefts = _starts(height, tile), _starts(width, tile)
    rows, columns = min(tile, height), min(tile, width)
    weight_HW = _weights(rows)[:, None] * _weights(columns)
    summed_HW, total_KHW = np.zeros((rows, width), np.float32), None
    for number, top in enumerate(tops):
        for left in lefts:
            found_KHW = answer(to_batch(image_HWC[top : top + rows, left : left + columns]))[0]
            if total_KHW is None:
                total_KHW = np.zeros((len(found_KHW), rows, width), np.float32)
            total_KHW[:, :, left : left + columns] += found_KHW * weight_HW
            summed_HW[:, left : left + columns] += weight_HW
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


def _starts(length: int, tile: int) -> list[int]:
    """Where tiles begin: as evenly as whole numbers allow, each overlapping the next by a quarter at least."""
    if length <= tile:
        return [0]
    count = -(-(length - tile) // (tile - tile // 4)) + 1
    return [round(number * (length - tile) / (count - 1)) for number in range(count)]


def _weights(length: int) -> np.ndarray:
    """Float32 [length]: 1 in the middle, falling over a quarter on either side, and above 0 to the border."""
    place = np.arange(length, dtype=np.float32) + 0.5
    return np.minimum(1, np.minimum(place, length - place) / max(1, length // 4))


def _move_up(rows_HW: np.ndarray, by: int) -> None:
    kept = len(rows_HW) - by
    rows_HW[:kept] = rows_HW[by:].copy()
    rows_HW[kept:] = 0
