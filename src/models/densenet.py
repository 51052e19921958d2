"""DenseNet-121, after Huang et al. 2017, arXiv 1608.06993, as torchvision builds it, with small images in mind.

The net halves its input five times, so that of 32x32 pixels one is left. Two cures: `stem=small`, which halves only
three times, and `upsample`, which enlarges the image first and so keeps ImageNet's features at their own scale.
"""

import torch.nn.functional as F
import torchvision.models as zoo
from torch import Tensor, nn

from imagier.errors import ConfigError
from imagier.models.arguments import check_choice, check_image_size, check_minimum
from imagier.models.views import Mirrored
from imagier.models.weights import initialize, load_weights

SHORTEST = {"imagenet": 29, "small": 8}  # the side in pixels of which one pixel is left at the end


class DenseNet121(Mirrored):
    """Map images, float [B, in_channels, H, W], to logits [B, num_classes].

    Args:
        in_channels: channels of the image.
        num_classes: length of the logits.
        image_size: (H, W); needed for `upsample` alone.
        stem: "imagenet" (7x7 convolution of stride 2, pooling) or "small" (3x3 convolution of stride 1, no pooling).
        upsample: the length in pixels to which the image's shorter side is enlarged (bilinear); None for no change.
        freeze: train only the head of 1024 x num_classes; the rest keeps its weights and its batch statistics.
        mirror: in evaluation, answer with the mean of the logits of the image and of its mirror image.
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
        # Named as in torchvision, whose files then fit.
        self.features = zoo.densenet121(num_classes=1).features
        if stem == "small":
            self.features.conv0 = nn.Conv2d(in_channels, 64, 3, padding=1, bias=False)
            self.features.pool0 = nn.Identity()
        elif in_channels != 3:
            self.features.conv0 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        for number in (1, 2, 3):
            # Means of 2x2 and a 1x1 convolution commute; after the means, the convolution has a quarter of the work.
            transition = getattr(self.features, f"transition{number}")
            conv = transition.conv
            del transition.conv
            transition.conv = conv  # the last one now
        self.classifier = nn.Linear(self.features.norm5.num_features, num_classes)
        initialize(self)
        files = zoo.DenseNet121_Weights
        load_weights(self, weights, parts=[self.features], imagenet=files.IMAGENET1K_V1.url)
        self.features.requires_grad_(not freeze)
        self.train()  # a net is made in training, and Lightning leaves it as it was made

    def train(self, mode: bool = True) -> "DenseNet121":
        """Switch to training; a frozen part stays in evaluation, so that its batch statistics do not drift."""
        super().train(mode)
        if self.frozen:
            self.features.eval()
        return self

    def logits(self, image_BCHW: Tensor) -> Tensor:
        """Return those of the image as it is."""
        return self.head(self.embed(image_BCHW))

    def embed(self, image_BCHW: Tensor) -> Tensor:
        """Return the features before the head, [B, 1024]: all that can be frozen."""
        if self.enlargement is not None:
            size = [round(side * self.enlargement) for side in image_BCHW.shape[-2:]]
            image_BCHW = F.interpolate(image_BCHW, size, mode="bilinear", align_corners=False)
        return F.relu(self.features(image_BCHW), inplace=True).mean(dim=(-2, -1))

    def head(self, features_BF: Tensor) -> Tensor:
        """Map the frozen part's features to logits."""
        return self.classifier(features_BF)
