"""Int8 by static quantisation: ranges of activations are measured on training pictures, weights per channel."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from imagier.deploy.graph import INPUT


class _Pictures(CalibrationDataReader):
    def __init__(self, images: Iterable[np.ndarray]) -> None:
        self._images: Iterator[np.ndarray] = iter(images)

    def get_next(self) -> dict[str, Any] | None:
        image_CHW = next(self._images, None)
        return None if image_CHW is None else {INPUT: image_CHW[None]}


def quantize(onnx: Path, target: Path, images: Iterable[np.ndarray]) -> None:
    """Write the graph in int8.

    Args:
        onnx: the graph in fp32.
        target: where the other one goes.
        images: pictures uint8 [C, H, W] of the training split, as the net takes them.
    """
    prepared = target.with_suffix(".prepared.onnx")
    logging.disable(logging.WARNING)  # it advises to do what is done here
    try:
        quant_pre_process(onnx, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
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
