"""Rewrite an fp32 graph for int8, so that 256 levels represent its numbers well; but for rounding it is equivalent.

This module needs no runtime and no data.
"""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

STEPS = 127  # largest absolute value of an int8 weight
SCALED_ALIKE = ("Relu", "MaxPool", "AveragePool")  # scaling a channel of the input scales that of the output
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")  # without VNNI onnxruntime fails if two share a constant
SPREAD = 1000  # largest ratio between the factors of two channels


def made_ready(model: ModelProto) -> ModelProto:
    """Change the graph in place: equalise channels, replace batch normalisation of maps, round kernels."""
    _Rewriting(model.graph).run()
    return model


class _Rewriting:
    """One rewriting of a graph with inferred shapes."""

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
        """Scale channels that only batch normalisations read to a root mean square of 1.

        After Nagel et al. 2019, arXiv 1906.04721: in int8 all channels of a tensor share one range, and a normalisation
        can undo the scaling. Its running statistics give the root mean square, so no data is needed.

        Returns:
            The factors that each normalisation has to undo, float32 [C], by the name of its output.
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
        """Yield the nodes that finally read a tensor's scaled channels, and the index of its first channel there."""
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
        """Replace it by a depthwise 1x1 convolution: no int8 batch normalisation exists, so each would dequantise."""
        scale, shift, mean, variance = (self._value(node, place) for place in range(1, 5))
        epsilon = next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), 1e-5)
        weight = scale / np.sqrt(variance + epsilon)
        node.CopyFrom(helper.make_node("Conv", [node.input[0], "", ""], node.output[:1], node.name, group=len(weight)))
        self._give(node, 1, (weight * factor)[:, None, None, None])
        self._give(node, 2, shift - mean * weight)

    def _value(self, node: NodeProto, place: int) -> np.ndarray:
        return numpy_helper.to_array(self.constants[node.input[place]])

    def _give(self, node: NodeProto, place: int, value: np.ndarray) -> None:
        """Set an input to a new constant, since other nodes may read the previous one."""
        name = f"{node.output[0]}.{place}"
        self.constants[name] = numpy_helper.from_array(value.astype(np.float32), name)
        node.input[place] = name


def rounded(weight: np.ndarray) -> np.ndarray:
    """Round the weights of a convolution to int8 steps, keeping the sum of each 2D kernel to half a step if possible.

    Neighbouring pixels are similar, so the errors of independently rounded weights add up: the response of a 7x7 kernel
    to a uniform area is then off by several steps. So the weights closest to a rounding boundary are rounded the other
    way until the sum is right. Weights of STEPS steps, such as the largest, which sets its channel's step, stay.

    Args:
        weight: float32 [out, in, H, W].

    Returns:
        float32 of the same shape: whole multiples of the step of the output channel, whose largest weight has STEPS.
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
