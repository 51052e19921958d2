"""Int8 by static quantisation: ranges of activations are measured on training pictures, weights per channel."""

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
            _with_convolutions(onnx.load(prepared)),
            target,
            _Pictures(images),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            calibrate_method=CalibrationMethod.MinMax,
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
    return model


def _epsilon(node: NodeProto) -> float:
    return next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), 1e-5)
