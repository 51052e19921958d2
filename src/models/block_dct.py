"""Transforms that begin as a block DCT, so that a codec starts where JPEG's transform ends.

analysis:  image -> DCT of 16 x 16 blocks ------------------------------------- + -> latents of a sixteenth of the sides
                 -> conv 4x4, /4 -> conv -> conv, /2 -> conv -> conv, /2 (faint)
synthesis: latents -> inverse DCT ------------------------------------------------------------------------- + -> image
                   -> transposed conv, x2 -> conv -> transposed conv, x2 -> conv -> transposed conv, x4 (faint)

Between convolutions stand leaky ReLUs. The DCT takes the colours in too (the mean of all, then their differences, by
the DCT of three values), is orthonormal, and stays as it is; what the nets beside it add is next to nothing at first.
So minutes of training go into what a DCT cannot do. The lowest frequencies are kept, those of differences of colours
less readily, as in the 4:2:0 of JPEG.
"""

import math

import torch
from torch import Tensor, nn

BLOCK = 16
STEP = 0.25  # of quantisation at first, for colours of 0 to 1: what lambda 0.0067 asks of an orthonormal transform
GREY = 128 / 255  # that becomes 0; a grey value, as between two of them the last digit would decide
_COLOR = 2.0  # so much lower must a frequency of colour differences be to count as low
_STRENGTH, _FALL = 15.0, 1.2  # deviation of the mean of a block in steps, and how fast that of frequencies falls


class Sum(nn.Module):
    """Add what each of the branches makes of the same map."""

    def __init__(self, *branches: nn.Sequential) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the sum."""
        first, *others = (branch(x_BCHW) for branch in self.sequences())
        return sum(others, start=first)

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

    Beside them stands, float32 [latents], about how far each coefficient of a photograph deviates, in steps.
    """
    color_CC, wave_kk = _dct(channels), _dct(BLOCK)
    every = torch.einsum("ac,uk,vl->auvckl", color_CC, wave_kk, wave_kk).reshape(-1, channels, BLOCK, BLOCK)
    color, row, column = torch.meshgrid(*(torch.arange(n).double() for n in (channels, BLOCK, BLOCK)), indexing="ij")
    frequency = ((row.square() + column.square()).sqrt() * torch.where(color > 0, _COLOR, 1.0)).flatten()
    chosen = frequency.argsort(stable=True)[:latents]
    strength = _STRENGTH * torch.where(color > 0, 1 / _COLOR, 1.0).flatten() / frequency.clamp(min=0.6) ** _FALL
    return every[chosen].float(), strength[chosen].float()


def _faint(layer: nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
    """Return the layer with next to nothing in it; with nothing at all, those before it would not learn at once."""
    assert layer.bias is not None
    nn.init.normal_(layer.weight, std=1e-3)
    nn.init.zeros_(layer.bias)
    return layer


def _dct(size: int) -> Tensor:
    """The orthonormal DCT-II, float64 [size, size], a row a frequency."""
    angles = torch.outer(torch.arange(size).double(), torch.arange(size).double() + 0.5) * math.pi / size
    return angles.cos() * torch.where(torch.arange(size) > 0, 2 / size, 1 / size).double().sqrt()[:, None]


def _fix(layer: nn.Conv2d | nn.ConvTranspose2d, weight: Tensor, bias: Tensor) -> None:
    assert layer.bias is not None
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    layer.requires_grad_(False)
