"""The samples from which grids are drawn."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Sample:
    """One sample and the network's prediction.

    id:         the sample's name.
    image:      uint8 [H, W, 1 or 3], the network's input.
    target:     segment: integer mask [H, W]; classify: class index; denoise, compress: the true image, uint8 [H, W, C];
                in user-defined tasks also a float.
    prediction: like the target; None without a prediction.
    figures:    numbers about the prediction, written beside it: iou, probability, psnr, bytes, ...
    """

    id: str
    image: np.ndarray
    target: np.ndarray | float
    prediction: np.ndarray | float | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
