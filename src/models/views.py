"""Outputs averaged over equivalent views of an image: more accurate, at the cost of one inference per view.

For classifiers this is test-time augmentation (Krizhevsky et al. 2012, NeurIPS), for denoisers self-ensemble (Timofte
et al. 2016, arXiv 1511.02228).
"""

from abc import abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

Answer = Callable[[Tensor], Tensor]


def with_mirror(answer: Answer, image_BCHW: Tensor) -> Tensor:
    """Return the mean of the outputs, [B, K] or [B, K, H, W], for the image and for its mirror image, flipped back."""
    straight, mirrored = answer(image_BCHW), answer(image_BCHW.flip(-1))
    return (straight + (mirrored.flip(-1) if mirrored.ndim == 4 else mirrored)) / 2


def over_symmetries(answer: Answer, image_BCHW: Tensor) -> Tensor:
    """Return the mean of the outputs, [B, K, H, W], over the eight symmetries of a square, each inverted afterwards."""

    def over_flips(image_BCHW: Tensor) -> Tensor:
        upside_down = with_mirror(answer, image_BCHW.flip(-2)).flip(-2)
        return (with_mirror(answer, image_BCHW) + upside_down) / 2

    turned = over_flips(image_BCHW.transpose(-1, -2).contiguous()).transpose(-1, -2)  # a view breaks exporters
    return (over_flips(image_BCHW) + turned) / 2


class Mirrored(nn.Module):
    """Base of networks that, if `mirror` is set, average their logits over the mirror image in evaluation."""

    mirror: bool

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Return the logits, [B, K] or [B, K, H, W]."""
        if self.mirror and not self.training:
            return with_mirror(self.logits, image_BCHW)
        return self.logits(image_BCHW)

    @abstractmethod
    def logits(self, image_BCHW: Tensor) -> Tensor:
        """Return the logits of the image itself."""
