"""What a codec answers: a picture, and how many bits its file would take."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Coded:
    """A decoded picture and its price.

    image: float [B, C, H, W], 0 to 1.
    bits:  float [B], estimated size of each picture's file.
    """

    image: Tensor
    bits: Tensor
