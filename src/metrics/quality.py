"""Image quality against a reference: PSNR, SSIM, MS-SSIM and mean squared error, one number per image.

All take uint8 images [B, C, H, W], as they would be saved, and compute on the scale 0 to 1. Legend: B batch.
"""

import torch
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

IDENTICAL = 100.0  # dB: the PSNR of identical images, and the upper limit
SSIM_LEAST = 6  # minimum height and width: half of SSIM's window of 11 is mirrored at each border
MS_SSIM_LEAST = 176  # minimum height and width: that window must fit into the fifth scale, a sixteenth of the sides


def as_saved(image: Tensor) -> Tensor:
    """Round and clamp float values on the scale 0 to 255 to uint8, whatever the shape."""
    return image.round().clamp(0, 255).to(torch.uint8)


def mse(one_BCHW: Tensor, other_BCHW: Tensor) -> Tensor:
    """Return the mean squared error of image / 255: float64 [B] (float32 on Apple's GPU, which has no float64)."""
    difference = one_BCHW.to(torch.int32) - other_BCHW.to(torch.int32)
    total_B = difference.square().flatten(1).sum(1)  # int64: exact, in any order
    return total_B.to(widest(total_B.device)) / (difference[0].numel() * 255**2)


def psnr(one_BCHW: Tensor, other_BCHW: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio in dB, float64 [B]: -10 log10(mse), at most 100 (identical images)."""
    return (-10 * mse(one_BCHW, other_BCHW).log10()).clamp(max=IDENTICAL)


def ssim(one_BCHW: Tensor, other_BCHW: Tensor) -> Tensor:
    """Return the structural similarity, float64 [B]; NaN for images of less than 6 pixels in height or width.

    Wang et al. 2004, in Gaussian windows of 11 x 11 with sigma 1.5, averaged over channels; 1 for identical images. As
    in torchmetrics, images are mirrored at their borders. Wang's own program uses only windows inside the image, which
    changes the third digit for photographs, and more for small images.
    """
    if min(one_BCHW.shape[-2:]) < SSIM_LEAST:
        return _undefined(one_BCHW)
    return _similarity(structural_similarity_index_measure, one_BCHW, other_BCHW)


def ms_ssim(one_BCHW: Tensor, other_BCHW: Tensor) -> Tensor:
    """Return the multi-scale structural similarity, float64 [B]; NaN for images below 176 pixels in height or width.

    Wang et al. 2003, over five scales, each half the size of the one before; 1 for identical images.
    """
    if min(one_BCHW.shape[-2:]) < MS_SSIM_LEAST:
        return _undefined(one_BCHW)
    return _similarity(multiscale_structural_similarity_index_measure, one_BCHW, other_BCHW)


def widest(device: torch.device) -> torch.dtype:
    """Return the widest floating-point dtype of `device`."""
    return torch.float32 if device.type == "mps" else torch.float64


def _similarity(measure: object, one_BCHW: Tensor, other_BCHW: Tensor) -> Tensor:
    assert callable(measure)
    device = one_BCHW.device
    # Variances are small differences of large numbers: TF32 or bfloat16, which a GPU might convolve in, would lose
    # them. A CPU convolves in full float32, and in float64 ten times as slowly.
    working = torch.float64 if device.type == "cuda" else torch.float32
    with torch.autocast(device.type, enabled=False):
        one, other = one_BCHW.to(working) / 255, other_BCHW.to(working) / 255
        similarity_B: Tensor = measure(one, other, data_range=1.0, reduction="none")
    return similarity_B.to(widest(device))


def _undefined(image_BCHW: Tensor) -> Tensor:
    return torch.full((len(image_BCHW),), torch.nan, dtype=widest(image_BCHW.device), device=image_BCHW.device)
