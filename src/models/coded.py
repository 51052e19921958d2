"""The interface of codecs: `forward` returns decoded images and their cost, `encode` and `decode` use real bytes."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from imagier.errors import ConfigError
from imagier.models.exact import run_exactly
from imagier.models.range_coding import Tables


@dataclass(frozen=True)
class Coded:
    """Decoded images and their cost.

    image: float [B, C, H, W], about 0 to 1.
    bits:  float [B], the cost of each image in bits: in evaluation by the entropy coder's tables, which `encode`
           comes close to; in training a differentiable estimate.
    """

    image: Tensor
    bits: Tensor


class Codec(nn.Module):
    """Base class of the networks of task `compress`.

    Encoding runs `analyse`, then `write`; decoding runs `read`, then `synthesise`. `analyse` is an ordinary network,
    which an exported graph may replace: rounding errors may differ between machines, and so may the files. The other
    steps are exact: a file decodes to the same pixels on every machine, bit for bit.

    In training, `forward` is a differentiable approximation of coding. In evaluation, its images are bit for bit those
    of `decode(encode(image))`, and the cost is computed from the entropy coder's integer tables. Coding never runs
    under autocast, since the decoder must reproduce the encoder's numbers.

    Args:
        lambdas: the supported trade-offs, ascending and positive: the weight of the mean squared error, on the scale 0
            to 255, against bits per pixel. A rate is an index into them; 0 makes the smallest files.

    Raises:
        ConfigError: if they are not finite, positive and ascending.
    """

    unit_range = True
    stride: int
    _summed: tuple[list[Any], dict[str, Tensor], int] | None = None  # key, tensors and value of the last fingerprint

    def __init__(self, lambdas: Sequence[float]) -> None:
        super().__init__()
        self.lambdas = check_lambdas(lambdas)

    def forward(self, image_BCHW: Tensor, rate_B: Tensor) -> Coded:
        """Code images, float [B, C, H, W] of 0 to 1, H and W multiples of `stride`, each at its rate, int64 [B]."""
        if self.training:
            return self.relaxed(image_BCHW, rate_B)
        with torch.no_grad(), full_precision(image_BCHW):
            return self.measured(image_BCHW.float(), rate_B)

    def relaxed(self, image_BCHW: Tensor, rate_B: Tensor) -> Coded:
        """Return the differentiable approximation that training uses."""
        raise NotImplementedError

    def measured(self, image_BCHW: Tensor, rate_B: Tensor) -> Coded:
        """Return the images that decoding would give, and their cost by the coder's tables."""
        raise NotImplementedError

    @torch.no_grad()
    def encode(self, image_1CHW: Tensor, rate: int) -> bytes:
        """Return the bytes of one image, float [1, C, H, W] as `forward` takes it."""
        with full_precision(image_1CHW):
            return self.write(self.analyse(image_1CHW.float(), self.at(rate)), rate)

    @torch.no_grad()
    def decode(self, data: bytes, height: int, width: int, rate: int) -> Tensor:
        """Return the image, as `synthesise` does, of bytes that `encode` wrote at this size and rate.

        Raises:
            DataError: if `encode` cannot have written these bytes.
        """
        return self.synthesise(self.read(data, height, width, rate), self.at(rate))

    def analyse(self, image_BCHW: Tensor, rate_B: Tensor) -> tuple[Tensor, ...]:
        """Return the latents, float [B, M, h, w], and whatever else is coded, all in quantisation steps."""
        raise NotImplementedError

    @torch.no_grad()
    def synthesise(self, latent_BMhw: Tensor, rate_B: Tensor) -> Tensor:
        """Reconstruct images from latents as `read` returns them, identically on every machine, with any thread count.

        Returns:
            float32 [B, C, H, W] of about 0 to 1, always on the CPU.
        """
        layers, gain = self.synthesis_at(rate_B)
        return run_exactly(layers, latent_BMhw.double().cpu() / gain.double().cpu()).float()

    def synthesis_at(self, rate_B: Tensor) -> tuple[nn.Sequential, Tensor]:
        """Return the synthesis layers and the gain that latents are divided by first, float32 [B or 1, M or 1, 1, 1].

        An exported graph computes `layers(latent_BMhw / gain)` in floating point, which approximates `synthesise`.
        """
        raise NotImplementedError

    def write(self, analysed: Sequence[Tensor], rate: int) -> bytes:
        """Quantise one image's latents, as `analyse` returns them, and return their bytes."""
        raise NotImplementedError

    def read(self, data: bytes, height: int, width: int, rate: int) -> Tensor:
        """Return the latents, float32 [1, M, h, w] in steps, of bytes from `write`; identical on every machine.

        Raises:
            DataError: if `write` cannot have written these bytes.
        """
        raise NotImplementedError

    def rounded(self, analysed: Sequence[Tensor], rate: int) -> tuple[np.ndarray, ...]:
        """Return the integers, int64, that `write` codes for one image, in order."""
        raise NotImplementedError

    def at(self, rate: int) -> Tensor:
        """Return one image's rate as `forward` takes it: int64 [1], on the device of the weights."""
        return torch.tensor([rate], device=next(self.parameters()).device)

    def tables(self) -> dict[str, Tables]:
        """Return the entropy coder's tables by name, derived from the weights; encoder and decoder need equal ones."""
        return {}

    def keep(self, tables: Mapping[str, Tables]) -> None:
        """Use these tables as long as the weights do not change: rebuilt on another machine, they might differ.

        Raises:
            KeyError: if one of `tables()` is missing.
        """

    def fingerprint(self) -> int:
        """Return a CRC-32 of weights and tables; networks that differ in it cannot read each other's files."""
        check = 0
        for tables in self.tables().values():
            check = zlib.crc32(tables.tobytes(), check)
        tensors = dict(sorted(self.state_dict().items()))
        # Cached, so as not to read all weights for every file. A tensor's version counts its in-place changes, and the
        # reference kept here prevents its address from being reused.
        state = [check, *((tensor.data_ptr(), tensor._version) for tensor in tensors.values())]
        if self._summed is None or self._summed[0] != state:
            for name, tensor in tensors.items():
                numbers = tensor.float().cpu().contiguous().numpy()
                check = zlib.crc32(numbers.tobytes(), zlib.crc32(name.encode(), check))
            self._summed = state, tensors, check
        return self._summed[2]


def check_lambdas(lambdas: Sequence[float]) -> tuple[float, ...]:
    """Return the trade-offs as a tuple. Raises ConfigError unless they are finite, positive and ascending."""
    try:
        values = tuple(float(value) for value in lambdas)
    except (TypeError, ValueError):
        values = ()
    if not values or values[0] <= 0 or list(values) != sorted(set(values)) or values[-1] == float("inf"):
        raise ConfigError(
            f"model.lambdas={lambdas} is invalid: give positive numbers in ascending order, such as "
            "[0.0018,0.0067,0.025], or a single one, [0.01]."
        )
    return values


def full_precision(tensor: Tensor) -> torch.autocast:
    """Return a context in which autocast is off on the tensor's device."""
    return torch.autocast(tensor.device.type, enabled=False)


def to_pixels(image_BCHW: Tensor) -> Tensor:
    """Convert images from float of about 0 to 1 to uint8."""
    return (image_BCHW.float() * 255).round().clamp(0, 255).to(torch.uint8)
