"""A learned codec with a factorised prior: Ballé et al. 2018, arXiv 1802.01436, with gains for several rates.

    image -> analysis -> latents of a sixteenth of the sides -> x gain, round -> range coder -> / gain -> synthesis

In training, the synthesis gets rounded latents with a straight-through gradient, so that it is trained on what it will
decode; the rate uses uniform noise instead, since the cost of discrete symbols has no gradient (Minnen and Singh 2020,
arXiv 2007.08739).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from imagier.models.arguments import check_minimum
from imagier.models.coded import Codec, Coded, full_precision
from imagier.models.entropy_models import FactorizedDensity, round_through, to_numpy, to_symbols
from imagier.models.gains import Gains
from imagier.models.gdn import analysis, synthesis
from imagier.models.range_coding import Decoder, Encoder, Tables
from imagier.models.weights import load_weights


class Factorized(Codec):
    """Code images, float [B, in_channels, H, W] of 0 to 1, at rates int64 [B].

    Args:
        in_channels: channels of the image.
        width: channels inside the transforms; N in the paper.
        latents: channels that are coded; M in the paper.
        lambdas: the supported trade-offs; see `Codec`.
        weights: None to train from scratch, or the path of a weights file.

    Raises:
        ConfigError: for an argument out of range or weights that do not fit.
    """

    stride = 16

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
        self.density = FactorizedDensity(latents)
        self.gains = Gains(latents, self.lambdas)
        load_weights(self, weights)

    def relaxed(self, image_BCHW: Tensor, rate_B: Tensor) -> Coded:
        """See `Codec`."""
        latent_BMhw = self.analysis(image_BCHW)
        with full_precision(image_BCHW):
            latent_BMhw, gain_BM11 = latent_BMhw.float(), self.gains(rate_B)
            bits_B = self.density.bits(latent_BMhw, gain_BM11)
            rounded_BMhw = round_through(latent_BMhw * gain_BM11) / gain_BM11
        return Coded(self.synthesis(rounded_BMhw), bits_B)

    def measured(self, image_BCHW: Tensor, rate_B: Tensor) -> Coded:
        """See `Codec`."""
        symbol_BMhw = to_symbols(*self.analyse(image_BCHW, rate_B))
        symbols, rows = to_numpy(symbol_BMhw), self.density.rows(to_numpy(rate_B), symbol_BMhw.shape)
        bits = self.tables()["latents"].bits(symbols, rows).sum(axis=(1, 2, 3))
        return Coded(self.synthesise(symbol_BMhw, rate_B).to(image_BCHW), torch.from_numpy(bits).to(image_BCHW))

    def analyse(self, image_BCHW: Tensor, rate_B: Tensor) -> tuple[Tensor, ...]:
        """See `Codec`."""
        return (self.analysis(image_BCHW) * self.gains(rate_B),)

    def synthesis_at(self, rate_B: Tensor) -> tuple[nn.Sequential, Tensor]:
        """See `Codec`."""
        return self.synthesis, self.gains(rate_B)

    def write(self, analysed: Sequence[Tensor], rate: int) -> bytes:
        """See `Codec`."""
        (symbols,) = self.rounded(analysed, rate)
        encoder = Encoder()
        encoder.write(symbols, self.density.rows(np.array([rate]), symbols.shape), self.tables()["latents"])
        return encoder.data()

    def read(self, data: bytes, height: int, width: int, rate: int) -> Tensor:
        """See `Codec`."""
        shape = (1, self.gains.gain.shape[1], height // self.stride, width // self.stride)
        decoder = Decoder(data)
        symbols = decoder.read(self.density.rows(np.array([rate]), shape), self.tables()["latents"])
        decoder.finish()
        return torch.from_numpy(symbols).float()

    def rounded(self, analysed: Sequence[Tensor], rate: int) -> tuple[np.ndarray, ...]:
        """See `Codec`."""
        return (to_numpy(to_symbols(*analysed)),)

    def tables(self) -> dict[str, Tables]:
        """See `Codec`."""
        return {"latents": self.density.tables(self.gains.table())}

    def keep(self, tables: Mapping[str, Tables]) -> None:
        """See `Codec`."""
        self.density.keep(tables["latents"], self.gains.table())
