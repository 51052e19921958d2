"""Transforms that start as a block DCT, so that a codec starts out with a transform like JPEG's.

analysis:  image -> DCT of 16 x 16 blocks ------------------------------------- + -> latents of a sixteenth of the sides
                 -> conv 4x4, /4 -> conv -> conv, /2 -> conv -> conv, /2 (faint)
synthesis: latents -> inverse DCT ------------------------------------------------------------------------- + -> image
                   -> transposed conv, x2 -> conv -> transposed conv, x2 -> conv -> transposed conv, x4 (faint)

Leaky ReLUs separate the convolutions. The DCT is orthonormal, also runs over the colour channels (their mean, then
their differences, by a DCT of three values), and is not trained; the convolutional branches add almost nothing at
first. A short training is thus spent on what a DCT cannot do. Only the lowest frequencies are kept, fewer of colour
differences than of grey, as in JPEG's 4:2:0.
"""

import math

import torch
from torch import Tensor, nn

BLOCK = 16
STEP = 0.25  # initial quantisation step on the scale 0 to 1: about the optimum for RGB at lambda 0.0067
GREY = 128 / 255  # maps to 0; halfway between two grey levels, the last bit would decide how a flat block is rounded
_COLOR = 2.0  # factor by which frequencies of colour differences count as higher
_STRENGTH, _FALL = 15.0, 1.2  # deviation of a grey coefficient at frequency 1, in steps, and the exponent of its decay


class Sum(nn.Module):
    """Add the outputs of several branches applied to the same input.

    In training the first, exact branch is computed in float32 even under autocast: bfloat16 rounds its grey by half a
    level, and the others would learn to undo an error that evaluation, in full precision, does not make.
    """

    def __init__(self, *branches: nn.Sequential) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the sum, float32 in training."""
        first, *others = self.sequences()
        if self.training:
            with torch.autocast(x_BCHW.device.type, enabled=False):
                sum_BCHW = first(x_BCHW)
        else:
            sum_BCHW = first(x_BCHW)
        return sum((branch(x_BCHW) for branch in others), start=sum_BCHW)

    def sequences(self) -> list[nn.Sequential]:
        """Return the branches, in the order in which they are added."""
        return [branch for branch in self.branches if isinstance(branch, nn.Sequential)]


def analysis(in_channels: int, width: int, latents: int) -> nn.Sequential:
    """Build image [B, in_channels, H, W] -> latents [B, latents, H / 16, W / 16]."""
    basis_MCkk, _ = basis(in_channels, latents)
    transform = nn.Conv2d(in_channels, latents, BLOCK, stride=BLOCK)
    _fix(transform, basis_MCkk / STEP, -GREY * basis_MCkk.sum((1, 2, 3)) / STEP)
    branch = nn.Sequential(
        nn.Conv2d(in_channels, width, 4, stride=4),
        nn.LeakyReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.LeakyReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        nn.LeakyReLU(),
        nn.Conv2d(2 * width, 2 * width, 3, padding=1),
        nn.LeakyReLU(),
        _faint(nn.Conv2d(2 * width, latents, 3, stride=2, padding=1)),
    )
    return nn.Sequential(Sum(nn.Sequential(transform), branch))


def synthesis(latents: int, width: int, out_channels: int) -> nn.Sequential:
    """Build latents [B, latents, H / 16, W / 16] -> image [B, out_channels, H, W]."""
    basis_MCkk, _ = basis(out_channels, latents)
    transform = nn.ConvTranspose2d(latents, out_channels, BLOCK, stride=BLOCK)
    _fix(transform, basis_MCkk * STEP, torch.full((out_channels,), GREY))
    branch = nn.Sequential(
        nn.ConvTranspose2d(latents, 2 * width, 4, stride=2, padding=1),
        nn.LeakyReLU(),
        nn.Conv2d(2 * width, 2 * width, 3, padding=1),
        nn.LeakyReLU(),
        nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
        nn.LeakyReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.LeakyReLU(),
        _faint(nn.ConvTranspose2d(width, out_channels, 8, stride=4, padding=2)),
    )
    return nn.Sequential(Sum(nn.Sequential(transform), branch))


def basis(channels: int, latents: int) -> tuple[Tensor, Tensor]:
    """Return the basis vectors of the lowest frequencies, orthonormal float32 [latents, channels, 16, 16].

    The second value, float32 [latents], is about the standard deviation of each coefficient in photographs, in steps.
    """
    color_CC, wave_kk = _dct(channels), _dct(BLOCK)
    every = torch.einsum("ac,uk,vl->auvckl", color_CC, wave_kk, wave_kk).reshape(-1, channels, BLOCK, BLOCK)
    color, row, column = torch.meshgrid(*(torch.arange(n).double() for n in (channels, BLOCK, BLOCK)), indexing="ij")
    frequency = ((row.square() + column.square()).sqrt() * torch.where(color > 0, _COLOR, 1.0)).flatten()
    chosen = frequency.argsort(stable=True)[:latents]
    strength = _STRENGTH * torch.where(color > 0, 1 / _COLOR, 1.0).flatten() / frequency.clamp(min=0.6) ** _FALL
    return every[chosen].float(), strength[chosen].float()


def _faint(layer: nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
    """Initialise the layer close to zero; at exactly zero, the layers before it would get no gradient at first."""
    assert layer.bias is not None
    nn.init.normal_(layer.weight, std=1e-3)
    nn.init.zeros_(layer.bias)
    return layer


def _dct(size: int) -> Tensor:
    """Return the orthonormal DCT-II matrix, float64 [size, size], with one row per frequency."""
    angles = torch.outer(torch.arange(size).double(), torch.arange(size).double() + 0.5) * math.pi / size
    return angles.cos() * torch.where(torch.arange(size) > 0, 2 / size, 1 / size).double().sqrt()[:, None]


def _fix(layer: nn.Conv2d | nn.ConvTranspose2d, weight: Tensor, bias: Tensor) -> None:
    assert layer.bias is not None
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    layer.requires_grad_(False)
