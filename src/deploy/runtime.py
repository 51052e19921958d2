"""What computes a net's answer: onnxruntime, OpenVINO or torch. Each takes uint8 pixels and answers with float32."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from imagier.deploy.bundle import PRECISIONS, Bundle
from imagier.errors import BundleError, ConfigError

RUNTIMES = ("auto", "torch", "onnx", "openvino")


class Runtime(Protocol):
    """A net, ready to answer."""

    def __call__(self, image_BCHW: np.ndarray) -> np.ndarray:
        """Map uint8 [B, C, H, W] to logits [B, K] or [B, K, H, W], or pictures [B, C, H, W] of 0 to 1; float32."""


class OnnxRuntime:
    """A graph in onnxruntime, on the CPU.

    Args:
        path: of the .onnx file.
        threads: that compute one answer; None: as many as there are cores.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        onnxruntime = _installed("onnxruntime", "onnx")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads or 0
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has no base class for its errors
            raise BundleError(f"{path} cannot be opened by onnxruntime ({error}). Export it again.") from error
        self._input = self._session.get_inputs()[0].name

    def __call__(self, image_BCHW: np.ndarray) -> np.ndarray:
        """See `Runtime`."""
        answer: np.ndarray = self._session.run(None, {self._input: np.ascontiguousarray(image_BCHW)})[0]
        return answer


class OpenVino:
    """A graph in OpenVINO, on the CPU.

    Args:
        path: of the .xml file, with a .bin file beside it.
        threads: that compute one answer; None: as many as there are cores.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        openvino = _installed("openvino", "openvino")
        # Where the processor has bf16, it would be chosen, and answers would be far from those that were compared.
        settings = {"INFERENCE_PRECISION_HINT": "f32"} | ({"INFERENCE_NUM_THREADS": threads} if threads else {})
        try:
            self._model = openvino.Core().compile_model(path, "CPU", settings)
        except RuntimeError as error:
            raise BundleError(f"{path} cannot be opened by OpenVINO ({error}). Export it again.") from error

    def __call__(self, image_BCHW: np.ndarray) -> np.ndarray:
        """See `Runtime`."""
        answer: np.ndarray = self._model(np.ascontiguousarray(image_BCHW))[0]
        return answer


def open_runtime(
    bundle: Bundle, runtime: str = "auto", precision: str | None = None, threads: int | None = None
) -> Runtime:
    """Open what computes the answers of `bundle`.

    Args:
        bundle: as read.
        runtime: one of RUNTIMES; auto takes an onnx graph where there is one, and torch otherwise.
        precision: fp32 or int8, where the bundle has several graphs; None takes the first.
        threads: that compute one answer; None: as many as there are cores.

    Raises:
        BundleError: the bundle has no such graph, or it is damaged.
        ConfigError: the runtime is unknown or not installed.
    """
    if runtime not in RUNTIMES:
        raise ConfigError(f"runtime={runtime} is not known; it is one of: {', '.join(RUNTIMES)}.")
    if precision not in (None, *PRECISIONS):
        raise ConfigError(f"precision={precision} is not known; it is one of: {', '.join(PRECISIONS)}.")
    if runtime == "auto":
        runtime = "onnx" if any(graph.format == "onnx" for graph in bundle.graphs) else "torch"
    if runtime == "onnx":
        return OnnxRuntime(bundle.path(bundle.graph("onnx", precision).file), threads)
    if runtime == "openvino":
        graph = bundle.graph("openvino", precision)
        bundle.path(Path(graph.file).with_suffix(".bin").name)
        return OpenVino(bundle.path(graph.file), threads)
    from imagier.deploy.network import TorchNet, load_network  # torch takes seconds to import

    if precision not in (None, "fp32"):
        raise ConfigError(f"precision={precision} needs a graph: choose runtime=onnx or openvino.")
    return TorchNet(load_network(bundle), threads)


def _installed(module: str, extra: str) -> Any:
    try:
        return __import__(module)
    except ImportError as error:
        raise ConfigError(f"{module} is not installed; pip install 'imagier[{extra}]' brings it.") from error
