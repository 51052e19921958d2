"""From what a camera saw to what a net wants: the first layer of every net.

Normalisation and padding live inside the module that is trained, saved, exported and served, so that no two of these
can disagree about them.
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
    """Let `net` take images as they are stored: uint8 [B, C, H, W] of 0 to 255 and, for dense nets, of any H and W.

    Pixels become (x / 255 - mean) / std in the parameters' dtype. Where the net has an attribute `stride`, which makes
    it a dense net, the image is extended to the right and downwards by repeating its last column and row, up to a
    multiple of it (twice at least), and what comes out is cropped back to H x W: all of it, where a net in training
    returns a tuple, and the picture alone, where a codec returns `Coded`. A net that says `unit_range = True` is given
    x / 255 as it is: those that answer with a picture work on the scale that pictures have. One that says `learnt_by`,
    the mean and deviation by which its weights were pretrained, is given pixels by these, if it has as many channels.

    Args:
        net: the net, which takes float [B, C, H, W].
        mean: per channel, of image / 255.
        std: per channel, of image / 255; positive.
        channels_last: keep images and kernels in channels_last order, which most convolutions run faster on.

    Raises:
        ConfigError: where `mean` and `std` differ in length or a deviation is not positive.
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
        """Return what the net makes of the image.

        Args:
            image_BCHW: uint8 of 0 to 255, or float on the same scale, beyond which noise may take it.
            given: whatever else the net asks for, passed on.

        Returns:
            Logits [B, K, H, W] or a picture [B, C, H, W] from a dense net, [B, K] from a classifier.

        Raises:
            ConfigError: where that is anything else, such as a dictionary.
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
        """Mean and deviation per channel of image / 255, by which the net is given pixels; to six digits."""
        mean, std = (tuple(round(value, 6) for value in buffer.flatten().tolist()) for buffer in (self.mean, self.std))
        return mean, std

    @property
    def frozen(self) -> bool:
        """Whether all of the net but its head is frozen; it then has `embed` and `head`, two halves of `forward`."""
        return bool(getattr(self.net, "frozen", False))

    def embed(self, image_BCHW: Tensor) -> Tensor:
        """Return what the frozen part of the net makes of the image, uint8: [B, F]."""
        embedded: Tensor = cast(Any, self.net).embed(self.normalized(image_BCHW))
        return embedded

    def head(self, features_BF: Tensor) -> Tensor:
        """Return what the head makes of `embed`'s features, in any floating dtype: logits [B, K]."""
        logits: Tensor = cast(Any, self.net).head(features_BF.to(self.mean.dtype))
        return logits

    def normalized(self, image_BCHW: Tensor) -> Tensor:
        """Return what the net itself is given for images as `forward` takes them: extended, float."""
        if self.stride is not None:
            image_BCHW = extend(image_BCHW, self.stride)
        # The buffers follow the net's parameters through .to() and .half().
        image_BCHW = image_BCHW.to(self.mean.dtype, memory_format=self.memory_format)
        return (image_BCHW / 255 - self.mean) / self.std


def extended(size: int | SymInt, stride: int) -> int | SymInt:
    """What `extend` makes of a height or width, which a graph may leave open."""
    return torch.sym_max((size + stride - 1) // stride, 2) * stride


def extend(image_BCHW: Tensor, stride: int) -> Tensor:
    """Repeat the last row and column until height and width are multiples of `stride`, and twice it at least.

    Twice, because batch normalisation finds no variance in a coarsest map of a single value.
    """
    # Indexing serves uint8, and every size at once when a graph is exported.
    for axis in (-2, -1):
        size = image_BCHW.shape[axis]
        index = torch.arange(extended(size, stride), device=image_BCHW.device)
        image_BCHW = image_BCHW.index_select(axis, index.clamp(max=size - 1))
    return image_BCHW


def crop(logits_BKHW: Tensor, height: int, width: int) -> Tensor:
    """Keep the first `height` rows and `width` columns."""
    if not torch.compiler.is_exporting():
        return logits_BKHW[..., :height, :width]
    # A slice would ask the exporter to prove that the extended image is the larger one, which it cannot for all sizes.
    for axis, size in ((-2, height), (-1, width)):
        logits_BKHW = logits_BKHW.index_select(axis, torch.arange(size, device=logits_BKHW.device))
    return logits_BKHW


@torch.no_grad()
def refuse_misshapen(net: FromPixels, image_BCHW: Tensor) -> None:
    """Say what is wrong with the sizes of a dense net. It is asked anew, so this is for when an error has come.

    Args:
        net: on the device of the images.
        image_BCHW: as `FromPixels` takes them.

    Raises:
        ConfigError: the net's answers have not the pictures' size, or it would answer if it named another stride.
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
    """Of the net as if it had this stride; None where it fails."""
    named, net.stride = net.stride, stride
    try:
        output = net.forward(image_BCHW)  # as it is written: nothing is compiled for a look
    except ConfigError:
        raise
    except Exception:  # a net of one's own may fail in any way
        return None
    finally:
        net.stride = named
    logits = output[0] if isinstance(output, tuple) else output
    return logits.shape if isinstance(logits, Tensor) else None
