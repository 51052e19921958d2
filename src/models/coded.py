"""What every codec promises: a decoded picture and its price from `forward`, true bytes from `encode` and `decode`."""

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
    """A decoded picture and its price.

    image: float [B, C, H, W], about 0 to 1.
    bits:  float [B], what `encode` writes for each picture, in bits. In training an estimate with a gradient.
    """

    image: Tensor
    bits: Tensor


class Codec(nn.Module):
    """The base of the nets of task `compress`.

    A file is made by `analyse`, then `write`, and its picture by `read`, then `synthesise`. The first is a net, for
    which a graph may stand in: it may compute a little otherwise on another machine, and so make another file. The
    others are exact: a file's picture is the same on every machine, bit for bit.

    In training `forward` is a differentiable stand-in for coding. In evaluation it gives what the file gives: the
    picture is bit for bit that of `decode(encode(image))`, and the price is counted with the coder's own whole-numbered
    tables. Coding never runs under autocast: its numbers have to come out again.

    Args:
        lambdas: the trade-offs served, ascending and positive: what a squared error on the scale 0 to 255 costs, in
            bits per pixel. A rate is an index into them; 0 makes the smallest files.

    Raises:
        ConfigError: for other trade-offs.
    """

    unit_range = True
    stride: int
    _summed: tuple[list[Any], dict[str, Tensor], int] | None = None  # state, weights and fingerprint of last time

    def __init__(self, lambdas: Sequence[float]) -> None:
        super().__init__()
        self.lambdas = check_lambdas(lambdas)

    def forward(self, image_BCHW: Tensor, rate_B: Tensor) -> Coded:
        """Code pictures, float [B, C, H, W] of 0 to 1, H and W multiples of `stride`, each at its rate, int64 [B]."""
        if self.training:
            return self.relaxed(image_BCHW, rate_B)
        with torch.no_grad(), full_precision(image_BCHW):
            return self.measured(image_BCHW.float(), rate_B)

    def relaxed(self, image_BCHW: Tensor, rate_B: Tensor) -> Coded:
        """Return what training needs: everything has a gradient."""
        raise NotImplementedError

    def measured(self, image_BCHW: Tensor, rate_B: Tensor) -> Coded:
        """Return what coding would."""
        raise NotImplementedError

    @torch.no_grad()
    def encode(self, image_1CHW: Tensor, rate: int) -> bytes:
        """Return the bytes of one picture, float [1, C, H, W] as `forward` takes it."""
        with full_precision(image_1CHW):
            return self.write(self.analyse(image_1CHW.float(), self.at(rate)), rate)

    @torch.no_grad()
    def decode(self, data: bytes, height: int, width: int, rate: int) -> Tensor:
        """Return the picture, as `synthesise` does, of bytes that `encode` wrote at this size and rate.

        Raises:
            DataError: where they cannot be such bytes.
        """
        return self.synthesise(self.read(data, height, width, rate), self.at(rate))

    def analyse(self, image_BCHW: Tensor, rate_B: Tensor) -> tuple[Tensor, ...]:
        """Return the latents, float [B, M, h, w], and whatever else is coded, all in steps of quantisation."""
        raise NotImplementedError

    @torch.no_grad()
    def synthesise(self, latent_BMhw: Tensor, rate_B: Tensor) -> Tensor:
        """Return the pictures of latents as `read` returns them, the same on every machine, at any number of threads.

        Returns:
            float32 [B, C, H, W] of about 0 to 1, in memory, wherever the weights are.
        """
        layers, gain = self.synthesis_at(rate_B)
        return run_exactly(layers, latent_BMhw.double().cpu() / gain.double().cpu()).float()

    def synthesis_at(self, rate_B: Tensor) -> tuple[nn.Sequential, Tensor]:
        """Return the layers that make pictures, and what latents are divided by before, float32 [B or 1, M or 1, 1, 1].

        A graph computes them in floats, `layers(latent_BMhw / gain)`, and comes near what `synthesise` gives.
        """
        raise NotImplementedError

    def write(self, analysed: Sequence[Tensor], rate: int) -> bytes:
        """Round one picture's latents, as `analyse` returns them, and return their bytes."""
        raise NotImplementedError

    def read(self, data: bytes, height: int, width: int, rate: int) -> Tensor:
        """Return the latents, float32 [1, M, h, w] in steps, of bytes that `write` made; the same on every machine.

        Raises:
            DataError: where they cannot be such bytes.
        """
        raise NotImplementedError

    def rounded(self, analysed: Sequence[Tensor], rate: int) -> tuple[np.ndarray, ...]:
        """Return the whole numbers, int64, that `write` codes for one picture, in order."""
        raise NotImplementedError

    def at(self, rate: int) -> Tensor:
        """Return one picture's rate as `forward` takes it: int64 [1], beside the weights."""
        return torch.tensor([rate], device=next(self.parameters()).device)

    def tables(self) -> dict[str, Tables]:
        """Return the tables that steer the coder, by name, as weights have them; both ends must have the same."""
        return {}

    def keep(self, tables: Mapping[str, Tables]) -> None:
        """Code with these, as long as the weights stay: logarithms may come out otherwise on another machine.

        Raises:
            KeyError: one of `tables()` is not among them.
        """

    def fingerprint(self) -> int:
        """Return 32 bits that tell apart nets which cannot read one another's files: of the weights and the tables."""
        check = 0
        for tables in self.tables().values():
            check = zlib.crc32(tables.tobytes(), check)
        tensors = dict(sorted(self.state_dict().items()))
        # Not through all weights for every file. Tensors count their changes, and those that are held here leave their
        # place in memory to no others.
        state = [check, *((tensor.data_ptr(), tensor._version) for tensor in tensors.values())]
        if self._summed is None or self._summed[0] != state:
            for name, tensor in tensors.items():
                numbers = tensor.float().cpu().contiguous().numpy()
                check = zlib.crc32(numbers.tobytes(), zlib.crc32(name.encode(), check))
            self._summed = state, tensors, check
        return self._summed[2]


def check_lambdas(lambdas: Sequence[float]) -> tuple[float, ...]:
    """Return the trade-offs as a tuple. Raises ConfigError unless they are positive and ascending."""
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
    """Return the picture as it is stored, uint8, of float of about 0 to 1."""
    return (image_BCHW.float() * 255).round().clamp(0, 255).to(torch.uint8)
