"""Int8 by static quantisation: ranges of activations are measured on training pictures, weights per channel."""

import logging
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto
from onnxruntime.quantization import CalibrationDataReader, QDQQuantizer, QuantType, create_calibrator
from onnxruntime.quantization.calibrate import TensorData, TensorsData
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
from onnxruntime.quantization.shape_inference import quant_pre_process

from imagier.deploy.graph import INPUT
from imagier.deploy.rewriting import made_ready

# What hands its input's numbers on: with one range on either side, they are rounded once and merely copied.
POOLINGS = ("MaxPool", "AveragePool")
ONE_RANGE = ("Concat", *POOLINGS)
CUTTING = ("Relu", "Clip")  # not nodes of a graph in int8: the range of what they make is what cuts


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
    logging.disable(logging.WARNING)  # it advises to do what is done here
    try:
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            prepared = Path(folder) / "prepared.onnx"
            quant_pre_process(source, prepared, skip_symbolic_shape=True)
            model = made_ready(onnx.load(prepared))
            onnx.save(model, prepared)
            ranges = _measured(prepared, images)
        quantizer = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=_united(ranges, model),
            nodes_to_quantize=[],
            nodes_to_exclude=[],
            op_types_to_quantize=list({*QLinearOpsRegistry, *QDQRegistry}),
            # Logits in 256 steps are often equal, and the first of equal classes would be the answer.
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
        )
        quantizer.quantize_model()
        quantizer.model.save_model_to_file(str(target))
    finally:
        logging.disable(logging.NOTSET)


def _measured(graph: Path, images: Iterable[np.ndarray]) -> TensorsData:
    """The smallest and the greatest value of every tensor."""
    calibrator = create_calibrator(graph, augmented_model_path=str(graph.with_suffix(".measuring.onnx")))
    calibrator.collect_data(_Pictures(images))
    return calibrator.compute_data()


def _united(ranges: TensorsData, model: ModelProto) -> TensorsData:
    """Give one range to all that a concatenation or a pooling joins, but for what is cut by its own."""
    groups: dict[str, set[str]] = defaultdict(set)
    cut: set[str] = set()
    for node in model.graph.node:
        if node.op_type in CUTTING or (node.op_type in POOLINGS and node.input[0] in cut):
            cut.add(node.output[0])
        elif node.op_type in ONE_RANGE:
            names = {*node.input, node.output[0]} - cut
            joined = names.union(*(groups[name] for name in names))
            groups.update(dict.fromkeys(joined, joined))
    limits = {name: [float(limit.item()) for limit in ranges[name].range_value] for name in ranges}
    for name, joined in groups.items():
        if name in limits:
            lows, highs = zip(*(limits[other] for other in joined if other in limits), strict=True)
            ranges[name] = TensorData(lowest=np.float32(min(lows)), highest=np.float32(max(highs)))
    return ranges
