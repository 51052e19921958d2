"""Pictures as small files, and back: a codec in use."""

from collections.abc import Iterator, Sequence
from typing import Protocol, overload

import numpy as np
import torch
from torch import Tensor

from imagier.deploy.bundle import PARTS, Bundle, Description
from imagier.deploy.network import load_network
from imagier.deploy.pictures import Given, to_pixels
from imagier.deploy.results import Compressed
from imagier.deploy.runtime import chosen, open_graph
from imagier.errors import ConfigError
from imagier.models.bitstream import Analysis, codec_of, compress, decompress, size
from imagier.models.pixels import FromPixels


class PictureCodec:
    """Writes and reads files of one net.

    Args:
        description: of the net.
        net: of task `compress`, in evaluation.
        threads: that compute, of the whole process; None leaves them as they are.
        analyse: the net's analysis by other means, such as a graph; None: the net's own. Each reads the other's files.

    Raises:
        ConfigError: the net is no codec.
    """

    def __init__(
        self, description: Description, net: FromPixels, threads: int | None = None, analyse: Analysis | None = None
    ) -> None:
        codec = codec_of(net)
        self.description, self.net, self._analyse = description, net, analyse
        self.channels, self.qualities = len(net.mean), len(codec.lambdas)
        if threads:
            torch.set_num_threads(threads)

    @torch.inference_mode()
    def compress(self, given: Given, quality: int | None = None) -> bytes:
        """Return the file of a picture.

        Args:
            given: an array uint8 [H, W, C], a path, the bytes of a file or a PIL image.
            quality: 1, the smallest files, to `qualities`, the best pictures; None: the middle one.

        Raises:
            ConfigError: the net has no such quality.
            DataError: it is no picture, or too large.
        """
        image_HWC = to_pixels(given, self.channels)
        image_CHW = torch.from_numpy(np.ascontiguousarray(image_HWC.transpose(2, 0, 1)))
        return compress(self.net, image_CHW, self.rate(quality), self._analyse)

    def rate(self, quality: int | None) -> int:
        """The index of the net's rate that a quality means. Raises ConfigError where there is none."""
        if quality is None:
            return self.qualities // 2
        if not 1 <= quality <= self.qualities:
            raise ConfigError(
                f"quality={quality} is out of range: the qualities of this network are 1 to {self.qualities}."
            )
        return quality - 1

    def size(self, data: bytes) -> tuple[int, int]:
        """Height and width of the picture in a file. Raises DataError where it is of another kind or damaged."""
        return size(data)

    @torch.inference_mode()
    def decompress(self, data: bytes) -> np.ndarray:
        """Return the pixels, uint8 [H, W, C], of a file that `compress` wrote with this net.

        They are the same on every machine, at any number of threads and whatever the runtime.

        Raises:
            DataError: it is of another kind, damaged, or written with another net.
        """
        image_CHW = decompress(self.net, data)
        return np.ascontiguousarray(image_CHW.numpy().transpose(1, 2, 0))

    @overload
    def __call__(self, given: list[Given] | tuple[Given, ...], quality: int | None = None) -> list[Compressed]: ...
    @overload
    def __call__(self, given: Given, quality: int | None = None) -> Compressed: ...

    def __call__(
        self, given: Given | list[Given] | tuple[Given, ...], quality: int | None = None
    ) -> Compressed | list[Compressed]:
        """Return the file of one picture, or of several, with the pixels that it gives back; see `compress`."""
        if isinstance(given, list | tuple):
            return list(self.stream([to_pixels(one, self.channels) for one in given], quality))
        return next(self.stream([to_pixels(given, self.channels)], quality))

    def stream(self, images: Sequence[np.ndarray], quality: int | None = None) -> Iterator[Compressed]:
        """Answer about pictures, uint8 [H, W, C] with the net's channels, in their order."""
        for image_HWC in images:
            data = self.compress(image_HWC, quality)
            yield Compressed(image_HWC, self.decompress(data), data)


class Computing(Protocol):
    """A graph of several inputs and outputs."""

    def run(self, *inputs: np.ndarray) -> Sequence[np.ndarray]:
        """Return all outputs of the graph for all inputs, in their order."""


def analysis_by(graph: Computing) -> Analysis:
    """Return what a codec's encoder graph does for one picture, in the place of `Codec.analyse`."""

    def analyse(image_1CHW: Tensor, rate: int) -> list[Tensor]:
        return [torch.from_numpy(map_1Khw) for map_1Khw in graph.run(image_1CHW.numpy(), np.array([rate]))]

    return analyse


def open_codec(bundle: Bundle, runtime: str = "auto", threads: int | None = None) -> PictureCodec:
    """Open the codec of a bundle. The entropy coder and all that reads a file are this house's and need torch.

    Args:
        bundle: as read.
        runtime: that analyses pictures for their files, one of `imagier.deploy.runtime.RUNTIMES`; auto takes torch,
            which is there anyway, is as fast, and writes the checkpoint's own files. Any reads them to the same pixels.
        threads: that compute; None: as many as there are cores.

    Raises:
        BundleError: the bundle has no such graphs, or it is damaged.
        ConfigError: the runtime is unknown or not installed, or the net is no codec.
    """
    if runtime == "openvino":  # which no codec is exported for; see `codec_graphs.refuse_unfit`
        raise ConfigError("runtime=openvino does not support task=compress; choose torch or onnx.")
    runtime = "torch" if runtime == "auto" else chosen(bundle, runtime)
    analyse = None
    if runtime != "torch" and bundle.description.task == "compress":
        analyse = analysis_by(open_graph(bundle, runtime, threads=threads, part=PARTS[0]))
    return PictureCodec(bundle.description, load_network(bundle), threads, analyse)
