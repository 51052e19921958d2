"""The network of K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, arXiv 2404.00498.

    image -> conv 2x2 -> GELU -> G(w0) -> G(w1) -> G(w2) -> max of 3x3 -> logits / 9

G is a 3x3 convolution, 2x2 max pooling, batch normalisation and GELU, then convolution, normalisation and GELU again.
The paper's larger networks (95 % and more) have a third convolution and normalisation in each group, and add the output
of the group's first part before the last GELU (`depth` 3). As many filters as there are input channels start as the
identity (dirac). The first convolution whitens 2x2 patches and is not trained. Most of the computation happens at low
resolution. Deviations: batch normalisation keeps torch's momentum and eps and trains its scale; filters that do not
start as the identity are initialised 2.4 times as large as torch's default, as in the other networks here; whitening
always uses the statistics of CIFAR-10, so that building a network needs no data, and its bias is not trained either,
which saves the most expensive gradient; global max pooling accepts any image size. With RGB, 10 classes and widths 64,
256, 256: 1,972,480 trainable parameters.

Several networks behind one whitening layer (`members`) form a deep ensemble (Lakshminarayanan et al. 2017, arXiv
1612.01474), whose logits are averaged. In training, each sees its own part of every batch, so that an epoch costs as
much as for one network.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from imagier.errors import ConfigError
from imagier.models.arguments import check_minimum
from imagier.models.pooling import GlobalMaxPool
from imagier.models.views import Mirrored
from imagier.models.weights import initialize, load_weights

SHORTEST = 17  # leaves 2x2 pixels after three poolings: batch norm has no variance over one pixel of a single image
# Basis patterns of 2x2 patches (mean, horizontal, vertical, diagonal) and of colours (grey, red against blue, green
# against both), and the standard deviation of 32x32 photographs along each pair of them. Measured on CIFAR-10's
# training images, with every channel scaled to deviation 1.
_PATCHES = ((1, 1, 1, 1), (1, -1, 1, -1), (1, 1, -1, -1), (1, -1, -1, 1))
_COLORS = ((1, 1, 1), (1, 0, -1), (1, -2, 1))
_DEVIATIONS = ((3.19, 0.59, 0.63, 0.24), (0.87, 0.06, 0.08, 0.02), (0.41, 0.04, 0.05, 0.01))
_FAINT = 0.05  # deviations below this are noise, and not amplified to 1


class Airbench(Mirrored):
    """Map images, float [B, in_channels, H, W], to logits [B, num_classes].

    Args:
        in_channels: channels of the image.
        num_classes: length of the logits.
        image_size: (H, W), or None if images differ in size.
        widths: channels of the three groups.
        depth: convolutions per group, 2 or 3.
        whiten: fix the first convolution so that it whitens grey or RGB patches; if False, or for any other number of
            channels, it is trained.
        mirror: in evaluation, average the logits over the image and its mirror image.
        members: networks in the ensemble.
        weights: None to train from scratch, or the path of a weights file.

    Raises:
        ConfigError: for an argument out of range, images that are too small, or weights that do not fit.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        image_size: tuple[int, int] | None = None,
        widths: Sequence[int] = (64, 256, 256),
        depth: int = 2,
        whiten: bool = True,
        mirror: bool = False,
        members: int = 1,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        check_minimum("members", members)
        if isinstance(widths, str | int) or len(widths) != 3:
            raise ConfigError(f"model.widths={widths} is not a list of three: give the channels of each group.")
        for width in widths:
            check_minimum("widths", width)
        if depth not in (2, 3):
            raise ConfigError(f"model.depth={depth}: a group of airbench has 2 or 3 convolutions.")
        if image_size is not None:
            _check(*image_size)
        self.mirror = mirror
        first = 8 * in_channels  # every whitening filter (4 per channel) and its negative
        whitening = nn.Conv2d(in_channels, first, 2)
        self.stem = nn.Sequential(whitening, nn.GELU())
        self.members = nn.ModuleList(Member(first, widths, depth, num_classes) for _ in range(members))
        initialize(self)
        for layer in self.members.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.dirac_(layer.weight.data[: layer.in_channels])
        if whiten and in_channels in (1, 3):
            whitening.requires_grad_(False).weight.copy_(_whitening(in_channels))
        load_weights(self, weights)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Return the logits."""
        _check(image_BCHW.shape[-2], image_BCHW.shape[-1])
        return super().forward(image_BCHW)

    def logits(self, image_BCHW: Tensor) -> Tensor:
        """Return the logits of the image itself; in training, each member computes those of its part of the batch."""
        x_BCHW = self.stem(image_BCHW)
        if self.training:
            parts = zip(self.members, x_BCHW.tensor_split(len(self.members)), strict=True)
            return torch.cat([member(part) for member, part in parts if len(part)])
        return torch.stack([member(x_BCHW) for member in self.members]).mean(0)


class Member(nn.Module):
    """Everything after the whitening: map float [B, in_channels, H, W] to logits [B, num_classes]."""

    def __init__(self, in_channels: int, widths: Sequence[int], depth: int, num_classes: int) -> None:
        super().__init__()
        self.groups = nn.Sequential(*(_group(a, b, depth) for a, b in pairwise([in_channels, *widths])))
        self.pool = GlobalMaxPool()
        self.classifier = nn.Linear(widths[-1], num_classes, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the logits."""
        logits_BK: Tensor = self.classifier(self.pool(self.groups(x_BCHW)).flatten(1)) / 9
        return logits_BK


def _whitening(in_channels: int) -> Tensor:
    """Return the patterns over their deviations, and their negatives: float [8 in_channels, in_channels, 2, 2]."""
    colors = [torch.tensor(color, dtype=torch.float32) for color in (_COLORS if in_channels == 3 else [(1,)])]
    scale = 1.0 if in_channels == 3 else 3**-0.5  # one of three equal channels has 1 / sqrt(3) of the grey deviation
    patterns = [
        torch.outer(color / color.norm(), torch.tensor(patch) / 2).unflatten(1, (2, 2))
        / math.hypot(scale * deviation, _FAINT)
        for color, deviations in zip(colors, _DEVIATIONS, strict=False)
        for patch, deviation in zip(_PATCHES, deviations, strict=True)
    ]
    return torch.cat([torch.stack(patterns), -torch.stack(patterns)])


def _group(in_channels: int, out_channels: int, depth: int) -> nn.Sequential:
    pooled = [nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False), nn.MaxPool2d(2)]
    norm = nn.BatchNorm2d(out_channels)
    if depth == 2:
        return nn.Sequential(*pooled, norm, nn.GELU(), *_conv(out_channels), nn.GELU())
    return nn.Sequential(*pooled, norm, nn.GELU(), Residual(out_channels), nn.GELU())


class Residual(nn.Module):
    """Add the second and third convolution of a group to their input, float [B, channels, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(*_conv(channels), nn.GELU(), *_conv(channels))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the sum, [B, channels, H, W]."""
        return x_BCHW + self.branch(x_BCHW)


def _conv(channels: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)]


def _check(height: int, width: int) -> None:
    if min(height, width) < SHORTEST:
        raise ConfigError(
            f"airbench got images of {height}x{width} pixels but needs at least {SHORTEST} on each side: set a larger "
            "data.size."
        )
