"""Export a torch network as a graph: ONNX, OpenVINO, or .pt2 for torch without imagier's code.

Graphs take uint8 [B, C, H, W] of any batch size and, if the network has a stride, of any height and width.
Normalisation is part of the graph.
"""

import io
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from imagier.deploy.bundle import Description
from imagier.errors import BundleError, ConfigError

log = logging.getLogger(__name__)

INPUT = "image"


class Answering(nn.Module):
    """The network as used outside of training: a single float32 output."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        """Map uint8 [B, C, H, W] to float32."""
        answer: Tensor = self.net(image).float()
        return answer


def trace(net: nn.Module, description: Description) -> ExportedProgram:
    """Trace the network for any batch size and, if it has a stride, any image size.

    Raises:
        BundleError: torch.export cannot trace the network, or it was trained on images of several sizes and has no
            stride, so that its graph would have a fixed size.
    """
    if description.resize is None and description.stride is None:
        raise BundleError(
            f"{description.name} was trained on images of several sizes, but a graph has a fixed size; train it with "
            "data.size=[H,W], or export it with formats=[], for runtime=torch only."
        )
    height, width = description.resize or (96, 160)
    example = torch.zeros(2, description.channels, height, width, dtype=torch.uint8)
    shapes: dict[int, Any] = {0: Dim("batch", min=1)}
    if description.stride is not None:
        shapes |= {2: Dim("height", min=1), 3: Dim("width", min=1)}
    return follow(Answering(net), (example,), {INPUT: shapes}, description.net)


def follow(net: nn.Module, examples: tuple[Tensor, ...], shapes: dict[str, Any], name: str) -> ExportedProgram:
    """Trace any module with torch.export.

    Args:
        net: whose forward arguments have the names in `shapes`.
        examples: one tensor per input.
        shapes: the dynamic axes of each input.
        name: for error messages.

    Raises:
        BundleError: torch.export cannot trace the module.
    """
    try:
        with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # raised by torch's own code
            return torch.export.export(net.eval(), examples, dynamic_shapes=shapes)
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise BundleError(f"{name} cannot be exported: {said}") from error


def save_pt2(program: ExportedProgram, path: Path) -> None:
    """Write the graph for `torch.export.load`."""
    program.example_inputs = None  # would be pickled, and bundles contain no pickles
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        held = io.BytesIO()  # torch's own writer aborts the process when the disk is full
        torch.export.save(program, held)
        path.write_bytes(held.getbuffer())


def save_openvino(onnx: Path, path: Path) -> None:
    """Write an ONNX graph in OpenVINO's format, an .xml file with a .bin file beside it."""
    try:
        import openvino
    except ImportError as error:
        raise ConfigError("openvino is not installed; run pip install 'imagier[openvino]'.") from error
    from onnx import load

    from imagier.deploy.upsampling import joined

    model = joined(load(onnx))  # faster in OpenVINO, but not in onnxruntime
    openvino.save_model(openvino.Core().read_model(model.SerializeToString()), path, compress_to_fp16=False)


def save_onnx(program: ExportedProgram, path: Path, *answers: str) -> None:
    """Write the graph as one ONNX file. Inputs are named as in the module's forward, outputs by `answers`."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(program, output_names=answers, dynamo=True, external_data=False, verbose=False)
    assert made is not None
    made.save(path, external_data=False)
