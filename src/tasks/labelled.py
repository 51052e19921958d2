"""What tasks share whose targets are classes, of whole images or of pixels."""

from typing import Any

from torch import Tensor

from imagier.batch import Batch
from imagier.metrics.confusion import ConfusionMatrix
from imagier.tasks.base import PerStage, Task


class Labelled(Task):
    """Base of tasks with classes: losses of auxiliary outputs, and a confusion matrix.

    Outputs are logits [B, K] or [B, K, H, W], or a tuple (logits, *auxiliary logits), such as a network with auxiliary
    heads returns in training. Targets that are `facts.ignore_index` are ignored.

    Args:
        auxiliary_weight: weight of the loss of each auxiliary output; 0.4 in PSPNet (arXiv 1612.01105).
    """

    def __init__(self, *args: Any, auxiliary_weight: float = 0.4, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.auxiliary_weight = auxiliary_weight
        facts = self.facts
        self.confusion = PerStage(lambda: ConfusionMatrix(facts.num_classes, facts.ignore_index))

    def loss_of(self, outputs: Tensor | tuple[Tensor, ...], target: Tensor) -> Tensor:
        """Return the loss of the logits plus the weighted losses of auxiliary ones."""
        logits, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
        loss: Tensor = self.loss(logits, target)
        for extra in auxiliary:
            loss = loss + self.auxiliary_weight * self.loss(extra, target)
        return loss

    def count(self, stage: str, prediction: Tensor, batch: Batch) -> None:
        """Add one batch to the confusion matrix."""
        self.confusion[stage].update(prediction, batch["target"])


def logits_of(outputs: Tensor | tuple[Tensor, ...]) -> Tensor:
    """Return the logits without auxiliary ones."""
    return outputs[0] if isinstance(outputs, tuple) else outputs
