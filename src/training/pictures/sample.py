"""What a picture of samples is drawn from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Sample:
    """One sample and what the net made of it.

    id:         the sample's name.
    image:      uint8 [H, W, 1 or 3], as the net saw it.
    target:     segment: mask of whole numbers [H, W]; classify: class index; else the true picture, uint8 [H, W, C]. Of
                tasks of one's own also a fraction.
    prediction: of the target's kind; None before the net has seen it.
    figures:    what is known about the prediction, written beside it: iou, probability, psnr, bytes, ...
    """

    id: str
    image: np.ndarray
    target: np.ndarray | float
    prediction: np.ndarray | float | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
