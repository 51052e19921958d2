"""Prediction in tiles, against the whole image."""

import tracemalloc

import numpy as np
import pytest

from imagier.deploy.tiling import AUTO_TILE, Answer, answers_in_bands, tile_for


def brightness(image_BCHW: np.ndarray) -> np.ndarray:
    """A network that processes each pixel by itself, so that any tiling must give the same output."""
    return np.concatenate([image_BCHW / 255, 1 - image_BCHW / 255], axis=1).astype(np.float32)


def answered(image: np.ndarray, answer: Answer, tile: int | None, stride: int = 1) -> np.ndarray:
    """Return the output for the whole image, joined from its bands along the longer side."""
    bands = list(answers_in_bands(image, answer, tile, stride))
    return np.concatenate(bands, axis=2 if image.shape[1] > image.shape[0] else 1)


@pytest.mark.parametrize("size", [(64, 64), (65, 64), (200, 90), (91, 333), (300, 301), (33, 400)])
@pytest.mark.parametrize("tile", [32, 64, 100])
def test_tiles_leave_no_gap_and_no_seam(size: tuple[int, int], tile: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    whole, tiled = answered(image, brightness, None), answered(image, brightness, tile)
    assert tiled.shape == whole.shape == (6, *size)
    np.testing.assert_allclose(tiled, whole, atol=1e-6)


def test_tiles_are_never_larger_and_blend_where_answers_differ() -> None:
    shapes = []

    def numbered(image_BCHW: np.ndarray) -> np.ndarray:
        shapes.append(image_BCHW.shape[2:])
        return np.full((1, 1, *image_BCHW.shape[2:]), len(shapes), np.float32)

    image = np.zeros((40, 200, 3), np.uint8)
    answer = answered(image, numbered, 80)
    assert set(shapes) == {(40, 80)}
    row = answer[0, 20]
    assert row[0] == 1
    assert row[-1] == len(shapes)
    assert abs(np.diff(row)).max() < 0.11  # no seam between tiles


@pytest.mark.parametrize(
    ("size", "tile"), [((200, 333), 96), ((161, 100), 64), ((97, 97), 96), ((300, 40), 100), ((50, 40), 8)]
)
def test_tiles_begin_where_a_net_pools_in_the_whole_picture(size: tuple[int, int], tile: int) -> None:
    stride = 16

    def pooled(image_BCHW: np.ndarray) -> np.ndarray:
        height, width = image_BCHW.shape[2:]
        padded = np.pad(image_BCHW, [(0, 0), (0, 0), (0, -height % stride), (0, -width % stride)], mode="edge")
        blocks = padded[:, :, ::stride, ::stride].astype(np.float32)
        return blocks.repeat(stride, 2).repeat(stride, 3)[:, :, :height, :width]

    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    whole, tiled = answered(image, pooled, None), answered(image, pooled, tile, stride)
    np.testing.assert_allclose(tiled, whole, rtol=1e-5)


def test_what_stands_at_the_pictures_own_border_is_taken_from_the_tile_that_sees_it() -> None:
    def inner(image_BCHW: np.ndarray) -> np.ndarray:
        answer = np.zeros((1, 1, *image_BCHW.shape[2:]), np.float32)
        if image_BCHW[0, 0, 0, -1]:  # the tile contains the image's last column
            answer[:] = 1
        return answer

    image = np.zeros((32, 160, 3), np.uint8)
    image[:, -1] = 255
    answer = answered(image, inner, 128)
    assert (answer[0, 16, 128:] == 1).all()
    assert answer[0, 16, 127] > 0.9


@pytest.mark.parametrize("size", [(4000, 500), (500, 4000)])
def test_memory_holds_one_row_of_tiles(size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    tracemalloc.start()
    for _ in answers_in_bands(image, brightness, 128):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * 4 * image.shape[0] * image.shape[1] / 5  # a fifth of the memory for the whole output


def test_auto_tiles_large_pictures_alone() -> None:
    assert tile_for("auto", 1024, 2048) is None
    assert tile_for("auto", 8000, 12000) == AUTO_TILE
    assert tile_for(None, 8000, 12000) is None
    assert tile_for(64, 10, 10) == 64
