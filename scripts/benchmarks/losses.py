"""Time of the segmentation losses, forward and backward, against torch's with a library's Dice loss."""

from argparse import Namespace
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from segmentation_models_pytorch.losses import DiceLoss
from sentence import composed
from timing import Row, in_turn
from torch import Tensor

from imagier.losses.sum import Sum
from imagier.training.hardware import keep_freed_memory

STEPS = 10  # per repeat


def compare(given: Namespace) -> Iterator[Row]:
    """Cross-entropy plus Dice, on logits in the format networks produce: bf16, channels_last."""
    keep_freed_memory(composed("task=segment", "trainer=cpu"))  # as training does
    for batch, classes, height, width in ((8, 8, 128, 128), (4, 19, 240, 320)):
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(batch, classes, height, width, generator=generator, dtype=torch.bfloat16)
        logits = logits.to(memory_format=torch.channels_last).requires_grad_()
        labels = torch.randint(classes, (batch, height, width), generator=generator, dtype=torch.uint8)
        ours = Sum({"cross_entropy": None, "dice": None})
        if not torch.allclose(ours(logits, labels), _theirs(logits, labels), rtol=1e-4):
            raise RuntimeError("the two losses differ")
        times = in_turn(_steps(ours, logits, labels), _steps(_theirs, logits, labels), given.repeats)
        # At least 1 x: our own losses must not be slower.
        yield Row(
            f"cross-entropy and Dice with their gradients: {classes} classes, {height}x{width}, batch {batch}",
            "torch's cross_entropy and segmentation-models-pytorch's DiceLoss", "speed-up", 1, *times,
            images=STEPS * batch, note="the losses are equal; freed memory is kept on both sides",
        )  # fmt: skip


def _theirs(logits: Tensor, labels: Tensor) -> Tensor:
    known = labels.long()
    return F.cross_entropy(logits.float(), known) + DiceLoss("multiclass", smooth=1.0)(logits.float(), known)


def _steps(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, labels: Tensor) -> Callable[[], None]:
    def repeat() -> None:
        for _ in range(STEPS):
            logits.grad = None
            loss(logits, labels).backward()

    return repeat
