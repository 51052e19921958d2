"""PSPNet, after Zhao et al. 2017, arXiv 1612.01105.

    image -> ResNet -> features ------------------------------ concat -> 3x3 -> dropout -> 1x1 -> up -> logits
                          +-> mean over 1x1, 2x2, 3x3, 6x6 cells -> 1x1 -> up -+
             third stage -> 3x3 -> dropout -> 1x1 -> up -> auxiliary logits (in training)

Deviations: torchvision's ResNet, whose stem is one 7x7 convolution instead of three of 3x3; ResNet-18 and -34 are not
dilated and keep stride 32. The branch with a single cell has no batch normalisation, which could not train on a single
image (one value per channel has no variance). The mean over cells is a matrix product, which can be exported for any
image size.
"""

import torch
import torch.nn.functional as F
import torchvision.models as zoo
from torch import Tensor, nn

from imagier.models.arguments import check_choice, check_probability
from imagier.models.weights import initialize, load_weights

BACKBONES = {
    "resnet18": (zoo.resnet18, zoo.ResNet18_Weights),
    "resnet34": (zoo.resnet34, zoo.ResNet34_Weights),
    "resnet50": (zoo.resnet50, zoo.ResNet50_Weights),
    "resnet101": (zoo.resnet101, zoo.ResNet101_Weights),
}
BINS = (1, 2, 3, 6)


class PSPNet(nn.Module):
    """Map images, float [B, in_channels, H, W], to logits [B, num_classes, H, W].

    In training it returns (logits, auxiliary logits), both of that shape; the paper weights the auxiliary loss by 0.4.
    H and W must be multiples of `stride`: 8 with ResNet-50 and -101, 32 with ResNet-18 and -34.

    Args:
        in_channels: channels of the image.
        num_classes: channels of the logits.
        backbone: resnet18, resnet34, resnet50 or resnet101.
        dropout: probability, in [0, 1), of dropping a channel before either classifier.
        weights: None (Kaiming), "imagenet" for the backbone, or the path of a file for the network or the backbone.

    Raises:
        ConfigError: for an unknown backbone, an argument out of range, or weights that do not fit.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        backbone: str = "resnet50",
        dropout: float = 0.1,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        check_choice("backbone", backbone, BACKBONES)
        check_probability("dropout", dropout)
        build, files = BACKBONES[backbone]
        dilated = backbone in ("resnet50", "resnet101")
        self.stride = 8 if dilated else 32
        self.backbone = build(replace_stride_with_dilation=[False, dilated, dilated])
        features = self.backbone.fc.in_features
        del self.backbone.fc, self.backbone.avgpool
        if in_channels != 3:
            self.backbone.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
            initialize(self.backbone.conv1)
        self.pyramid = Pyramid(features)
        self.head = _classifier(2 * features, features // 4, num_classes, dropout)
        self.auxiliary = _classifier(features // 2, features // 8, num_classes, dropout)
        for part in (self.pyramid, self.head, self.auxiliary):
            initialize(part)
        load_weights(self, weights, parts=[self.backbone], imagenet=files.IMAGENET1K_V1)

    def forward(self, image_BCHW: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return the logits, in training together with the auxiliary logits."""
        net, size = self.backbone, image_BCHW.shape[-2:]
        features = net.maxpool(net.relu(net.bn1(net.conv1(image_BCHW))))
        third = net.layer3(net.layer2(net.layer1(features)))
        logits = _resize(self.head(self.pyramid(net.layer4(third))), size)
        return (logits, _resize(self.auxiliary(third), size)) if self.training else logits


class Pyramid(nn.Module):
    """Append to features [B, C, h, w] their means over four grids of cells, each with C / 4 channels: [B, 2C, h, w]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(self._branch(channels, channels // len(BINS), bins) for bins in BINS)

    def forward(self, features_BChw: Tensor) -> Tensor:
        """Return the features followed by their context."""
        size = features_BChw.shape[-2:]
        context = [
            _resize(branch(mean_over_cells(features_BChw, bins)), size)
            for bins, branch in zip(BINS, self.branches, strict=True)
        ]
        return torch.cat([features_BChw, *context], dim=1)

    @staticmethod
    def _branch(in_channels: int, out_channels: int, bins: int) -> nn.Sequential:
        if bins == 1:
            return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1), nn.ReLU(inplace=True))
        return nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)
        )


def mean_over_cells(features_BChw: Tensor, bins: int) -> Tensor:
    """Return the same as `adaptive_avg_pool2d(features, bins)`, [B, C, bins, bins], by a matrix product."""
    rows, columns = (_cells(size, bins, features_BChw) for size in features_BChw.shape[-2:])
    return torch.einsum("iy,bcyx,jx->bcij", rows, features_BChw, columns)


def _cells(size: int, bins: int, like: Tensor) -> Tensor:
    """Return [bins, size]: row i is 1 / n over the n positions of cell i, and 0 elsewhere."""
    position = torch.arange(size, device=like.device)
    cell = torch.arange(bins, device=like.device).unsqueeze(1)
    first, last = cell * size // bins, ((cell + 1) * size + bins - 1) // bins
    inside = ((position >= first) & (position < last)).to(like.dtype)
    return inside / inside.sum(dim=1, keepdim=True)


def _classifier(in_channels: int, width: int, num_classes: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Dropout2d(dropout),
        nn.Conv2d(width, num_classes, 1),
    )


def _resize(image_BCHW: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(image_BCHW, size=size, mode="bilinear", align_corners=False)
