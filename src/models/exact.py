"""Nets whose last bit is the same on every machine.

A decoder must predict the very probabilities that the encoder used, and make the same picture everywhere; yet sums of
floats depend on their order, and that on the machine, its libraries and the number of threads. So before they are
summed, weights and activations are rounded to so few significant bits, counted from the greatest of them, that every
product and every partial sum is a whole multiple, of at most 2^53, of one power of two: float64 adds such numbers
without rounding, in any order. This is block floating point, and leaves some 20 bits to each factor. (Ballé et al.
2019, Integer networks, ICLR, reach the same with whole numbers throughout.) All else is + - * / or sqrt, one operation
at a time, which IEEE 754 rounds the same everywhere.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imagier.models.block_dct import Sum
from imagier.models.gdn import GDN

_BITS = 53  # of a float64
_LIMIT = 2.0**256  # of the greatest factor, and its inverse: what is multiplied stays far from infinite and subnormal
_UNFOLDED = 2**19  # numbers that a convolution unfolds at a time, so that they stay in the cache


@torch.compiler.disable  # a compiler may fuse what must be rounded separately
@torch.no_grad()
def run_exactly(layers: nn.Sequential, x_BCHW: Tensor) -> Tensor:
    """Run layers on the CPU, each sample as if it were alone.

    Args:
        layers: nn.Conv2d of stride 1 and nn.ConvTranspose2d, both with a bias and without groups or dilation; GDN,
            nn.ReLU, nn.LeakyReLU and nn.Upsample of mode nearest; Sum of such layers.
        x_BCHW: any float; NaN counts as 0.

    Returns:
        float64 on the CPU: what `layers(x_BCHW)` returns, to about a millionth of the greatest value.

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
    """A convolution of some rows at a time, as unfolded pictures take many times their memory."""
    x_BCHW, weight_OIkl = _factors(x_BCHW, weight_OIkl, terms=weight_OIkl[0].numel())
    more = weight_OIkl.shape[2] - 1
    rows = _rows(weight_OIkl[0], x_BCHW)
    tops = range(0, x_BCHW.shape[2] - more, rows)
    return torch.cat([F.conv2d(x_BCHW[:, :, top : top + rows + more], weight_OIkl) for top in tops], dim=2)


def _transposed(x_BCHW: Tensor, layer: nn.ConvTranspose2d) -> Tensor:
    """A transposed convolution of some rows at a time; what they make overlaps and adds up."""
    weight_IOkl = _double(layer.weight)
    batch, _, height, width = x_BCHW.shape
    (down, right), (above, beside), (below, after) = layer.stride, _padding(layer), layer.output_padding
    # Of a kernel only every `stride`th weight in each direction meets the same pixel.
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
    """Round both, so that sums of so many of their products are exact."""
    bits = _BITS - (terms - 1).bit_length()
    return _shortened(x_BCHW, bits - bits // 2), _shortened(weight[None], bits // 2)[0]


def _shortened(x: Tensor, bits: int) -> Tensor:
    """Round each sample to multiples of 2^-bits of the power of two above its greatest absolute value."""
    axes = tuple(range(1, x.ndim))
    greatest = x.amax(axes, keepdim=True).maximum(-x.amin(axes, keepdim=True)).clamp(1 / _LIMIT, _LIMIT)
    step = greatest / greatest.frexp().mantissa * 2.0**-bits  # exact: what is divided by its mantissa is a power of two
    return x.clamp(-_LIMIT, _LIMIT).div_(step).round_().mul_(step)


def _double(value: Tensor) -> Tensor:
    return value.detach().double().cpu().contiguous().nan_to_num()
