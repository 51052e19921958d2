"""Static int8 quantisation: activation ranges are measured on training images, weights quantised per channel."""

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

# Their outputs stay within the range of their inputs: if both share one, values are not quantised anew.
POOLINGS = ("MaxPool", "AveragePool")
ONE_RANGE = ("Concat", *POOLINGS)
CUTTING = ("Relu", "Clip")  # removed from int8 graphs: the range of their output does the clipping


class _Pictures(CalibrationDataReader):
    def __init__(self, images: Iterable[np.ndarray]) -> None:
        self._images: Iterator[np.ndarray] = iter(images)

    def get_next(self) -> dict[str, Any] | None:
        image_CHW = next(self._images, None)
        return None if image_CHW is None else {INPUT: image_CHW[None]}


def quantize(source: Path, target: Path, images: Iterable[np.ndarray]) -> None:
    """Write an fp32 ONNX graph in int8.

    Args:
        source: path of the fp32 graph.
        target: path of the int8 graph.
        images: training images, uint8 [C, H, W], as the network takes them.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # onnxruntime recommends the pre-processing that is done below
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
            # With 256 levels logits are often equal, and the first of equal classes would always win.
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
        )
        quantizer.quantize_model()
        quantizer.model.save_model_to_file(str(target))
    finally:
        logging.disable(disabled)


def _measured(graph: Path, images: Iterable[np.ndarray]) -> TensorsData:
    """Measure the minimum and maximum of every tensor over the images."""
    calibrator = create_calibrator(graph, augmented_model_path=str(graph.with_suffix(".measuring.onnx")))
    calibrator.collect_data(_Pictures(images))
    return calibrator.compute_data()


def _united(ranges: TensorsData, model: ModelProto) -> TensorsData:
    """Give one range to all tensors joined by concatenation or pooling, except those that their own range clips."""
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
