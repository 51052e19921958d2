"""Int8 by static quantisation: ranges of activations are measured on training pictures, weights per channel.

Two things decide whether the answers stay: that a kernel's sum does not change when its weights are rounded, and that
logits are not rounded at all.
"""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from imagier.deploy.graph import INPUT

STEPS = 127  # of a weight in int8, to either side


class _Pictures(CalibrationDataReader):
    def __init__(self, images: Iterable[np.ndarray]) -> None:
        self._images: Iterator[np.ndarray] = iter(images)

    def get_next(self) -> dict[str, Any] | None:
        image_CHW = next(self._images, None)
        return None if image_CHW is None else {INPUT: image_CHW[None]}


def quantize(source: Path, target: Path, images: Iterable[np.ndarray]) -> None:
    """Write the graph in int8.

    Args:
        source: the graph in fp32.
        target: where the other one goes.
        images: pictures uint8 [C, H, W] of the training split, as the net takes them.
    """
    prepared = target.with_suffix(".prepared.onnx")
    logging.disable(logging.WARNING)  # it advises to do what is done here
    try:
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            _with_rounded_kernels(_with_convolutions(onnx.load(prepared))),
            target,
            _Pictures(images),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            calibrate_method=CalibrationMethod.MinMax,
            # Logits in 256 steps are often equal, and the first of equal classes would be the answer.
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
        )
    finally:
        logging.disable(logging.NOTSET)
        prepared.unlink(missing_ok=True)


def _with_convolutions(model: ModelProto) -> ModelProto:
    """Spell batch normalisations of maps as convolutions, each channel by itself, where they stand after none.

    There is no batch normalisation in int8: each of a DenseNet's 62 would lead out of it and back.
    """
    constants = {constant.name: constant for constant in model.graph.initializer}
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in model.graph.value_info}
    for node in model.graph.node:
        if node.op_type == "BatchNormalization" and ranks.get(node.input[0]) == 4:
            scale, shift, mean, variance = (numpy_helper.to_array(constants[name]) for name in node.input[1:5])
            weight = scale / np.sqrt(variance + _epsilon(node))
            names = [f"{node.output[0]}.{part}" for part in ("weight", "bias")]
            for name, value in zip(names, (weight[:, None, None, None], shift - mean * weight), strict=True):
                model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
            node.CopyFrom(
                helper.make_node("Conv", [node.input[0], *names], node.output[:1], node.name, group=len(weight))
            )
    return _without_unused(model)


def _without_unused(model: ModelProto) -> ModelProto:
    """Drop constants that no node reads any more; onnxruntime would warn of each."""
    read = {name for node in model.graph.node for name in node.input}
    kept = [constant for constant in model.graph.initializer if constant.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model


def _with_rounded_kernels(model: ModelProto) -> ModelProto:
    """Put the weights of convolutions on the steps that int8 has; see `rounded`."""
    constants = {constant.name: constant for constant in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Conv" and (weight := constants.get(node.input[1])) is not None:
            weight.CopyFrom(numpy_helper.from_array(rounded(numpy_helper.to_array(weight)), weight.name))
    return model


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


def _epsilon(node: NodeProto) -> float:
    return next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), 1e-5)
