"""Segmentation masks over their images: classes in colour, mistakes in red, ignored pixels hatched."""

import numpy as np

from imagier.batch import Facts
from imagier.datamodules.palette import as_rgb, blended
from imagier.training.pictures.charts import class_colors

WRONG = (230, 25, 40)
_HATCH_PERIOD = 10


def mask_overlay(image_HWC: np.ndarray, mask_HW: np.ndarray, facts: Facts, alpha: float = 0.55) -> np.ndarray:
    """Blend class colours over an image, opaque along the edges between classes.

    Args:
        image_HWC: uint8 [H, W, 1 or 3].
        mask_HW: integers [H, W]; values that are not a class, such as `facts.ignore_index`, are hatched in black.
        facts: facts of the data set; if they lack colours, distinct ones are used.
        alpha: opacity; 0 leaves the image unchanged, 1 paints the exact class colours.

    Returns:
        uint8 [H, W, 3].
    """
    return blended(as_rgb(image_HWC), colored(mask_HW, facts), mask_HW, alpha)


def colored(mask_HW: np.ndarray, facts: Facts) -> np.ndarray:
    """Return the mask in exact class colours, uint8 [H, W, 3]; other values are hatched in black and dark grey."""
    palette = np.array(class_colors(facts), np.uint8).reshape(-1, 3)
    labels_HW = mask_HW.astype(np.int64)
    known_HW = _known(labels_HW, facts)
    paint_HWC = np.where(_hatch(mask_HW.shape)[..., None], np.uint8(70), np.uint8(0)).repeat(3, axis=2)
    paint_HWC[known_HW] = palette[labels_HW[known_HW]]
    return paint_HWC


def error_map(image_HWC: np.ndarray, target_HW: np.ndarray, prediction_HW: np.ndarray, facts: Facts) -> np.ndarray:
    """Return the image in pale grey with wrong pixels in red and ignored ones hatched, uint8 [H, W, 3]."""
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
