"""Answers averaged over views of an image that mean the same: better than one, at so many times its cost.

Classifiers know it as test-time augmentation (Krizhevsky et al. 2012, NeurIPS), denoisers as self-ensemble (Timofte et
al. 2016, arXiv 1511.02228).
"""

from abc import abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

Answer = Callable[[Tensor], Tensor]


def with_mirror(answer: Answer, image_BCHW: Tensor) -> Tensor:
    """Return the mean of the answers, [B, K] or [B, K, H, W], to the image and to its mirror image."""
    straight, mirrored = answer(image_BCHW), answer(image_BCHW.flip(-1))
    return (straight + (mirrored.flip(-1) if mirrored.ndim == 4 else mirrored)) / 2


def over_symmetries(answer: Answer, image_BCHW: Tensor) -> Tensor:
    """Return the mean of the answers, [B, K, H, W], to the image in the eight symmetries of a square, each undone."""

    def over_flips(image_BCHW: Tensor) -> Tensor:
        upside_down = with_mirror(answer, image_BCHW.flip(-2)).flip(-2)
        return (with_mirror(answer, image_BCHW) + upside_down) / 2

    turned = over_flips(image_BCHW.transpose(-1, -2).contiguous()).transpose(-1, -2)  # exporters stumble over a view
    return (over_flips(image_BCHW) + turned) / 2


class Mirrored(nn.Module):
    """A net that, once trained, answers with the mean over an image and its mirror image, if `mirror` is set."""

    mirror: bool

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Return the logits, [B, K] or [B, K, H, W]."""
        if self.mirror and not self.training:
            return with_mirror(self.logits, image_BCHW)
        return self.logits(image_BCHW)

    @abstractmethod
    def logits(self, image_BCHW: Tensor) -> Tensor:
        """Return those of the image as it is."""
