"""DenseNet-121, after Huang et al. 2017, arXiv 1608.06993, as torchvision builds it, with small images in mind.

The network halves its input five times, which reduces 32x32 pixels to a single one. There are two remedies:
`stem=small`, which halves only three times, and `upsample`, which enlarges the image first and so keeps ImageNet's
features at their original scale.
"""

import torch.nn.functional as F
import torchvision.models as zoo
from torch import Tensor, nn

from imagier.errors import ConfigError
from imagier.models.arguments import check_choice, check_image_size, check_minimum
from imagier.models.views import Mirrored
from imagier.models.weights import initialize, load_weights

SHORTEST = {"imagenet": 29, "small": 8}  # shortest side in pixels that leaves at least one at the end


class DenseNet121(Mirrored):
    """Map images, float [B, in_channels, H, W], to logits [B, num_classes].

    Args:
        in_channels: channels of the image.
        num_classes: length of the logits.
        image_size: (H, W), or None if images differ in size; required by `upsample`.
        stem: "imagenet" (7x7 convolution of stride 2, pooling) or "small" (3x3 convolution of stride 1, no pooling).
        upsample: length in pixels to which the shorter side of `image_size` is enlarged (bilinear); None for no change.
            Images of another size are enlarged by the same factor.
        freeze: train only the head of 1024 x num_classes; the rest keeps its weights and its batch statistics.
        mirror: in evaluation, average the logits over the image and its mirror image.
        weights: None (Kaiming), "imagenet" for all but the head, or the path of a file.

    Raises:
        ConfigError: for an argument out of range or weights that do not fit.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        image_size: tuple[int, int] | None = None,
        stem: str = "imagenet",
        upsample: int | None = None,
        freeze: bool = False,
        mirror: bool = False,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.mirror = mirror
        check_choice("stem", stem, ("imagenet", "small"))
        if freeze and weights == "imagenet" and stem == "small":
            raise ConfigError(
                "densenet with model.stem=small and model.freeze=true would keep its first convolution at random "
                "values, as the pretrained one is 7 x 7. Set model.stem=imagenet, or model.freeze=false."
            )
        self.frozen = freeze
        self.enlargement = None
        if upsample is not None:
            short = min(check_image_size("densenet with upsample", image_size))
            check_minimum("upsample", upsample, minimum=max(short, SHORTEST[stem]))
            self.enlargement = upsample / short
        elif image_size is not None and min(image_size) < SHORTEST[stem]:
            raise ConfigError(
                f"densenet with model.stem={stem} got images of {image_size[0]}x{image_size[1]} pixels but needs at "
                f"least {SHORTEST[stem]} on each side: enlarge them with model.upsample=32, or set model.stem=small."
            )
        # Named as in torchvision, so that its weights files fit.
        self.features = zoo.densenet121(num_classes=1).features
        if stem == "small":
            self.features.conv0 = nn.Conv2d(in_channels, 64, 3, padding=1, bias=False)
            self.features.pool0 = nn.Identity()
        elif in_channels != 3:
            self.features.conv0 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        for number in (1, 2, 3):
            # A 1x1 convolution commutes with average pooling; after the pooling it costs a quarter.
            transition = getattr(self.features, f"transition{number}")
            conv = transition.conv
            del transition.conv
            transition.conv = conv  # now after the pooling
        self.classifier = nn.Linear(self.features.norm5.num_features, num_classes)
        initialize(self)
        files = zoo.DenseNet121_Weights
        load_weights(self, weights, parts=[self.features], imagenet=files.IMAGENET1K_V1)
        self.features.requires_grad_(not freeze)
        self.train()  # apply `train` below to the new network: Lightning keeps the mode that it finds

    def train(self, mode: bool = True) -> "DenseNet121":
        """Set the mode as usual, but keep a frozen part in evaluation, so that its batch statistics do not drift."""
        super().train(mode)
        if self.frozen:
            self.features.eval()
        return self

    def logits(self, image_BCHW: Tensor) -> Tensor:
        """Return the logits of the image itself."""
        return self.head(self.embed(image_BCHW))

    def embed(self, image_BCHW: Tensor) -> Tensor:
        """Return the features before the head, [B, 1024], computed by the part that can be frozen."""
        if self.enlargement is not None:
            size = [round(side * self.enlargement) for side in image_BCHW.shape[-2:]]
            image_BCHW = F.interpolate(image_BCHW, size, mode="bilinear", align_corners=False)
        return F.relu(self.features(image_BCHW), inplace=True).mean(dim=(-2, -1))

    def head(self, features_BF: Tensor) -> Tensor:
        """Map the features of `embed` to logits."""
        return self.classifier(features_BF)
