"""A net in torch as a graph: ONNX for onnxruntime, OpenVINO's own, .pt2 for torch without this house's code.

Graphs take uint8 [B, C, H, W] of any batch size and, of dense nets, of any height and width; normalisation is inside.
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
    """The net as it is asked outside of training: a single float32 output."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        """Map uint8 [B, C, H, W] to float32."""
        answer: Tensor = self.net(image).float()
        return answer


def trace(net: nn.Module, description: Description) -> ExportedProgram:
    """Follow the net once and write down what it does, for every batch size and every size of pictures it allows.

    Raises:
        BundleError: the net does something that torch.export cannot follow, or takes one size of pictures alone and
            was trained on several.
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
    """Follow any net once.

    Args:
        net: which calls its inputs as `shapes` does.
        examples: of its inputs.
        shapes: of each input, the axes that may have any size.
        name: for errors.

    Raises:
        BundleError: the net does something that torch.export cannot follow.
    """
    try:
        with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own making
            return torch.export.export(net.eval(), examples, dynamic_shapes=shapes)
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise BundleError(f"{name} cannot be exported: {said}") from error


def save_pt2(program: ExportedProgram, path: Path) -> None:
    """Write the graph as torch loads it again with `torch.export.load`."""
    program.example_inputs = None  # would be written as a pickle, which a bundle holds none of
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        held = io.BytesIO()  # on a full disk torch's own writer ends the process
        torch.export.save(program, held)
        path.write_bytes(held.getbuffer())


def save_openvino(onnx: Path, path: Path) -> None:
    """Write an ONNX graph in OpenVINO's own format, an .xml file with a .bin file beside it."""
    try:
        import openvino
    except ImportError as error:
        raise ConfigError("openvino is not installed; run pip install 'imagier[openvino]'.") from error
    from onnx import load

    from imagier.deploy.upsampling import joined

    model = joined(load(onnx))  # by which this runtime answers sooner, and onnxruntime does not
    openvino.save_model(openvino.Core().read_model(model.SerializeToString()), path, compress_to_fp16=False)


def save_onnx(program: ExportedProgram, path: Path, *answers: str) -> None:
    """Write the graph as ONNX, in one file; inputs are called as the net calls them, and outputs as `answers` say."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(program, output_names=answers, dynamo=True, external_data=False, verbose=False)
    assert made is not None
    made.save(path, external_data=False)
