"""From stored images to network inputs: the first layer of every network.

Normalisation and padding are part of the module that is trained, saved, exported and served, so that these always
agree.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import SymInt, Tensor, nn

from imagier.errors import ConfigError
from imagier.models.coded import Coded

_ANSWERS = (Tensor, tuple, Coded)
_STRIDES = (2, 4, 8, 16, 32, 64)


class FromPixels(nn.Module):
    """Make `net` accept images as they are stored: uint8 [B, C, H, W] of 0 to 255, of any H and W for dense networks.

    Pixels become (x / 255 - mean) / std in the dtype of the parameters. A network with an attribute `stride` is dense:
    its input is padded on the right and at the bottom, by repeating the last column and row, to a multiple of the
    stride (at least twice the stride), and its output is cropped back to H x W: every element if a network in training
    returns a tuple, and only the image if a codec returns `Coded`. A network with `unit_range = True` gets x / 255,
    without normalisation, the scale of the images that it returns. A network with `learnt_by`, the mean and deviation
    that its weights were pretrained with, is normalised by these if they have as many channels as the data.

    Args:
        net: the network, which takes float [B, C, H, W].
        mean: per channel, of image / 255.
        std: per channel, of image / 255; positive.
        channels_last: keep images and kernels in channels_last memory format, in which most convolutions are faster.

    Raises:
        ConfigError: if `mean` and `std` differ in length or a deviation is not positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, net: nn.Module, mean: Sequence[float], std: Sequence[float], *, channels_last: bool = False
    ) -> None:
        super().__init__()
        if len(mean) != len(std) or min(std) <= 0:
            raise ConfigError(
                f"mean={list(mean)} and std={list(std)} cannot normalise an image: give one number per channel in "
                "each, and std above 0."
            )
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.net = net.to(memory_format=torch.channels_last) if channels_last else net
        self.stride: int | None = getattr(net, "stride", None)
        learnt_by = getattr(net, "learnt_by", None)
        if learnt_by is not None and len(learnt_by[0]) == len(mean):
            mean, std = learnt_by
        if getattr(net, "unit_range", False):
            mean, std = [0.0] * len(mean), [1.0] * len(std)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, image_BCHW: Tensor, *given: Tensor) -> Tensor | tuple[Tensor, ...] | Coded:
        """Return the network's output for the images.

        Args:
            image_BCHW: uint8 of 0 to 255, or float on the same scale, which noise may exceed.
            given: further inputs of the network, passed on.

        Returns:
            Logits [B, K, H, W] or images [B, C, H, W] from a dense network, logits [B, K] from a classifier, a tuple
            of logits from a network with auxiliary outputs, `Coded` from a codec.

        Raises:
            ConfigError: if the network returns anything else, such as a dictionary.
        """
        height, width = image_BCHW.shape[-2:]
        output = self.net(self.normalized(image_BCHW), *given)
        if not isinstance(output, _ANSWERS):
            raise ConfigError(
                f"{type(self.net).__name__} returns a {type(output).__name__}; a network must return its logits as a "
                "tensor, or, while training, optionally a tuple (logits, *auxiliary logits). Select them in its "
                'forward, for instance by ["out"].'
            )
        if self.stride is None:
            return output
        if isinstance(output, Coded):
            return replace(output, image=crop(output.image, height, width))
        if isinstance(output, tuple):
            return tuple(crop(logits_BKHW, height, width) for logits_BKHW in output)
        return crop(output, height, width) if output.ndim == 4 else output  # a classifier may have a stride as well

    @property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation per channel of image / 255 that the input is normalised with, to six decimal places."""
        mean, std = (tuple(round(value, 6) for value in buffer.flatten().tolist()) for buffer in (self.mean, self.std))
        return mean, std

    @property
    def frozen(self) -> bool:
        """Whether all but the head is frozen; the network then has `embed` and `head`, which `forward` composes."""
        return bool(getattr(self.net, "frozen", False))

    def embed(self, image_BCHW: Tensor) -> Tensor:
        """Return the features, [B, F], that the frozen part of the network computes from images, uint8."""
        embedded: Tensor = cast(Any, self.net).embed(self.normalized(image_BCHW))
        return embedded

    def head(self, features_BF: Tensor) -> Tensor:
        """Return the logits, [B, K], of features from `embed`, in any floating dtype."""
        logits: Tensor = cast(Any, self.net).head(features_BF.to(self.mean.dtype))
        return logits

    def normalized(self, image_BCHW: Tensor) -> Tensor:
        """Return the inner network's input for images as `forward` takes them: padded and normalised float."""
        if self.stride is not None:
            image_BCHW = extend(image_BCHW, self.stride)
        # The buffers follow the network's parameters through .to() and .half().
        image_BCHW = image_BCHW.to(self.mean.dtype, memory_format=self.memory_format)
        return (image_BCHW / 255 - self.mean) / self.std


def extended(size: int | SymInt, stride: int) -> int | SymInt:
    """Return the height or width after `extend`; it may be symbolic while a graph is exported."""
    return torch.sym_max((size + stride - 1) // stride, 2) * stride


def extend(image_BCHW: Tensor, stride: int) -> Tensor:
    """Repeat the last row and column until height and width are multiples of `stride`, and at least twice the stride.

    Twice, because batch normalisation cannot compute a variance over a coarsest feature map of a single pixel.
    """
    # Unlike padding, indexing supports uint8, and exports for all sizes at once.
    for axis in (-2, -1):
        size = image_BCHW.shape[axis]
        index = torch.arange(extended(size, stride), device=image_BCHW.device)
        image_BCHW = image_BCHW.index_select(axis, index.clamp(max=size - 1))
    return image_BCHW


def crop(logits_BKHW: Tensor, height: int, width: int) -> Tensor:
    """Keep the first `height` rows and `width` columns."""
    if not torch.compiler.is_exporting():
        return logits_BKHW[..., :height, :width]
    # For a slice, the exporter would have to prove that the padded image is larger, which it cannot for all sizes.
    for axis, size in ((-2, height), (-1, width)):
        logits_BKHW = logits_BKHW.index_select(axis, torch.arange(size, device=logits_BKHW.device))
    return logits_BKHW


@torch.no_grad()
def refuse_misshapen(net: FromPixels, image_BCHW: Tensor) -> None:
    """Diagnose a dense network's output size or stride, after an error, by running the network again.

    Args:
        net: the network, on the device of the images.
        image_BCHW: images as `FromPixels` takes them.

    Raises:
        ConfigError: if the outputs differ in size from the images, or the network would run with another stride.
    """
    name, (height, width) = type(net.net).__name__, image_BCHW.shape[-2:]
    shape = _shape_of_answers(net, image_BCHW, net.stride)
    if shape is not None and len(shape) == 4 and shape[-2:] != (height, width):
        raise ConfigError(
            f"{name} returns {list(shape)} for images of {height} x {width}: the output of a dense network must have "
            "the height and width of its input; upsample it in forward, with torch.nn.functional.interpolate."
        )
    for stride in _STRIDES if shape is None else ():
        found = _shape_of_answers(net, image_BCHW, stride)
        if found is not None and len(found) == 4:
            raise ConfigError(
                f"{name} has stride={net.stride}, but fails for images of {height} x {width} padded to multiples of "
                f"it; multiples of {stride} work: set stride = {stride} in its class."
            )


def _shape_of_answers(net: FromPixels, image_BCHW: Tensor, stride: int | None) -> torch.Size | None:
    """Return the shape of the logits with the given stride, or None if the network fails or returns no tensor."""
    named, net.stride = net.stride, stride
    try:
        output = net.forward(image_BCHW)  # directly, so that nothing is compiled
    except ConfigError:
        raise
    except Exception:  # a user's network may fail in any way
        return None
    finally:
        net.stride = named
    logits = output[0] if isinstance(output, tuple) else output
    return logits.shape if isinstance(logits, Tensor) else None
