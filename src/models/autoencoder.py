"""A convolutional autoencoder that reduces images to an eighth of their sides and reconstructs them.

    image -> [C(w) pool] -> [C(2w) pool] -> [C(4w) pool] -> [T(2w, 5x5) up] -> [T(w, 5x5) up] -> [T(image, 3x3) up]

C is a 3x3 convolution, T a transposed convolution that keeps the size, each padded, with bias and ReLU (the last T with
a sigmoid); pool is 2x2 max pooling, up nearest-neighbour upsampling by 2. Since `up` comes last, outputs consist of
blocks of 2x2 equal pixels. With width 32 and RGB the encoder has 93,248 parameters and the decoder 256,963.
"""

from torch import Tensor, nn

from imagier.models.arguments import check_minimum
from imagier.models.weights import initialize, load_weights


class Autoencoder(nn.Module):
    """Map images, float [B, in_channels, H, W] of about 0 to 1, to images of the same shape in (0, 1).

    H and W must be multiples of `stride`.

    Args:
        in_channels: channels of the image.
        width: channels of the first convolution; the next two double them, and the decoder halves them again.
        weights: None for Kaiming initialisation, or the path of a weights file.

    Raises:
        ConfigError: for an argument out of range or weights that do not fit.
    """

    stride = 8
    unit_range = True

    def __init__(self, in_channels: int, width: int = 32, weights: str | None = None) -> None:
        super().__init__()
        check_minimum("width", width)
        self.encoder = nn.Sequential(
            *_squeeze(in_channels, width), *_squeeze(width, 2 * width), *_squeeze(2 * width, 4 * width)
        )
        self.decoder = nn.Sequential(
            *_unfold(4 * width, 2 * width, 5, nn.ReLU(inplace=True)),
            *_unfold(2 * width, width, 5, nn.ReLU(inplace=True)),
            *_unfold(width, in_channels, 3, nn.Sigmoid()),
        )
        initialize(self)
        # For transposed convolutions, torch's fan_in counts output channels: from 32 channels to 3, weights three times
        # too large would saturate the sigmoid from the start.
        transposed = [layer for layer in self.decoder if isinstance(layer, nn.ConvTranspose2d)]
        for layer in transposed[:-1]:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        nn.init.kaiming_normal_(transposed[-1].weight, mode="fan_out", nonlinearity="sigmoid")
        load_weights(self, weights)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Return the reconstructed images."""
        return self.decoder(self.encoder(image_BCHW))


def _squeeze(in_channels: int, out_channels: int) -> list[nn.Module]:
    return [nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)]


def _unfold(in_channels: int, out_channels: int, kernel: int, activation: nn.Module) -> list[nn.Module]:
    transposed = nn.ConvTranspose2d(in_channels, out_channels, kernel, padding=kernel // 2)
    return [transposed, activation, nn.Upsample(scale_factor=2, mode="nearest")]
