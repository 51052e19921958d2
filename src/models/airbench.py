"""The net of K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, arXiv 2404.00498.

    image -> conv 2x2 -> GELU -> G(w0) -> G(w1) -> G(w2) -> max of 3x3 -> logits / 9

G is a 3x3 convolution, the maximum of 2x2, batch normalisation, GELU, then convolution, normalisation and GELU again.
The paper's larger nets (95 % and more) have a third convolution and normalisation, to which is added what the first
gave, before the last GELU (`depth` 3). Convolutions begin as the identity, as far as they have channels to pass on
(dirac). The first one whitens patches of 2x2 pixels and does not learn. Most of the work is done where an image is
small. Deviations: normalisation keeps torch's momentum and eps and learns its scale; what does not begin as the
identity is drawn 2.4 times as large, as in the other nets here; what is whitened are CIFAR-10's photographs, whatever
the training images are, so that a net needs no data to be built, and its bias does not learn either, which spares the
largest gradient; what is left of an image is pooled to one pixel whatever its size. With RGB, 10 classes and widths 64,
256, 256: 1,972,480 trainable parameters.

Several of them behind one whitening (`members`) answer with their mean, a deep ensemble (Lakshminarayanan et al. 2017,
arXiv 1612.01474). In training each is given its own part of every batch: an epoch costs what one net's does.
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

SHORTEST = 17  # the side of which three poolings leave 2 x 2 pixels: of a member's single picture, one has no variance
# Patterns of 2x2 pixels and of colours, and the deviations of photographs of 32x32 along them: mean, left to right, top
# to bottom, crosswise; grey, red against blue, green against both. Measured on CIFAR-10's training images, each colour
# brought to deviation 1.
_PATCHES = ((1, 1, 1, 1), (1, -1, 1, -1), (1, 1, -1, -1), (1, -1, -1, 1))
_COLORS = ((1, 1, 1), (1, 0, -1), (1, -2, 1))
_DEVIATIONS = ((3.19, 0.59, 0.63, 0.24), (0.87, 0.06, 0.08, 0.02), (0.41, 0.04, 0.05, 0.01))
_FAINT = 0.05  # deviations below it are noise, and not blown up to 1


class Airbench(Mirrored):
    """Map images, float [B, in_channels, H, W], to logits [B, num_classes].

    Args:
        in_channels: channels of the image.
        num_classes: length of the logits.
        image_size: (H, W), or None where images differ in size.
        widths: channels of the three groups.
        depth: convolutions of a group, 2 or 3.
        whiten: fix the first convolution so that it whitens patches, of grey and RGB; otherwise, or with other
            channels, it learns.
        mirror: in evaluation, answer with the mean of the logits of the image and of its mirror image.
        members: nets that answer together, with the mean of their logits.
        weights: None to begin from nothing, or the path of a file of weights.

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
        first = 8 * in_channels  # as many as whitening makes: every pattern of 2x2 pixels, and its negative
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
        """Return those of the image as it is."""
        x_BCHW = self.stem(image_BCHW)
        if self.training:
            parts = zip(self.members, x_BCHW.tensor_split(len(self.members)), strict=True)
            return torch.cat([member(part) for member, part in parts if len(part)])
        return torch.stack([member(x_BCHW) for member in self.members]).mean(0)


class Member(nn.Module):
    """All but the whitening, from float [B, in_channels, H, W] to logits [B, num_classes]."""

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
    """Return the patterns, each over its deviation, and their negatives: float [8 in_channels, in_channels, 2, 2]."""
    colors = [torch.tensor(color, dtype=torch.float32) for color in (_COLORS if in_channels == 3 else [(1,)])]
    scale = 1.0 if in_channels == 3 else 3**-0.5  # of three colours that are alike, one
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
    """The second and third convolution of a group, and what they are added to: float [B, channels, H, W]."""

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
