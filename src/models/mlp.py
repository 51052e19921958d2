"""A plain multilayer perceptron on the flattened image: the baseline that any convolution should beat."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from imagier.errors import ConfigError
from imagier.models.arguments import check_image_size, check_met_size, check_minimum, check_probability
from imagier.models.weights import initialize, load_weights


class MLP(nn.Module):
    """Map images, float [B, in_channels, H, W] of `image_size`, to logits [B, num_classes].

    Args:
        in_channels: channels of the image.
        num_classes: length of the logits.
        image_size: (H, W).
        hidden: units of each hidden layer, followed by ReLU and dropout; none gives a linear classifier.
        dropout: probability, in [0, 1), of dropping a hidden unit.
        weights: None for Kaiming initialisation, or the path of a weights file.

    Raises:
        ConfigError: for an argument out of range, images without a common size, or weights that do not fit.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        image_size: tuple[int, int] | None,
        hidden: Sequence[int] = (512, 256),
        dropout: float = 0.2,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if isinstance(hidden, int | str):
            raise ConfigError(f"model.hidden={hidden} is not a list: give the units of each layer, as in [512,256].")
        for units in hidden:
            check_minimum("hidden", units)
        check_probability("dropout", dropout)
        self.image_size = height, width = check_image_size("mlp", image_size)
        layers: list[nn.Module] = [nn.Flatten()]
        sizes = [in_channels * height * width, *hidden]
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU(inplace=True), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], num_classes))
        initialize(self)
        load_weights(self, weights)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Return the logits."""
        check_met_size("mlp", (image_BCHW.shape[-2], image_BCHW.shape[-1]), self.image_size)
        return self.layers(image_BCHW)
