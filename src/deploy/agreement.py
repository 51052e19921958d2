"""Compare exported graphs with the trained network on held-out images, before a graph is published."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from imagier.deploy.bundle import Description
from imagier.deploy.results import as_pixels
from imagier.deploy.runtime import Runtime
from imagier.metrics.confusion import ConfusionMatrix, accuracy, mean_iou
from imagier.metrics.quality import psnr

# fp32: largest difference of outputs, smallest share of equal decisions. int8: largest change of the metric.
LOGITS, DECISIONS, POINTS = 1e-3, 0.9999, 0.5
SHOWN = 5


@dataclass
class Agreement:
    """Result of comparing one graph with the trained network.

    samples:    number of images compared.
    difference: largest absolute difference: of logits, of latents in steps, or of images on a scale of 0 to 1.
    decisions:  share of equal decisions: classes of images or pixels, pixel values of images, or a codec's symbols.
    metric:     its name; reference, graph: its values, in percent, dB or bits per pixel.
    worst:      names of the up to five images with the largest differences, the largest first.
    """

    samples: int
    difference: float
    decisions: float
    metric: str
    reference: float
    graph: float
    worst: tuple[str, ...]

    def faults(self, precision: str) -> list[str]:
        """Describe each limit of this precision that is exceeded; empty if none is."""
        lost = abs(self.reference - self.graph)
        if precision == "int8":
            return [f"{self.metric} changes by {lost:.3g} points, more than {POINTS}"] if not lost <= POINTS else []
        faults = []
        if not self.difference <= LOGITS:  # NaN fails as well
            faults.append(f"outputs differ by up to {self.difference:.3g}, more than {LOGITS}")
        if not self.decisions >= DECISIONS:
            faults.append(f"only {self.decisions:.4%} of the decisions agree, fewer than {DECISIONS:.2%}")
        return faults

    def to_dict(self) -> dict[str, Any]:
        """Return the entry for bundle.json."""
        return self.__dict__ | {"worst": list(self.worst)}


Sample = tuple[str, np.ndarray, Any]
Pairs = Iterable[tuple[Any, Any]]  # arrays or tensors of the reference and of the graph


def compare(
    reference: Runtime, graphs: Sequence[Runtime], samples: Iterable[Sample], description: Description
) -> list[Agreement]:
    """Run the network and its graphs on every sample and compare; the reference runs once per sample.

    Args:
        reference: the trained network.
        graphs: exported from it.
        samples: name, input image uint8 [C, H, W], and target: a class index, a mask uint8 [H, W], or the clean image
            uint8 [C, H, W].
        description: of the network.

    Returns:
        One agreement per graph, in the order of `graphs`.
    """
    comparisons = [_Comparison(description) for _ in graphs]
    for name, image_CHW, target in samples:
        answer = reference(image_CHW[None])[0]
        for graph, comparison in zip(graphs, comparisons, strict=True):
            comparison.add(name, answer, graph(image_CHW[None])[0], target)
    return [comparison.agreement() for comparison in comparisons]


class Tally:
    """Accumulates differences and equal decisions of a graph and its reference, for outputs of any kind."""

    def __init__(self) -> None:
        self._differences: dict[str, float] = {}
        self._equal = self._decisions = 0

    def add(self, name: str, answers: Pairs, decided: Pairs) -> None:
        """Add both outputs for one image, and the decisions derived from them."""
        differences = [float(np.abs(np.asarray(one) - np.asarray(other)).max()) for one, other in answers]
        self._differences[name] = float(np.max([self._differences.get(name, 0.0), *differences]))  # NaN stays NaN
        for one, other in decided:
            self._equal += int(np.sum(np.asarray(one) == np.asarray(other)))
            self._decisions += int(np.prod(one.shape))

    def agreement(self, metric: str, reference: float, graph: float) -> Agreement:
        """Summarise what was added, with the metric's name and its two values."""
        worst = sorted(self._differences, key=lambda name: np.nan_to_num(self._differences[name], nan=np.inf))
        worst = worst[: -SHOWN - 1 : -1]
        samples, difference = len(self._differences), float(np.max(list(self._differences.values())))
        return Agreement(
            samples, difference, self._equal / self._decisions, metric, reference, graph, worst=tuple(worst)
        )


class _Comparison:
    """Comparison of a graph with its reference, for every task but compress."""

    def __init__(self, description: Description) -> None:
        self._task, self._tally = description.task, Tally()
        self._wanted, self._found = _score(description), _score(description)

    def add(self, name: str, wanted: np.ndarray, found: np.ndarray, target: Any) -> None:
        first, second = (_decision(answer, self._task) for answer in (wanted, found))
        self._wanted.add(first, target)
        self._found.add(second, target)
        self._tally.add(name, [(wanted, found)], [(first, second)])

    def agreement(self) -> Agreement:
        return self._tally.agreement(self._wanted.name, self._wanted.points(), self._found.points())


def _decision(answer: np.ndarray, task: str) -> np.ndarray:
    """The class of the image or of each pixel, int64; or the restored image, uint8."""
    if task == "denoise":
        return as_pixels(answer)
    return np.asarray(answer.argmax(0))


class _Score(Protocol):
    name: str

    def add(self, decision: np.ndarray, target: Any) -> None: ...

    def points(self) -> float: ...


def _score(description: Description) -> _Score:
    if description.task == "denoise":
        return _Fidelity()
    return _Hits(description)


class _Hits:
    """Mean IoU for segmentation, accuracy for classification, in percent."""

    def __init__(self, description: Description) -> None:
        self.name = "iou" if description.task == "segment" else "accuracy"
        self._counts = ConfusionMatrix(len(description.classes), description.ignore_index)

    def add(self, decision: np.ndarray, target: Any) -> None:
        self._counts.update(torch.from_numpy(decision), torch.as_tensor(target))

    def points(self) -> float:
        measure = mean_iou if self.name == "iou" else accuracy
        return 100 * float(measure(self._counts.compute()))


class _Fidelity:
    """Mean PSNR of restored images, in dB."""

    name = "psnr"

    def __init__(self) -> None:
        self._values: list[float] = []

    def add(self, decision: np.ndarray, target: Any) -> None:
        self._values.append(float(psnr(torch.from_numpy(decision)[None], torch.as_tensor(target)[None])))

    def points(self) -> float:
        return sum(self._values) / len(self._values)
