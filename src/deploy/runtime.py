"""Runtimes for inference: onnxruntime, OpenVINO or torch. Each takes uint8 pixels and returns float32."""

from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from imagier.deploy.bundle import PRECISIONS, WHOLE, Bundle
from imagier.errors import BundleError, ConfigError

RUNTIMES = ("auto", "torch", "onnx", "openvino")
DEVICES = ("auto", "cpu", "cuda")  # of torch; graphs run on the CPU

_LARGE = 1 << 20  # pixels of a batch: those of one tile


class Runtime(Protocol):
    """A network ready for inference."""

    def __call__(self, image_BCHW: np.ndarray) -> np.ndarray:
        """Map uint8 [B, C, H, W] to logits [B, K] or [B, K, H, W], or images [B, C, H, W] of about 0 to 1; float32."""


class OnnxRuntime:
    """A graph in onnxruntime, on the CPU.

    Args:
        path: of the .onnx file.
        threads: for one call; None: onnxruntime's default.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self._made_of = path, threads
        onnxruntime = _installed("onnxruntime", "onnx")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads or 0
        # Without VNNI int8 products are summed in 16 bits, which can overflow; this selects a slower, exact kernel.
        options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has no base class for its errors
            raise BundleError(f"{path} cannot be opened by onnxruntime ({error}). Export it again.") from error
        self._inputs = [given.name for given in self._session.get_inputs()]
        self._shrinking = onnxruntime.RunOptions()  # else the gigabytes that a large image takes are never freed
        self._shrinking.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def __reduce__(self) -> tuple[type, tuple[Path, int | None]]:
        """Pickle path and threads, so that another process opens the graph again."""
        return type(self), self._made_of

    def __call__(self, image_BCHW: np.ndarray) -> np.ndarray:
        """See `Runtime`."""
        return self.run(image_BCHW)[0]

    def run(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """Run the graph on its inputs, given in their order, and return all its outputs."""
        given = zip(self._inputs, map(np.ascontiguousarray, inputs), strict=True)
        large = inputs[0].size > _LARGE * inputs[0].shape[1]
        outputs: list[np.ndarray] = self._session.run(None, dict(given), self._shrinking if large else None)
        return outputs


class OpenVino:
    """A graph in OpenVINO, on the CPU.

    Args:
        path: of the .xml file, with a .bin file beside it.
        threads: for one call; None: OpenVINO's default.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self._made_of = path, threads
        # On processors with bf16 OpenVINO would use it, and outputs would differ from those compared at export.
        settings = {"INFERENCE_PRECISION_HINT": "f32"} | ({"INFERENCE_NUM_THREADS": threads} if threads else {})
        try:
            self._model = _openvino_core().compile_model(path, "CPU", settings)
        except RuntimeError as error:
            raise BundleError(f"{path} cannot be opened by OpenVINO ({error}). Export it again.") from error

    def __reduce__(self) -> tuple[type, tuple[Path, int | None]]:
        """Pickle path and threads, so that another process opens the graph again."""
        return type(self), self._made_of

    def __call__(self, image_BCHW: np.ndarray) -> np.ndarray:
        """See `Runtime`."""
        return self.run(image_BCHW)[0]

    def run(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """Run the graph on its inputs, given in their order, and return all its outputs."""
        outputs = self._model([np.ascontiguousarray(given) for given in inputs])
        return [outputs[place] for place in range(len(outputs))]


def open_runtime(
    bundle: Bundle,
    runtime: str = "auto",
    precision: str | None = None,
    threads: int | None = None,
    device: str = "auto",
) -> Runtime:
    """Open a bundle's network in a runtime.

    Args:
        bundle: as read; not of a codec.
        runtime: one of RUNTIMES; auto takes an onnx graph if there is one, and torch otherwise.
        precision: fp32 or int8; None takes the first graph of the runtime.
        threads: for one call; None: the runtime's default.
        device: one of DEVICES, for torch; auto takes a GPU if there is one. Graphs run on the CPU.

    Raises:
        BundleError: the bundle has no such graph, or it is damaged.
        ConfigError: the runtime is unknown or not installed, or does not have this device or precision.
    """
    runtime = chosen(bundle, runtime)
    if device == "cuda" and runtime != "torch":
        raise ConfigError(f"device=cuda needs runtime=torch, but runtime={runtime} runs a graph. Add runtime=torch.")
    if precision not in (None, *PRECISIONS):
        raise ConfigError(f"precision={precision} is not known; it is one of: {', '.join(PRECISIONS)}.")
    if runtime != "torch":
        return open_graph(bundle, runtime, precision, threads)
    from imagier.deploy.network import TorchNet, load_network  # torch takes seconds to import

    if precision not in (None, "fp32"):
        raise ConfigError(f"precision={precision} needs a graph: choose runtime=onnx or openvino.")
    return TorchNet(load_network(bundle), threads, device)


def chosen(bundle: Bundle, runtime: str) -> str:
    """Resolve `runtime`, one of RUNTIMES, to one other than auto. Raises ConfigError if it is unknown."""
    if runtime not in RUNTIMES:
        raise ConfigError(f"runtime={runtime} is not known; it is one of: {', '.join(RUNTIMES)}.")
    if runtime != "auto":
        return runtime
    return "onnx" if any(graph.format == "onnx" for graph in bundle.graphs) else "torch"


def open_graph(
    bundle: Bundle, runtime: str, precision: str | None = None, threads: int | None = None, part: str = WHOLE
) -> OnnxRuntime | OpenVino:
    """Open one graph of `bundle`, onnx or openvino; see `open_runtime`."""
    graph = bundle.graph(runtime, precision, part)
    if runtime == "onnx":
        return OnnxRuntime(bundle.path(graph.file), threads)
    bundle.path(Path(graph.file).with_suffix(".bin").name)
    return OpenVino(bundle.path(graph.file), threads)


@cache
def _openvino_core() -> Any:
    """Return the only OpenVINO core of this process.

    Each core installs an alternate signal stack for its thread. Of two cores, the first to be destroyed frees its
    stack, the second reinstalls that freed one, and the next signal kills the process.
    """
    return _installed("openvino", "openvino").Core()


def _installed(module: str, extra: str) -> Any:
    try:
        return __import__(module)
    except ImportError as error:
        raise ConfigError(f"{module} is not installed; run pip install 'imagier[{extra}]'.") from error
