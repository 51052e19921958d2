"""Replace nearest-neighbour doubling and a 3x3 convolution by an equivalent, faster transposed convolution.

Weights that meet the same pixel of the small map are summed beforehand, so that a pixel of the large map takes 2x2
products instead of 3x3. Neither the large map nor its concatenation with a skip connection is stored.

This module needs no runtime and no data.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper
from sympy import sympify  # as torch.export writes sizes

# Along one axis: the four weights of the transposed convolution as sums of the three original ones.
TOGETHER = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], np.float32)
Options = dict[str, Any]  # attributes of a node
PLAIN: Options = {"group": 1, "kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1], "dilations": [1, 1]}
DOUBLING: Options = {"kernel_shape": [4, 4], "pads": [1, 1, 1, 1], "strides": [2, 2]}
NEAREST: Options = {"mode": b"nearest", "nearest_mode": b"floor", "coordinate_transformation_mode": b"asymmetric"}


def joined(model: ModelProto) -> ModelProto:
    """Change the graph in place: conv(concat(double(x), skip)) becomes transposed(x) + conv(skip).

    Nodes and constants that are no longer used stay in the graph; runtimes ignore them.

    Args:
        model: float32, with inferred shapes, in which sizes may be expressions.
    """
    _Joining(model.graph).run()
    return model


class _Joining:
    """One rewriting of a graph."""

    def __init__(self, graph: GraphProto) -> None:
        self.graph = graph
        self.constants = {constant.name: constant for constant in graph.initializer}
        self.makers = {name: node for node in graph.node for name in node.output}
        self.shapes = {
            value.name: [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]
            for value in graph.value_info
        }

    def run(self) -> None:
        nodes = [new for node in self.graph.node for new in self._rewritten(node)]
        del self.graph.node[:]
        self.graph.node.extend(nodes)

    def _rewritten(self, node: NodeProto) -> Iterator[NodeProto]:
        """Yield the nodes that compute this node's output: the node itself if none of its inputs was doubled."""
        names = self._gathered(node)
        place = next((place for place, name in enumerate(names) if self._is_doubled(name)), None)
        if place is None:
            yield node
            return
        answer, bias = node.output[0], node.input[2:]
        weight_OIHW = numpy_helper.to_array(self.constants[node.input[1]])
        ends = np.cumsum([self.shapes[name][1] for name in names])
        weights = np.split(weight_OIHW, ends[:-1], 1)
        small = self.makers[names.pop(place)].input[0]
        kernel = self._constant(
            f"{answer}.doubled", np.einsum("ky,lx,oiyx->iokl", TOGETHER, TOGETHER, weights.pop(place))
        )
        if not names:
            yield helper.make_node("ConvTranspose", [small, kernel, *bias], [answer], node.name, **DOUBLING)
            return
        large, skip, rest = f"{answer}.large", f"{answer}.skip", f"{answer}.rest"
        beside = self._constant(f"{answer}.beside", np.concatenate(weights, 1))
        yield helper.make_node("ConvTranspose", [small, kernel], [large], large, **DOUBLING)
        yield helper.make_node("Concat", names, [skip], skip, axis=1)
        yield helper.make_node("Conv", [skip, beside, *bias], [rest], rest, **PLAIN)
        yield helper.make_node("Add", [rest, large], [answer], node.name)

    def _gathered(self, node: NodeProto) -> list[str]:
        """Return the inputs of a plain 3x3 convolution, the parts if concatenated; none for any other node."""
        if not _is(node, "Conv", PLAIN) or node.input[1] not in self.constants:
            return []
        maker = self.makers.get(node.input[0])
        names = list(maker.input) if maker and _is(maker, "Concat", {"axis": 1}) else [node.input[0]]
        return names if all(isinstance(self.shapes.get(name, [0, ""])[1], int) for name in names) else []

    def _is_doubled(self, name: str) -> bool:
        """Whether this map is one of half its height and width, doubled, for every image size."""
        node = self.makers.get(name)
        if node is None or not _is(node, "Resize", NEAREST):
            return False
        small, large = (self.shapes.get(map_, [])[2:] for map_ in (node.input[0], name))
        known = len(small) == len(large) == 2 and all([*small, *large])
        return known and [sympify(str(side)) for side in large] == [2 * sympify(str(side)) for side in small]

    def _constant(self, name: str, value: np.ndarray) -> str:
        self.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))
        return name


def _is(node: NodeProto, kind: str, options: Options) -> bool:
    said = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    return node.op_type == kind and all(said.get(name) == value for name, value in options.items())
