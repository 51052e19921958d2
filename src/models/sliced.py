"""A learned codec for short training: it starts as a block DCT, and codes slices, each conditioned on those before.

    image -> analysis -> latents, in slices of ever higher frequencies
    latents -> hyper-analysis -> hyper-latents x gain, round -> range coder -> / gain -> hyper-synthesis -> side
    of each slice: side and the slices before it -> means and scales; x gain, - mean x gain, round -> range coder
    all slices + means x gain, / gain -> synthesis -> image

The transforms are those of `imagier.models.block_dct`. Slices are the channel-conditional model of Minnen and Singh
2020, arXiv 2007.08739: the low frequencies of a block and its neighbours predict the magnitude of the higher ones,
which advanced coders of JPEG coefficients exploit as well. Deviations: means and scales are predicted in units of the
typical magnitude of each frequency in photographs, so that all channels train at the same pace, and latent residuals
are not predicted.

As in `hyperprior`, the entropy coder depends on the scales alone, predictions run in exact arithmetic, and gains serve
several rates.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from imagier.errors import ConfigError
from imagier.models import entropy_models as entropy
from imagier.models.arguments import check_minimum
from imagier.models.block_dct import STEP, analysis, basis, synthesis
from imagier.models.coded import Coded, full_precision
from imagier.models.exact import run_exactly
from imagier.models.gains import Gains
from imagier.models.gdn import down, up
from imagier.models.hyperlatents import Stream, WithHyperlatents
from imagier.models.hyperprior import mean_and_scale
from imagier.models.range_coding import Decoder, Tables
from imagier.models.weights import load_weights

_UNIT = 0.75  # `mean_and_scale` maps this to a scale of 1

Symbols = Callable[[int, Tensor, np.ndarray], Tensor]


class Sliced(WithHyperlatents):
    """Code images, float [B, in_channels, H, W] of 0 to 1, at rates int64 [B].

    Args:
        in_channels: channels of the image.
        width: channels inside the transforms.
        latents: channels of the latents, of at most 256 for a block of a grey image and 768 for RGB.
        slices: number of slices; the first two have equal width, each further one is twice as wide as the one before.
        side: channels of the hyper-latents; the predictors have twice as many.
        lambdas: the supported trade-offs; see `Codec`.
        weights: None to train from scratch, or the path of a weights file.

    Raises:
        ConfigError: for an argument out of range or weights that do not fit.
    """

    stride = 64
    strength: Tensor

    def __init__(
        self,
        in_channels: int,
        width: int = 64,
        latents: int = 192,
        slices: int = 5,
        side: int = 64,
        lambdas: Sequence[float] = (0.0018, 0.0067, 0.025),
        weights: str | None = None,
    ) -> None:
        super().__init__(lambdas)
        for name, value in (("width", width), ("latents", latents), ("slices", slices), ("side", side)):
            check_minimum(name, value)
        if not slices <= latents <= in_channels * 256 or 2 ** (slices - 1) > latents:
            raise ConfigError(
                f"model.latents={latents} cannot be split into model.slices={slices}, each twice as wide as the last, "
                f"or exceeds the {in_channels * 256} values of a block; use fewer slices, or another model.latents."
            )
        self.channels = in_channels
        self.analysis = analysis(in_channels, width, latents)
        self.synthesis = synthesis(latents, width, in_channels)
        self.ends = (0, *(max(1, round(latents * 2.0 ** (k - slices + 1))) for k in range(slices)))
        first, last = nn.Conv2d(2 * latents, side, 3, padding=1), down(side, side)
        with torch.no_grad():  # initial hyper-latents of about one step, so that not all round to 0
            last.weight *= 4
        self.hyper_analysis = nn.Sequential(first, nn.LeakyReLU(), down(side, side), nn.LeakyReLU(), last)
        self.hyper_synthesis = nn.Sequential(up(side, side), nn.LeakyReLU(), up(side, 2 * side), nn.LeakyReLU())
        self.predictors = nn.ModuleList(
            _predictor(2 * side + 1 + 2 * start, 2 * side, end - start) for start, end in pairwise(self.ends)
        )
        self.hyper_density = entropy.FactorizedDensity(side)
        self.hyper_gains = Gains(side, self.lambdas)
        self.gains = Gains(latents, self.lambdas)
        _, strength_M = basis(in_channels, latents)
        self.register_buffer("strength", strength_M[:, None, None] / 2)
        load_weights(self, weights)

    def relaxed(self, image_BCHW: Tensor, rate_B: Tensor) -> Coded:
        """See `Codec`."""
        latent_BMhw = self.analysis(image_BCHW)
        with full_precision(image_BCHW):
            latent_BMhw = latent_BMhw.float()
            gain_BM11, hyper_gain_BN11 = self.gains(rate_B), self.hyper_gains(rate_B)
            hyper_BNhw = self._hyper(latent_BMhw)
            bits_B = self.hyper_density.bits(hyper_BNhw, hyper_gain_BN11)
            rounded_BNhw = entropy.round_through(hyper_BNhw * hyper_gain_BN11) / hyper_gain_BN11
            seen = [self._side(self.hyper_synthesis(rounded_BNhw), gain_BM11)]
            decoded: list[Tensor] = []
            for predictor, (start, end) in zip(self.predictors, pairwise(self.ends), strict=True):
                gain, strength = gain_BM11[:, start:end], self.strength[start:end]
                mean, scale = mean_and_scale(predictor(torch.cat(seen, 1)))
                deviation = (latent_BMhw[:, start:end] - mean * strength) * gain
                bits_B = bits_B + entropy.gaussian_bits(deviation, scale * strength * gain)
                decoded.append(entropy.round_through(deviation) / gain + mean * strength)
                seen.append(_both(decoded[-1] / strength))
        return Coded(self.synthesis(torch.cat(decoded, 1)), bits_B)

    def analyse(self, image_BCHW: Tensor, rate_B: Tensor) -> tuple[Tensor, ...]:
        """See `Codec`: latents and hyper-latents."""
        latent_BMhw = self.analysis(image_BCHW)
        return latent_BMhw * self.gains(rate_B), self._hyper(latent_BMhw) * self.hyper_gains(rate_B)

    @torch.no_grad()
    def read(self, data: bytes, height: int, width: int, rate: int) -> Tensor:
        """See `Codec`."""
        shape = (1, self.hyper_gains.gain.shape[1], height // self.stride, width // self.stride)
        decoder, tables = Decoder(data), self.tables()
        hyper = decoder.read(self.hyper_density.rows(np.array([rate]), shape), tables["hyper_latents"])

        def symbols(number: int, mean_Bmhw: Tensor, rows: np.ndarray) -> Tensor:
            return torch.from_numpy(decoder.read(rows, tables["latents"])).double()

        latent_1Mhw = self._slice_by_slice(hyper, self.at(rate), symbols)
        decoder.finish()
        return latent_1Mhw

    def quantized(self, analysed: Sequence[Tensor], rate_B: Tensor) -> tuple[list[Stream], Tensor]:
        """See `WithHyperlatents`."""
        latent_BMhw, hyper_BNhw = (map_BKhw.cpu() for map_BKhw in analysed)
        tables = self.tables()
        hyper = entropy.to_numpy(entropy.to_symbols(hyper_BNhw))
        streams = [(hyper, self.hyper_density.rows(entropy.to_numpy(rate_B), hyper.shape), tables["hyper_latents"])]

        def symbols(number: int, mean_Bmhw: Tensor, rows: np.ndarray) -> Tensor:
            here = slice(self.ends[number], self.ends[number + 1])
            deviation = (latent_BMhw[:, here] - mean_Bmhw.float()).numpy()
            worth_it = _worth_it(deviation, rows, tables["latents"], bits_BM11[:, here])
            streams.append((worth_it, rows, tables["latents"]))
            return torch.from_numpy(worth_it).double()

        bits_BM11 = self._bits_of_an_error(rate_B)
        return streams, self._slice_by_slice(hyper, rate_B, symbols)

    def _bits_of_an_error(self, rate_B: Tensor) -> np.ndarray:
        """Return the cost in bits of a squared error of one step in a latent: float32 [B, M, 1, 1]."""
        lambda_B111 = torch.tensor(self.lambdas)[rate_B.cpu()][:, None, None, None]
        grey_BM11 = 255 * STEP / self.gains(rate_B).detach().float().cpu()  # since the DCT preserves norms
        return (lambda_B111 * grey_BM11.square() / self.channels).numpy()

    def _slice_by_slice(self, hyper: np.ndarray, rate_B: Tensor, symbols: Symbols) -> Tensor:
        """Return the latents in steps, float32 on the CPU, identical on every machine.

        Args:
            hyper: the hyper-latents' symbols.
            rate_B: the rates of the images.
            symbols: returns a slice's symbols, given its number, its means in steps and the rows of its Gaussians.
        """
        gain_BM11, hyper_gain_BN11 = (gains(rate_B).double().cpu() for gains in (self.gains, self.hyper_gains))
        strength_M11 = self.strength.double().cpu()
        side = run_exactly(self.hyper_synthesis, torch.from_numpy(hyper).double() / hyper_gain_BN11)
        seen, latents = [self._side(side, gain_BM11)], []
        for number, (predictor, (start, end)) in enumerate(zip(self.predictors, pairwise(self.ends), strict=True)):
            steps = strength_M11[start:end] * gain_BM11[:, start:end]
            assert isinstance(predictor, nn.Sequential)
            mean, scale = (part * steps for part in mean_and_scale(run_exactly(predictor, torch.cat(seen, 1))))
            latents.append(symbols(number, mean, entropy.gaussian_rows(scale.numpy())) + mean)
            seen.append(_both(latents[-1] / steps))
        return torch.cat(latents, 1).float()

    def _hyper(self, latent_BMhw: Tensor) -> Tensor:
        return self.hyper_analysis(_both(latent_BMhw / self.strength))

    def _side(self, side_BShw: Tensor, gain_BM11: Tensor) -> Tensor:
        """Append the quantisation step to the hyper-synthesis' output: it tells which values were rounded to zero."""
        return torch.cat([side_BShw, (1 / gain_BM11[:, :1]).expand(-1, 1, *side_BShw.shape[2:])], 1)


def _worth_it(deviation: np.ndarray, rows: np.ndarray, tables: Tables, bits_of_an_error: np.ndarray) -> np.ndarray:
    """Round to int64, but to the next integer towards 0 if this saves more bits than the added error costs.

    This is rate-distortion optimised quantisation (Sullivan and Wiegand 1998, IEEE Signal Processing Magazine 15(6));
    the decoder does not depend on it.
    """
    near = entropy.to_numpy(entropy.to_symbols(torch.from_numpy(deviation)))
    nearer = near - np.sign(near)
    saved = tables.bits(near, rows) - tables.bits(nearer, rows)
    lost = (np.square(deviation - nearer) - np.square(deviation - near)) * bits_of_an_error
    return np.where(saved > lost, nearer, near)


def _both(x_BKhw: Tensor) -> Tensor:
    """Append absolute values: a large coefficient at one frequency, of either sign, predicts large ones at the next."""
    return torch.cat([x_BKhw, x_BKhw.abs()], 1)


def _predictor(in_channels: int, width: int, latents: int) -> nn.Sequential:
    last = nn.Conv2d(width, 2 * latents, 1)
    with torch.no_grad():
        last.weight *= 0.1
    last.bias = nn.Parameter(torch.cat([torch.zeros(latents), torch.full((latents,), _UNIT)]))
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, padding=1), nn.LeakyReLU(), nn.Conv2d(width, width, 1), nn.LeakyReLU(), last
    )
