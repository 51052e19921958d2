"""A graph in fp32 made ready for int8: the same answers, by numbers that 256 steps can hold.

Nothing here knows a runtime or measures anything.
"""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

STEPS = 127  # of a weight in int8, to either side
SCALED_ALIKE = ("Relu", "MaxPool", "AveragePool")  # of channels multiplied by a factor, the factor times what they were
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")  # onnxruntime fails where two share a constant without VNNI
SPREAD = 1000  # largest ratio of the factors of two channels


def made_ready(model: ModelProto) -> ModelProto:
    """Change the graph in place: channels of one scale, no batch normalisation of maps, rounded kernels."""
    _Rewriting(model.graph).run()
    return model


class _Rewriting:
    """One pass over a graph whose shapes are inferred."""

    def __init__(self, graph: GraphProto) -> None:
        self.graph = graph
        self.constants = {constant.name: constant for constant in graph.initializer}
        self.shapes = {
            value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in graph.value_info
        }
        self.readers: defaultdict[str, list[NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in dict.fromkeys(node.input):
                self.readers[name].append(node)

    def run(self) -> None:
        factors = self._equalise()
        for node in self.graph.node:
            if self._normalises(node):
                self._become_convolution(node, factors[node.output[0]])
        for node in self.graph.node:
            if node.op_type in WEIGHTED and node.input[1] in self.constants:
                weight = self._value(node, 1)
                self._give(node, 1, rounded(weight) if node.op_type == "Conv" else weight)
        read = {name for node in self.graph.node for name in node.input}
        kept = [constant for name, constant in self.constants.items() if name in read]  # onnxruntime warns of others
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)

    def _equalise(self) -> dict[str, np.ndarray]:
        """Bring the channels that normalisations read to one scale, after Nagel et al. 2019, arXiv 1906.04721.

        Int8 has one range for all that a concatenation gathers, and what a channel is multiplied by, a normalisation
        undoes. It knows its channels' mean squares, so nothing need be measured.

        Returns:
            By the outputs of normalisations, the factors that are to be undone, float32 [C].
        """
        factors = {node.output[0]: np.ones_like(self._value(node, 3)) for node in self.graph.node
                   if self._normalises(node)}  # fmt: skip
        for node in self.graph.node:
            if node.op_type != "Conv" or not all(name in self.constants for name in node.input[1:]):
                continue
            ends = list(self._ends(node.output[0]))
            if not ends or not all(end.output[0] in factors for end, _ in ends):
                continue
            weight = self._value(node, 1)
            (end, first), count = ends[0], len(weight)
            mean, variance = (self._value(end, place)[first : first + count] for place in (3, 4))
            factor = np.sqrt(mean * mean + variance)
            factor = np.maximum(factor, factor.max() / SPREAD) if factor.max() > 0 else np.ones_like(factor)
            self._give(node, 1, weight / factor[:, None, None, None])
            if len(node.input) > 2:
                self._give(node, 2, self._value(node, 2) / factor)
            for end, first in ends:
                factors[end.output[0]][first : first + count] = factor
        return factors

    def _ends(self, name: str, first: int = 0) -> Iterator[tuple[NodeProto, int]]:
        """Where channels arrive that pass on their factor: nodes, and the place there of the first channel."""
        if name in {output.name for output in self.graph.output}:
            yield helper.make_node("Output", [name], [name]), first
        for node in self.readers[name]:
            if node.op_type in SCALED_ALIKE:
                yield from self._ends(node.output[0], first)
            elif node.op_type == "Concat" and self._gathers_channels(node):
                places = [place for place, given in enumerate(node.input) if given == name]
                for place in places:
                    before = sum(self.shapes[given][1] for given in node.input[:place])
                    yield from self._ends(node.output[0], first + before)
            else:
                yield node, first

    def _gathers_channels(self, node: NodeProto) -> bool:
        known = all(len(self.shapes.get(name, ())) == 4 and self.shapes[name][1] > 0 for name in node.input)
        return known and node.attribute[0].i in (1, -3)

    def _normalises(self, node: NodeProto) -> bool:
        """Whether this is a batch normalisation of maps."""
        return node.op_type == "BatchNormalization" and len(self.shapes.get(node.input[0], ())) == 4

    def _become_convolution(self, node: NodeProto, factor: np.ndarray) -> None:
        """Each channel by itself: there is no batch normalisation in int8, and each would lead out of it and back."""
        scale, shift, mean, variance = (self._value(node, place) for place in range(1, 5))
        epsilon = next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), 1e-5)
        weight = scale / np.sqrt(variance + epsilon)
        node.CopyFrom(helper.make_node("Conv", [node.input[0], "", ""], node.output[:1], node.name, group=len(weight)))
        self._give(node, 1, (weight * factor)[:, None, None, None])
        self._give(node, 2, shift - mean * weight)

    def _value(self, node: NodeProto, place: int) -> np.ndarray:
        return numpy_helper.to_array(self.constants[node.input[place]])

    def _give(self, node: NodeProto, place: int, value: np.ndarray) -> None:
        """A constant of the node's own, since others may read the one that it had."""
        name = f"{node.output[0]}.{place}"
        self.constants[name] = numpy_helper.from_array(value.astype(np.float32), name)
        node.input[place] = name


def rounded(weight: np.ndarray) -> np.ndarray:
    """Round the weights of a convolution to int8 so that the sum of each kernel stays, to half a step.

    Neighbouring pixels are much alike, so that errors of the weights add up where each is rounded by itself: a 7x7
    kernel then answers the brightness of a picture by several steps too much or too little. Here those weights that
    were nearest to being rounded the other way are, until the sum is right. The largest weight, which sets the step of
    its channel, stays.

    Args:
        weight: float32 [out, in, H, W].

    Returns:
        The same, each a whole number of steps, of which the largest weight of an output channel has `STEPS`.
    """
    largest = np.abs(weight).max((1, 2, 3), keepdims=True)
    step = np.where(largest > 0, largest, 1) / STEPS
    exact = (weight / step).reshape(*weight.shape[:2], -1)
    whole = np.rint(exact)
    rest = exact - whole
    missing = np.rint(rest.sum(-1, keepdims=True))
    movable = np.abs(whole) < STEPS
    order = np.argsort(np.where(movable, -rest * np.sign(missing), np.inf), -1)
    moved = (np.argsort(order, -1) < np.abs(missing)) & movable
    rounded_OIhw = (whole + moved * np.sign(missing)).reshape(weight.shape) * step
    return np.asarray(rounded_OIhw, np.float32)
