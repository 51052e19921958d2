"""Common parts of codecs with a hyperprior: streams of hyper-latents and latents, and the tables that code them."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from imagier.models import entropy_models as entropy
from imagier.models.coded import Codec, Coded
from imagier.models.gains import Gains
from imagier.models.range_coding import Encoder, Tables

Stream = tuple[np.ndarray, np.ndarray, Tables]  # symbols, their rows, the tables


class WithHyperlatents(Codec):
    """A codec that codes hyper-latents under learned densities, and latents under Gaussians predicted from them.

    A subclass creates `synthesis`, `gains`, `hyper_gains` and `hyper_density`, and implements `quantized`.
    """

    synthesis: nn.Sequential
    gains: Gains
    hyper_gains: Gains
    hyper_density: entropy.FactorizedDensity
    _gaussians: Tables | None = None

    def quantized(self, analysed: Sequence[Tensor], rate_B: Tensor) -> tuple[list[Stream], Tensor]:
        """Return the coded streams, in order, and the latents decoded from them, float32 on the CPU, in steps."""
        raise NotImplementedError

    def measured(self, image_BCHW: Tensor, rate_B: Tensor) -> Coded:
        """See `Codec`."""
        streams, latent_BMhw = self.quantized(self.analyse(image_BCHW, rate_B), rate_B)
        bits = sum(tables.bits(symbols, rows).sum(axis=(1, 2, 3)) for symbols, rows, tables in streams)
        return Coded(self.synthesise(latent_BMhw, rate_B).to(image_BCHW), torch.as_tensor(bits).to(image_BCHW))

    def synthesis_at(self, rate_B: Tensor) -> tuple[nn.Sequential, Tensor]:
        """See `Codec`."""
        return self.synthesis, self.gains(rate_B)

    @torch.no_grad()
    def write(self, analysed: Sequence[Tensor], rate: int) -> bytes:
        """See `Codec`."""
        encoder = Encoder()
        for symbols, rows, tables in self.quantized(analysed, self.at(rate))[0]:
            encoder.write(symbols, rows, tables)
        return encoder.data()

    @torch.no_grad()
    def rounded(self, analysed: Sequence[Tensor], rate: int) -> tuple[np.ndarray, ...]:
        """See `Codec`."""
        return tuple(symbols for symbols, _, _ in self.quantized(analysed, self.at(rate))[0])

    def tables(self) -> dict[str, Tables]:
        """See `Codec`."""
        hyper = self.hyper_density.tables(self.hyper_gains.table())
        return {"hyper_latents": hyper, "latents": self._gaussians or entropy.gaussian_tables()}

    def keep(self, tables: Mapping[str, Tables]) -> None:
        """See `Codec`."""
        self._gaussians = tables["latents"]
        self.hyper_density.keep(tables["hyper_latents"], self.hyper_gains.table())
