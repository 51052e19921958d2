"""How close a picture comes to the true one: PSNR, SSIM, MS-SSIM and mean squared error, one number a picture.

All are of uint8 pictures [B, C, H, W], that is of what would be saved, on a scale of 0 to 1. Legend: B batch.
"""

import torch
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

IDENTICAL = 100.0  # dB: the PSNR of pictures without any difference, and the most that is told
SSIM_LEAST = 6  # the least height and width to mirror half of SSIM's window of 11 at a border
MS_SSIM_LEAST = 176  # the least height and width at which that window fits into the fifth scale, a sixteenth


def as_saved(image: Tensor) -> Tensor:
    """Round and clamp float values on the scale 0 to 255 to uint8, whatever the shape."""
    return image.round().clamp(0, 255).to(torch.uint8)


def mse(one_BCHW: Tensor, other_BCHW: Tensor) -> Tensor:
    """Mean squared error of image / 255: float64 [B] (float32 on Apple's GPU, which has nothing wider)."""
    difference = one_BCHW.to(torch.int32) - other_BCHW.to(torch.int32)
    total_B = difference.square().flatten(1).sum(1)  # whole numbers, int64: exact and in any order the same
    return total_B.to(widest(total_B.device)) / (difference[0].numel() * 255**2)


def psnr(one_BCHW: Tensor, other_BCHW: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, float64 [B]: -10 log10(mse), 100 at most, where pictures are identical."""
    return (-10 * mse(one_BCHW, other_BCHW).log10()).clamp(max=IDENTICAL)


def ssim(one_BCHW: Tensor, other_BCHW: Tensor) -> Tensor:
    """Structural similarity, float64 [B]; NaN for pictures of less than 6 pixels in height or width.

    Wang et al. 2004, in Gaussian windows of 11 x 11 with sigma 1.5, the mean over channels; 1 where identical. As
    torchmetrics has it, pictures are mirrored at their edges; without windows that reach beyond them, as Wang's own
    program does, photographs differ in the third digit, and small pictures more.
    """
    if min(one_BCHW.shape[-2:]) < SSIM_LEAST:
        return _undefined(one_BCHW)
    return _similarity(structural_similarity_index_measure, one_BCHW, other_BCHW)


def ms_ssim(one_BCHW: Tensor, other_BCHW: Tensor) -> Tensor:
    """Multi-scale structural similarity, float64 [B]; NaN for pictures of less than 176 pixels in height or width.

    Wang et al. 2003, over five scales, of which each halves the one before; 1 where identical.
    """
    if min(one_BCHW.shape[-2:]) < MS_SSIM_LEAST:
        return _undefined(one_BCHW)
    return _similarity(multiscale_structural_similarity_index_measure, one_BCHW, other_BCHW)


def widest(device: torch.device) -> torch.dtype:
    """The widest floating-point type that `device` has."""
    return torch.float32 if device.type == "mps" else torch.float64


def _similarity(measure: object, one_BCHW: Tensor, other_BCHW: Tensor) -> Tensor:
    assert callable(measure)
    device = one_BCHW.device
    # Variances are small differences of large numbers: TF32 and bfloat16, in which a GPU would convolve, lose them. The
    # processor convolves float32 in full, and float64 ten times as slowly.
    working = torch.float64 if device.type == "cuda" else torch.float32
    with torch.autocast(device.type, enabled=False):
        one, other = one_BCHW.to(working) / 255, other_BCHW.to(working) / 255
        similarity_B: Tensor = measure(one, other, data_range=1.0, reduction="none")
    return similarity_B.to(widest(device))


def _undefined(image_BCHW: Tensor) -> Tensor:
    return torch.full((len(image_BCHW),), torch.nan, dtype=widest(image_BCHW.device), device=image_BCHW.device)
