"""A learned codec with a mean and scale hyperprior: Minnen et al. 2018, arXiv 1809.02736, without its autoregression.

    image -> analysis -> latents -> hyper-analysis -> hyper-latents -> x gain, round -> range coder -> / gain
             latents x gain, - mean x gain, round -> range coder -> + mean x gain, / gain -> synthesis -> image
    where hyper-synthesis predicts each latent's mean and scale from the coded hyper-latents.

The entropy coder depends on the scales alone, since it codes differences from the mean. For coding, hyper-synthesis
runs in exact arithmetic and scales are rounded to the nearest in a fixed table, so that a file decodes on every
machine. Rounding in training is as in `factorized`.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from imagier.models import entropy_models as entropy
from imagier.models.arguments import check_minimum
from imagier.models.coded import Coded, full_precision
from imagier.models.exact import run_exactly
from imagier.models.gains import Gains
from imagier.models.gdn import analysis, down, synthesis, up
from imagier.models.hyperlatents import Stream, WithHyperlatents
from imagier.models.range_coding import Decoder
from imagier.models.weights import load_weights


class Hyperprior(WithHyperlatents):
    """Code images, float [B, in_channels, H, W] of 0 to 1, at rates int64 [B].

    Args:
        in_channels: channels of the image.
        width: channels inside the transforms and of the hyper-latents; N in the paper.
        latents: channels of the latents; M in the paper.
        lambdas: the supported trade-offs; see `Codec`.
        weights: None to train from scratch, or the path of a weights file.

    Raises:
        ConfigError: for an argument out of range or weights that do not fit.
    """

    stride = 64

    def __init__(
        self,
        in_channels: int,
        width: int = 64,
        latents: int = 96,
        lambdas: Sequence[float] = (0.0018, 0.0067, 0.025),
        weights: str | None = None,
    ) -> None:
        super().__init__(lambdas)
        check_minimum("width", width)
        check_minimum("latents", latents)
        self.analysis = analysis(in_channels, width, latents)
        self.synthesis = synthesis(latents, width, in_channels)
        between = latents * 3 // 2
        self.hyper_analysis = nn.Sequential(
            nn.Conv2d(latents, width, 3, padding=1),
            nn.LeakyReLU(),
            down(width, width),
            nn.LeakyReLU(),
            down(width, width),
        )
        self.hyper_synthesis = nn.Sequential(
            *(up(width, latents), nn.LeakyReLU(), up(latents, between), nn.LeakyReLU()),
            nn.Conv2d(between, 2 * latents, 3, padding=1),
        )
        self.hyper_density = entropy.FactorizedDensity(width)
        self.hyper_gains = Gains(width, self.lambdas)
        self.gains = Gains(latents, self.lambdas)
        load_weights(self, weights)

    def relaxed(self, image_BCHW: Tensor, rate_B: Tensor) -> Coded:
        """See `Codec`."""
        latent_BMhw = self.analysis(image_BCHW)
        with full_precision(image_BCHW):
            latent_BMhw = latent_BMhw.float()
            gain_BM11, hyper_gain_BN11 = self.gains(rate_B), self.hyper_gains(rate_B)
            hyper_BNhw = self.hyper_analysis(latent_BMhw)
            bits_B = self.hyper_density.bits(hyper_BNhw, hyper_gain_BN11)
            rounded_BNhw = entropy.round_through(hyper_BNhw * hyper_gain_BN11) / hyper_gain_BN11
            mean_BMhw, scale_BMhw = mean_and_scale(self.hyper_synthesis(rounded_BNhw))
            deviation_BMhw = (latent_BMhw - mean_BMhw) * gain_BM11
            bits_B = bits_B + entropy.gaussian_bits(deviation_BMhw, scale_BMhw * gain_BM11)
            decoded_BMhw = entropy.round_through(deviation_BMhw) / gain_BM11 + mean_BMhw
        return Coded(self.synthesis(decoded_BMhw), bits_B)

    def analyse(self, image_BCHW: Tensor, rate_B: Tensor) -> tuple[Tensor, ...]:
        """See `Codec`: latents and hyper-latents."""
        latent_BMhw = self.analysis(image_BCHW)
        return latent_BMhw * self.gains(rate_B), self.hyper_analysis(latent_BMhw) * self.hyper_gains(rate_B)

    @torch.no_grad()
    def read(self, data: bytes, height: int, width: int, rate: int) -> Tensor:
        """See `Codec`."""
        shape = (1, self.hyper_gains.gain.shape[1], height // self.stride, width // self.stride)
        decoder, tables = Decoder(data), self.tables()
        hyper = decoder.read(self.hyper_density.rows(np.array([rate]), shape), tables["hyper_latents"])
        mean_1Mhw, rows = self._predict(hyper, self.at(rate))
        symbols = decoder.read(rows, tables["latents"])
        decoder.finish()
        return torch.from_numpy(symbols).float() + mean_1Mhw

    def quantized(self, analysed: Sequence[Tensor], rate_B: Tensor) -> tuple[list[Stream], Tensor]:
        """See `WithHyperlatents`."""
        latent_BMhw, hyper_BNhw = (map_BKhw.cpu() for map_BKhw in analysed)
        tables = self.tables()
        hyper = entropy.to_numpy(entropy.to_symbols(hyper_BNhw))
        hyper_rows = self.hyper_density.rows(entropy.to_numpy(rate_B), hyper.shape)
        mean_BMhw, rows = self._predict(hyper, rate_B)
        symbol_BMhw = entropy.to_symbols(latent_BMhw - mean_BMhw)
        first = (hyper, hyper_rows, tables["hyper_latents"])
        second = (entropy.to_numpy(symbol_BMhw), rows, tables["latents"])
        return [first, second], symbol_BMhw + mean_BMhw

    def _predict(self, hyper: np.ndarray, rate_B: Tensor) -> tuple[Tensor, np.ndarray]:
        """Return the latents' means in steps, float32 on the CPU, and their Gaussians' rows; the same everywhere."""
        gain_BM11, hyper_gain_BN11 = (gains(rate_B).double().cpu() for gains in (self.gains, self.hyper_gains))
        hyper_BNhw = torch.from_numpy(hyper).double() / hyper_gain_BN11
        mean_BMhw, scale_BMhw = mean_and_scale(run_exactly(self.hyper_synthesis, hyper_BNhw))
        return (mean_BMhw * gain_BM11).float(), entropy.gaussian_rows((scale_BMhw * gain_BM11).numpy())


def mean_and_scale(predicted_B2Mhw: Tensor) -> tuple[Tensor, Tensor]:
    """Split into means and scales, made positive by (s + sqrt(s^2 + 1)) / 2, which is the same on every machine."""
    mean_BMhw, s_BMhw = predicted_B2Mhw.chunk(2, dim=1)
    return mean_BMhw, (s_BMhw + (s_BMhw.square() + 1).sqrt()) / 2
