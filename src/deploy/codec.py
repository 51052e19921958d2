"""Compress images to small files and decompress them with a learned codec."""

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
    """Compresses and decompresses images with one network.

    Args:
        description: of the network.
        net: of task `compress`, in evaluation mode.
        threads: torch's, for the whole process; None leaves their number unchanged.
        analyse: replaces the network's own analysis, by a graph for example; the files are read the same way.

    Raises:
        ConfigError: the network is not a codec.
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
        """Return an image's compressed file.

        Args:
            given: an array uint8 [H, W, C], a path, the bytes of a file or a PIL image.
            quality: 1 (smallest files) to `qualities` (best images); None: the middle one.

        Raises:
            ConfigError: the network has no such quality.
            DataError: `given` is not an image, or too large.
        """
        image_HWC = to_pixels(given, self.channels)
        image_CHW = torch.from_numpy(np.ascontiguousarray(image_HWC.transpose(2, 0, 1)))
        return compress(self.net, image_CHW, self.rate(quality), self._analyse)

    def rate(self, quality: int | None) -> int:
        """Return the index of a quality's rate in the network. Raises ConfigError if there is no such quality."""
        if quality is None:
            return self.qualities // 2
        if not 1 <= quality <= self.qualities:
            raise ConfigError(
                f"quality={quality} is out of range: the qualities of this network are 1 to {self.qualities}."
            )
        return quality - 1

    def size(self, data: bytes) -> tuple[int, int]:
        """Return height and width of the image in a file. Raises DataError if it is damaged or of another kind."""
        return size(data)

    @torch.inference_mode()
    def decompress(self, data: bytes) -> np.ndarray:
        """Return the pixels, uint8 [H, W, C], of a file that `compress` wrote with this network.

        They are the same on every machine, for any number of threads and any runtime.

        Raises:
            DataError: the file is of another kind, damaged, or written with another network.
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
        """Compress one or several images; the results hold the file and the decompressed pixels. See `compress`."""
        if isinstance(given, list | tuple):
            return list(self.stream([to_pixels(one, self.channels) for one in given], quality))
        return next(self.stream([to_pixels(given, self.channels)], quality))

    def stream(self, images: Sequence[np.ndarray], quality: int | None = None) -> Iterator[Compressed]:
        """Yield the results for images, uint8 [H, W, C] with the network's channels, in order."""
        for image_HWC in images:
            data = self.compress(image_HWC, quality)
            yield Compressed(image_HWC, self.decompress(data), data)


class Computing(Protocol):
    """A graph with several inputs and outputs."""

    def run(self, *inputs: np.ndarray) -> Sequence[np.ndarray]:
        """Run the graph on all its inputs and return all its outputs, both in the graph's order."""


def analysis_by(graph: Computing) -> Analysis:
    """Return a function that runs a codec's encoder graph on one image, to replace `Codec.analyse`."""

    def analyse(image_1CHW: Tensor, rate: int) -> list[Tensor]:
        return [torch.from_numpy(map_1Khw) for map_1Khw in graph.run(image_1CHW.numpy(), np.array([rate]))]

    return analyse


def open_codec(bundle: Bundle, runtime: str = "auto", threads: int | None = None) -> PictureCodec:
    """Open the codec of a bundle. Entropy coding and decompression always run in torch.

    Args:
        bundle: as read.
        runtime: of the analysis in compression: torch, onnx or auto. auto is torch, which is needed anyway, is as fast,
            and writes the same files as the checkpoint. Files decompress to the same pixels whichever wrote them.
        threads: for computing; None: each runtime's default.

    Raises:
        BundleError: the bundle has no such graphs, or it is damaged.
        ConfigError: the runtime is unknown, unsupported or not installed, or the network is not a codec.
    """
    if runtime == "openvino":  # codecs are not exported for it; see `codec_graphs.refuse_unfit`
        raise ConfigError("runtime=openvino does not support task=compress; choose torch or onnx.")
    runtime = "torch" if runtime == "auto" else chosen(bundle, runtime)
    analyse = None
    if runtime != "torch" and bundle.description.task == "compress":
        analyse = analysis_by(open_graph(bundle, runtime, threads=threads, part=PARTS[0]))
    return PictureCodec(bundle.description, load_network(bundle), threads, analyse)
