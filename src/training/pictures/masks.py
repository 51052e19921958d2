"""Segmentation masks over their pictures: classes in colour, mistakes in red, ignored pixels hatched."""

import numpy as np

from imagier.batch import Facts
from imagier.datamodules.palette import as_rgb, blended
from imagier.training.pictures.charts import class_colors

WRONG = (230, 25, 40)
_HATCH_PERIOD = 10


def mask_overlay(image_HWC: np.ndarray, mask_HW: np.ndarray, facts: Facts, alpha: float = 0.55) -> np.ndarray:
    """Blend the colours of classes over a picture, and paint them in full along their edges.

    Args:
        image_HWC: uint8 [H, W, 1 or 3].
        mask_HW: whole numbers [H, W]; values that are no class, such as `facts.ignore_index`, are hatched in black.
        facts: of the data set; without colours there, well-spread hues are taken.
        alpha: 0 leaves the picture, 1 paints the classes' exact colours.

    Returns:
        uint8 [H, W, 3].
    """
    return blended(as_rgb(image_HWC), colored(mask_HW, facts), mask_HW, alpha)


def colored(mask_HW: np.ndarray, facts: Facts) -> np.ndarray:
    """The mask in its classes' exact colours, uint8 [H, W, 3]; what is no class is hatched in black and dark grey."""
    palette = np.array(class_colors(facts), np.uint8).reshape(-1, 3)
    labels_HW = mask_HW.astype(np.int64)
    known_HW = _known(labels_HW, facts)
    paint_HWC = np.where(_hatch(mask_HW.shape)[..., None], np.uint8(70), np.uint8(0)).repeat(3, axis=2)
    paint_HWC[known_HW] = palette[labels_HW[known_HW]]
    return paint_HWC


def error_map(image_HWC: np.ndarray, target_HW: np.ndarray, prediction_HW: np.ndarray, facts: Facts) -> np.ndarray:
    """The picture in pale grey with wrong pixels in red and ignored ones hatched, uint8 [H, W, 3]."""
    grey_HW = as_rgb(image_HWC).astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    errors_HWC = np.rint(110 + 0.5 * grey_HW).astype(np.uint8)[..., None].repeat(3, axis=2)
    known_HW = _known(target_HW.astype(np.int64), facts)
    errors_HWC[known_HW & (target_HW != prediction_HW)] = WRONG
    errors_HWC[~known_HW] = colored(target_HW, facts)[~known_HW]
    return errors_HWC


def _known(labels_HW: np.ndarray, facts: Facts) -> np.ndarray:
    known_HW = (labels_HW >= 0) & (labels_HW < facts.num_classes)
    return known_HW if facts.ignore_index is None else known_HW & (labels_HW != facts.ignore_index)


def _hatch(shape: tuple[int, ...]) -> np.ndarray:
    rows, columns = np.indices(shape)
    return (rows + columns) % _HATCH_PERIOD < 2
