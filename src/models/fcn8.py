"""FCN-8s on VGG16, after Long et al. 2015, arXiv 1411.4038, with the joint pyramid upsampling of FastFCN as a choice.

    image -> pool3 (1/8) -> pool4 (1/16) -> pool5 (1/32) -> 7x7 -> 1x1 -> top

    jpu=false  score(top) -> up 2 -> + score(pool4) -> up 2 -> + score(pool3) -> up 8 -> logits
    jpu=true   (pool3, pool4, top) -> JPU -> score -> up 8 -> logits

Deviations from FCN: the 7x7 and 1x1 convolutions have `head_width` channels where the paper has 4096 (which would be
119 of 134 million parameters); they are padded, where the paper pads the image by 100 pixels; the default backbone has
batch normalisation, which also trains without ImageNet weights; all scales are trained at once. Deviations from FastFCN
(Wu et al. 2019, arXiv 1903.11816): JPU is applied to VGG16, with the top of the FCN head in place of the last stage,
and has 256 channels where the paper has 512.
"""

import torch
import torch.nn.functional as F
import torchvision.models as zoo
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from imagier.models.arguments import check_choice, check_minimum, check_probability
from imagier.models.weights import initialize, load_weights

BACKBONES = {"vgg16": zoo.VGG16_Weights, "vgg16_bn": zoo.VGG16_BN_Weights}
POOL3, POOL4, POOL5 = 256, 512, 512  # channels of VGG16 after its last three poolings
JPU_WIDTH = 256


class FCN8(nn.Module):
    """Map images, float [B, in_channels, H, W], H and W multiples of 32, to logits [B, num_classes, H, W].

    Args:
        in_channels: channels of the image.
        num_classes: channels of the logits.
        backbone: vgg16 or vgg16_bn.
        head_width: channels of the two convolutions that replace VGG16's dense layers.
        dropout: probability, in [0, 1), of dropping a channel after either of them.
        jpu: fuse the scales by joint pyramid upsampling instead of adding their scores.
        weights: None (Kaiming), "imagenet" for the backbone, or the path of a file for the network or the backbone.

    Raises:
        ConfigError: for an unknown backbone, an argument out of range, or weights that do not fit.
    """

    stride = 32

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        backbone: str = "vgg16_bn",
        head_width: int = 512,
        dropout: float = 0.5,
        jpu: bool = False,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        check_choice("backbone", backbone, BACKBONES)
        check_minimum("head_width", head_width)
        check_probability("dropout", dropout)
        # Not torchvision's whole VGG16, whose dense layers would be created only to be discarded.
        vgg = make_layers(cfgs["D"], batch_norm=backbone == "vgg16_bn")
        if in_channels != 3:
            vgg[0] = nn.Conv2d(in_channels, 64, 3, padding=1)
        self.backbone = nn.ModuleDict({"features": vgg})  # named as in torchvision, so that its files fit
        self.top = nn.Sequential(
            nn.Conv2d(POOL5, head_width, 7, padding=3),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout),
            nn.Conv2d(head_width, head_width, 1),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout),
        )
        self.fuse = JPU((POOL3, POOL4, head_width), num_classes) if jpu else Skips(head_width, num_classes)
        for part in (self.backbone, self.top, self.fuse):
            initialize(part)
        if isinstance(self.fuse, Skips):
            self.fuse.start_bilinear()
        load_weights(self, weights, parts=[self.backbone], imagenet=BACKBONES[backbone].IMAGENET1K_V1)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Return the logits."""
        pooled, features = [], image_BCHW
        for layer in self.backbone["features"].children():
            features = layer(features)
            if isinstance(layer, nn.MaxPool2d):
                pooled.append(features)
        logits = self.fuse(pooled[2], pooled[3], self.top(pooled[4]))
        return F.interpolate(logits, scale_factor=8, mode="bilinear", align_corners=False)


class Skips(nn.Module):
    """Add the scores of three scales, upsampling coarser ones by trained transposed convolutions: [B, K, H/8, W/8]."""

    def __init__(self, top_width: int, num_classes: int) -> None:
        super().__init__()
        self.score_top = nn.Conv2d(top_width, num_classes, 1)
        self.score_pool4 = nn.Conv2d(POOL4, num_classes, 1)
        self.score_pool3 = nn.Conv2d(POOL3, num_classes, 1)
        self.up_top = nn.ConvTranspose2d(num_classes, num_classes, 4, stride=2, padding=1, bias=False)
        self.up_pool4 = nn.ConvTranspose2d(num_classes, num_classes, 4, stride=2, padding=1, bias=False)

    def start_bilinear(self) -> None:
        """Initialise transposed convolutions to bilinear interpolation and both skips to zero, as in FCN."""
        slope = torch.tensor([0.25, 0.75, 0.75, 0.25])
        for layer in (self.up_top, self.up_pool4):
            nn.init.zeros_(layer.weight)
            with torch.no_grad():
                layer.weight.diagonal().copy_(torch.outer(slope, slope).unsqueeze(-1))
        for score in (self.score_pool4, self.score_pool3):
            nn.init.zeros_(score.weight)

    def forward(self, pool3: Tensor, pool4: Tensor, top: Tensor) -> Tensor:
        """Return the scores at 1/8 of the image's size."""
        scores = self.up_top(self.score_top(top)) + self.score_pool4(pool4)
        return self.up_pool4(scores) + self.score_pool3(pool3)


class JPU(nn.Module):
    """Upsample three scales to the finest, convolve with four dilations in parallel, and score: [B, K, H/8, W/8]."""

    def __init__(self, channels: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        joint = 3 * JPU_WIDTH
        self.lateral = nn.ModuleList(_conv(width, JPU_WIDTH, 3, padding=1) for width in channels)
        self.dilated = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(joint, joint, 3, padding=rate, dilation=rate, groups=joint, bias=False),
                nn.BatchNorm2d(joint),
                *_conv(joint, JPU_WIDTH, 1),
            )
            for rate in (1, 2, 4, 8)
        )
        self.score = nn.Conv2d(4 * JPU_WIDTH, num_classes, 1)

    def forward(self, pool3: Tensor, pool4: Tensor, top: Tensor) -> Tensor:
        """Return the scores at 1/8 of the image's size."""
        scales = [conv(features) for conv, features in zip(self.lateral, (pool3, pool4, top), strict=True)]
        size = pool3.shape[-2:]
        joint = torch.cat([F.interpolate(s, size=size, mode="bilinear", align_corners=False) for s in scales], dim=1)
        return self.score(torch.cat([branch(joint) for branch in self.dilated], dim=1))


def _conv(in_channels: int, out_channels: int, kernel: int, padding: int = 0) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding=padding, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
