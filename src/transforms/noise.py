"""Gaussian noise on a batch of images, as a pure function of one seed per sample."""

from collections.abc import Sequence

import torch
from torch import Tensor

from imagier.errors import ConfigError
from imagier.randomness import derive_seed
from imagier.sending import sent


class GaussianNoise:
    """Adds white Gaussian noise to images, with its own standard deviation (sigma) for each image.

    A seed determines the noise and, unless a level is given, its sigma. With the same seed, the noise at two levels
    differs only in scale.

    Args:
        sigma: on the scale of pixel values 0 to 255: a number, or [low, high] for sigmas drawn uniformly in between.
        clip: clamp noisy values to 0 to 255, as a camera does; otherwise they may leave the range.

    Raises:
        ConfigError: unless 0 <= low <= high and high > 0.
    """

    def __init__(self, sigma: float | Sequence[float], clip: bool = False) -> None:
        try:
            low, high = (float(end) for end in ([sigma, sigma] if isinstance(sigma, int | float) else sigma))
        except (TypeError, ValueError):
            low = high = float("nan")
        if not 0 <= low <= high < float("inf") or high == 0:
            raise ConfigError(
                f"noise.sigma={sigma} is not a standard deviation: give a number above 0 on the scale of pixel values "
                "0 to 255, such as 25, or a range, such as [0,55]."
            )
        self.low, self.high, self.clip = low, high, clip

    def __call__(
        self,
        image_BCHW: Tensor,
        seeds: Sequence[int],
        *,
        level: float | None = None,
        draw_on: torch.device | str | None = None,
    ) -> Tensor:
        """Return the noisy images, float32 [B, C, H, W] on the scale 0 to 255.

        Args:
            image_BCHW: uint8.
            seeds: one per sample; its noise does not depend on the other samples.
            level: sigma of all samples, or None to draw each.
            draw_on: device that generates the noise, by default the images'. Different kinds of devices generate
                different noise from the same seed; with "cpu" it is the same on every machine.
        """
        device = torch.device(image_BCHW.device if draw_on is None else draw_on)
        generator = torch.Generator(device)
        fields = [
            torch.randn(image_BCHW.shape[1:], generator=generator.manual_seed(seed), device=device, dtype=torch.float32)
            for seed in seeds
        ]
        sigmas = [self.sigma(seed) if level is None else level for seed in seeds]
        sigma_B111 = sent(sigmas, device, torch.float32).view(-1, 1, 1, 1)
        noisy_BCHW = image_BCHW + (sigma_B111 * torch.stack(fields)).to(image_BCHW.device)
        return noisy_BCHW.clamp(0, 255) if self.clip else noisy_BCHW

    def sigma(self, seed: int) -> float:
        """Return the sigma drawn for `seed`."""
        return self.low + (self.high - self.low) * (derive_seed("sigma", seed) / 2**63)
