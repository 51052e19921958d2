"""Merging a 2x upsampling and its convolution into one transposed convolution: outputs equal, or left unmerged."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim

from imagier.deploy.graph import follow, save_onnx
from imagier.deploy.upsampling import joined


class Decoder(nn.Module):
    """Upsamples a half-size feature map, concatenates it with skip connections, and applies one convolution."""

    def __init__(
        self, skips: tuple[int, int], dilation: int = 1, mode: str = "nearest", scale: float | None = 2
    ) -> None:
        super().__init__()
        self.mode, self.scale = mode, scale
        self.down = nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.skips = nn.ModuleList(nn.Conv2d(3, channels, 1) for channels in skips if channels)
        self.first = int(skips[0] > 0)
        self.conv = nn.Conv2d(5 + sum(skips), 4, 3, padding=dilation, dilation=dilation)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, image: Tensor) -> Tensor:
        small = self.down(image)
        size = None if self.scale else image.shape[-2:]
        joint = [skip(image) for skip in self.skips]
        joint.insert(self.first, F.interpolate(small, size, self.scale, self.mode))
        return F.relu(self.norm(self.conv(torch.cat(joint, 1))))


def graph_of(net: nn.Module, path: Path, even: bool = True) -> onnx.ModelProto:
    """Export the network for images of any even size, or of any size."""
    height, width = Dim("height", min=3), Dim("width", min=3)
    axes = {0: Dim("batch", min=1), 2: 2 * height if even else height, 3: 2 * width if even else width}
    torch.manual_seed(0)
    save_onnx(follow(net, (torch.rand(2, 3, 16, 24),), {"image": axes}, "Decoder"), path, "answer")
    return onnx.load(path)


def answers(graph: onnx.ModelProto, image_BCHW: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(graph.SerializeToString()).run(None, {"image": image_BCHW})[0]


def doublings(graph: onnx.ModelProto) -> int:
    return sum(node.op_type == "ConvTranspose" for node in graph.graph.node)


@pytest.mark.parametrize("skips", [(0, 0), (2, 0), (0, 2), (2, 3)])
def test_the_answers_are_the_same_at_every_size(tmp_path: Path, skips: tuple[int, int]) -> None:
    graph = graph_of(Decoder(skips), tmp_path / "net.onnx")
    images = [
        np.random.default_rng(0).random(size, np.float32) for size in [(1, 3, 6, 8), (2, 3, 16, 24), (1, 3, 10, 6)]
    ]
    before = [answers(graph, image) for image in images]
    assert doublings(joined(graph)) == 1
    for image, wanted in zip(images, before, strict=True):
        np.testing.assert_allclose(answers(graph, image), wanted, atol=1e-6)


def test_a_doubling_by_size_is_one_as_well(tmp_path: Path) -> None:
    assert doublings(joined(graph_of(Decoder((2, 0), scale=None), tmp_path / "net.onnx"))) == 1


@pytest.mark.parametrize("options", [{"mode": "bilinear"}, {"dilation": 2}, {"scale": 3.0}])
def test_what_is_not_the_same_is_left_alone(tmp_path: Path, options: dict[str, Any]) -> None:
    hold_untouched(graph_of(Decoder((0, 0), **options), tmp_path / "net.onnx"))


def test_a_map_that_some_pictures_alone_have_doubled_is_left_alone(tmp_path: Path) -> None:
    hold_untouched(graph_of(Decoder((2, 0), scale=None), tmp_path / "net.onnx", even=False))


def hold_untouched(graph: onnx.ModelProto) -> None:
    before = graph.SerializeToString()
    assert joined(graph).SerializeToString() == before
