"""Convolutions whose last bit is the same on every machine.

A decoder must predict the very probabilities that the encoder used, yet sums of floats depend on their order, and that
on the machine, its libraries and the number of threads. So weights and activations are cut to a grid so coarse that
every product and every partial sum is a whole multiple of 2^-26 below 2^53 of them: float64 adds such numbers without
rounding, in any order. (Ballé et al. 2019, Integer networks, ICLR, reach the same with whole numbers throughout.)
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_WEIGHT_STEP, _WEIGHT_LIMIT = 2.0**-14, 4.0
_STEP, _LIMIT = 2.0**-12, 4096.0  # of activations; with 2^13 terms a sum stays below 2^27


@torch.compiler.disable  # a compiler may fuse what must be rounded separately
def run_exactly(layers: nn.Sequential, x_BCHW: Tensor) -> Tensor:
    """Run convolutions and activations of single values on the CPU.

    Args:
        layers: nn.Conv2d, nn.ConvTranspose2d and nn.LeakyReLU, with at most 2^13 terms in a convolution's sums.
        x_BCHW: any float.

    Returns:
        float64 on the CPU, multiples of 2^-12 within 2^12; apart from that what `layers(x_BCHW)` returns.
    """
    x_BCHW = _cut(x_BCHW.detach().double().cpu(), _STEP, _LIMIT)
    for layer in layers:
        if isinstance(layer, nn.LeakyReLU):
            x_BCHW = torch.where(x_BCHW < 0, x_BCHW * layer.negative_slope, x_BCHW)
        elif isinstance(layer, nn.ConvTranspose2d):
            stride, padding, extra = layer.stride, layer.padding, layer.output_padding
            assert not isinstance(padding, str)
            x_BCHW = F.conv_transpose2d(x_BCHW, *_parameters(layer), stride, padding, extra)
        else:
            assert isinstance(layer, nn.Conv2d)
            x_BCHW = F.conv2d(x_BCHW, *_parameters(layer), layer.stride, layer.padding)
        x_BCHW = _cut(x_BCHW, _STEP, _LIMIT)
    return x_BCHW


def _parameters(layer: nn.Conv2d | nn.ConvTranspose2d) -> tuple[Tensor, Tensor]:
    assert layer.bias is not None
    weight, bias = (value.detach().double().cpu().contiguous() for value in (layer.weight, layer.bias))
    return _cut(weight, _WEIGHT_STEP, _WEIGHT_LIMIT), _cut(bias, _STEP, _LIMIT)


def _cut(x: Tensor, step: float, limit: float) -> Tensor:
    return (x.nan_to_num() / step).round().mul(step).clamp(-limit, limit)
