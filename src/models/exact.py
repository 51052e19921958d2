"""Network inference that is bit-identical on every machine.

A decoder must predict exactly the probabilities that the encoder used, and reconstruct the same image everywhere; but
floating-point sums depend on their order, which depends on the machine, its libraries and the number of threads.
Therefore weights and activations are rounded before summation to so few bits, relative to the largest value, that every
product and every partial sum is an integer multiple, of at most 2^53, of one power of two: float64 adds these without
rounding, in any order. This is block floating point, and leaves about 20 bits per factor. (Ballé et al. 2019, Integer
networks, ICLR, achieve the same with integers throughout.) Everything else is + - * / or sqrt, one operation at a time,
which IEEE 754 rounds identically everywhere.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imagier.models.block_dct import Sum
from imagier.models.gdn import GDN

_BITS = 53  # precision of a float64
_LIMIT = 2.0**256  # bound of the largest factor, and its inverse, so that products neither overflow nor underflow
_UNFOLDED = 2**19  # numbers that a convolution unfolds at once, so that they fit into the cache


@torch.compiler.disable  # a compiler may fuse what must be rounded separately
@torch.no_grad()
def run_exactly(layers: nn.Sequential, x_BCHW: Tensor) -> Tensor:
    """Run layers on the CPU, treating each sample independently of the others in the batch.

    Args:
        layers: nn.Conv2d of stride 1 and nn.ConvTranspose2d, both with a bias and without groups or dilation; GDN,
            nn.ReLU, nn.LeakyReLU and nn.Upsample of mode nearest; Sum of such layers.
        x_BCHW: any float; NaN counts as 0.

    Returns:
        The result of `layers(x_BCHW)` as float64 on the CPU, to about a millionth of the largest value.

    Raises:
        NotImplementedError: for any other layer.
    """
    x_BCHW = _double(x_BCHW)
    for layer in layers:
        x_BCHW = _run(layer, x_BCHW)
    return x_BCHW


def _run(layer: nn.Module, x_BCHW: Tensor) -> Tensor:
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and _is_plain(layer):
        assert layer.bias is not None
        sum_BCHW = _transposed(x_BCHW, layer) if isinstance(layer, nn.ConvTranspose2d) else _convolved(x_BCHW, layer)
        return sum_BCHW.add_(_double(layer.bias)[:, None, None])
    if isinstance(layer, GDN):
        beta_C, gamma_CC = map(_double, layer.coefficients())
        root_BCHW = _sums(x_BCHW * x_BCHW, gamma_CC[:, :, None, None]).add_(beta_C[:, None, None]).sqrt_()
        return x_BCHW * root_BCHW if layer.inverse else x_BCHW / root_BCHW
    if isinstance(layer, nn.ReLU):
        return x_BCHW.clamp(min=0)
    if isinstance(layer, nn.LeakyReLU):
        return torch.where(x_BCHW < 0, x_BCHW * layer.negative_slope, x_BCHW)
    if isinstance(layer, nn.Upsample) and layer.mode == "nearest":
        repeated_BCHW: Tensor = layer(x_BCHW)
        return repeated_BCHW
    if isinstance(layer, Sum):
        first, *others = (run_exactly(branch, x_BCHW) for branch in layer.sequences())
        return sum(others, start=first)
    raise NotImplementedError(
        f"{layer} cannot be computed exactly, as the synthesis of a codec must be. Use Conv2d of stride 1, "
        "ConvTranspose2d, GDN, ReLU, LeakyReLU or nearest Upsample, or add support for it to imagier.models.exact."
    )


def _is_plain(layer: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    if isinstance(layer, nn.Conv2d) and layer.stride != (1, 1):
        return False
    padded = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return padded and layer.groups == 1 and layer.dilation == (1, 1) and layer.bias is not None


def _convolved(x_BCHW: Tensor, layer: nn.Conv2d) -> Tensor:
    above, beside = _padding(layer)
    return _sums(F.pad(x_BCHW, (beside, beside, above, above)), _double(layer.weight))


def _sums(x_BCHW: Tensor, weight_OIkl: Tensor) -> Tensor:
    """Convolve a few rows at a time, since unfolding an image multiplies its memory."""
    x_BCHW, weight_OIkl = _factors(x_BCHW, weight_OIkl, terms=weight_OIkl[0].numel())
    more = weight_OIkl.shape[2] - 1
    rows = _rows(weight_OIkl[0], x_BCHW)
    tops = range(0, x_BCHW.shape[2] - more, rows)
    return torch.cat([F.conv2d(x_BCHW[:, :, top : top + rows + more], weight_OIkl) for top in tops], dim=2)


def _transposed(x_BCHW: Tensor, layer: nn.ConvTranspose2d) -> Tensor:
    """Apply a transposed convolution to a few rows at a time and add up their overlapping outputs."""
    weight_IOkl = _double(layer.weight)
    batch, _, height, width = x_BCHW.shape
    (down, right), (above, beside), (below, after) = layer.stride, _padding(layer), layer.output_padding
    # Only every `stride`-th weight of a kernel, in each direction, contributes to the same output pixel.
    meeting = -(-layer.kernel_size[0] // down) * -(-layer.kernel_size[1] // right)
    x_BCHW, weight_IOkl = _factors(x_BCHW, weight_IOkl, terms=layer.in_channels * meeting)
    tall = (height - 1) * down + layer.kernel_size[0] + below
    wide = (width - 1) * right + layer.kernel_size[1] + after - 2 * beside
    sum_BOHW = x_BCHW.new_zeros(batch, layer.out_channels, tall, wide)
    rows = _rows(weight_IOkl[0], x_BCHW)
    for top in range(0, height, rows):
        some_BIhW = x_BCHW[:, :, top : top + rows]
        part_BOhW = F.conv_transpose2d(some_BIhW, weight_IOkl, None, layer.stride, (0, beside), (0, after))
        sum_BOHW[:, :, top * down : top * down + part_BOhW.shape[2]] += part_BOhW
    return sum_BOHW[:, :, above : tall - above]


def _padding(layer: nn.Conv2d | nn.ConvTranspose2d) -> tuple[int, int]:
    assert not isinstance(layer.padding, str)
    above, beside = layer.padding
    return above, beside


def _rows(kernels: Tensor, x_BCHW: Tensor) -> int:
    return max(1, _UNFOLDED // (kernels.numel() * x_BCHW.shape[3]))


def _factors(x_BCHW: Tensor, weight: Tensor, terms: int) -> tuple[Tensor, Tensor]:
    """Round both so that sums of `terms` of their products are exact."""
    bits = _BITS - (terms - 1).bit_length()
    return _shortened(x_BCHW, bits - bits // 2), _shortened(weight[None], bits // 2)[0]


def _shortened(x: Tensor, bits: int) -> Tensor:
    """Round each sample to multiples of 2^-bits times the power of two above its largest absolute value."""
    axes = tuple(range(1, x.ndim))
    greatest = x.amax(axes, keepdim=True).maximum(-x.amin(axes, keepdim=True)).clamp(1 / _LIMIT, _LIMIT)
    step = greatest / greatest.frexp().mantissa * 2.0**-bits  # exact: a float over its mantissa is a power of 2
    return x.clamp(-_LIMIT, _LIMIT).div_(step).round_().mul_(step)


def _double(value: Tensor) -> Tensor:
    return value.detach().double().cpu().contiguous().nan_to_num()
