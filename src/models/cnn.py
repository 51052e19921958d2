"""A small convolutional classifier of the kind taught with Fashion-MNIST.

    image -> [C(32) C(32) pool drop] -> [C(64) C(64) pool drop] -> flatten -> 128 -> ReLU drop -> logits

C is a padded 3x3 convolution with bias, ReLU, then batch normalisation, in this order. With 28x28 grey images and 10
classes there are 468,202 trainable parameters.
"""

from torch import Tensor, nn

from imagier.models.arguments import check_image_size, check_met_size, check_minimum, check_probability
from imagier.models.weights import initialize, load_weights


class CNN(nn.Module):
    """Map images, float [B, in_channels, H, W] of `image_size`, to logits [B, num_classes].

    Args:
        in_channels: channels of the image.
        num_classes: length of the logits.
        image_size: (H, W), at least 4x4.
        width: channels of the first pair of convolutions; the second pair has twice as many.
        hidden: units of the dense layer.
        dropout: probability, in [0, 1), of dropping a value after either pooling and after the dense layer.
        weights: None for Kaiming initialisation, or the path of a weights file.

    Raises:
        ConfigError: for an argument out of range, images without a common size, or weights that do not fit.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        image_size: tuple[int, int] | None,
        width: int = 32,
        hidden: int = 128,
        dropout: float = 0.2,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        check_minimum("width", width)
        check_minimum("hidden", hidden)
        check_probability("dropout", dropout)
        self.image_size = height, breadth = check_image_size("cnn", image_size, minimum=4)
        self.features = nn.Sequential(
            *_conv(in_channels, width),
            *_conv(width, width),
            nn.MaxPool2d(2),
            nn.Dropout(dropout),
            *_conv(width, 2 * width),
            *_conv(2 * width, 2 * width),
            nn.MaxPool2d(2),
            nn.Dropout(dropout),
        )
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(2 * width * (height // 4) * (breadth // 4), hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        initialize(self)
        load_weights(self, weights)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Return the logits."""
        check_met_size("cnn", (image_BCHW.shape[-2], image_BCHW.shape[-1]), self.image_size)
        return self.head(self.features(image_BCHW))


def _conv(in_channels: int, out_channels: int) -> list[nn.Module]:
    return [nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.ReLU(inplace=True), nn.BatchNorm2d(out_channels)]
