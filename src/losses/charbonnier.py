"""Charbonnier loss: the absolute error, smoothed at 0, after Charbonnier et al. 1994."""

from torch import Tensor, nn

from imagier.errors import ConfigError


class Charbonnier(nn.Module):
    """Mean of sqrt((x - y)^2 + epsilon^2): quadratic for errors below epsilon, linear above.

    Args:
        epsilon: above 0, on the scale of images from 0 to 1.

    Raises:
        ConfigError: for an argument out of range.
    """

    def __init__(self, epsilon: float = 1e-3) -> None:
        super().__init__()
        if epsilon <= 0:
            raise ConfigError(f"loss.epsilon={epsilon} is out of range: it must be above 0, typically 0.001.")
        self.epsilon = epsilon

    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the loss, float32, of images against target images of the same shape, float of 0 to 1."""
        difference = outputs.float() - target.float()
        return (difference.square() + self.epsilon**2).sqrt().mean()
