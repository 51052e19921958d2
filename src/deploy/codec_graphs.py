"""A codec as two graphs, one before and one after its entropy coder.

encoder: image, uint8 [B, C, H, W] of any size, rate, int64 [B] -> latents, float32 [B, M, h, w], in quantisation
         steps, and with a hyperprior hyper_latents, float32 [B, N, h / 4, w / 4]
decoder: latents, float32 [B, M, h, w], as read from a file, rate, int64 [B] -> picture, float32 of about 0 to 1,
         height and width padded to multiples of the network's stride

imagier itself uses only the encoder, since it decodes images bit-exactly, which no graph can guarantee; see
`imagier.models.exact`. The decoder is for other programs: its images match those to within a grey level.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from imagier.deploy.agreement import Agreement, Sample, Tally
from imagier.deploy.bundle import PARTS, Description, Graph
from imagier.deploy.codec import Computing, analysis_by
from imagier.deploy.graph import INPUT, follow, save_onnx, save_pt2
from imagier.deploy.runtime import OnnxRuntime
from imagier.errors import ConfigError
from imagier.metrics.quality import psnr
from imagier.models.bitstream import compress
from imagier.models.coded import Codec, to_pixels
from imagier.models.pixels import FromPixels, crop

_RATE, _LATENTS, _HYPER, _PICTURE = "rate", "latents", "hyper_latents", "picture"


def refuse_unfit(formats: Iterable[str], precisions: Iterable[str]) -> None:
    """Raise ConfigError if int8 or OpenVINO is requested."""
    if "openvino" in formats:
        # Its outputs agree, but a process that has run both graphs crashes with a segmentation fault when it forks.
        raise ConfigError(
            "formats=openvino does not support task=compress: OpenVINO has crashed after running the graphs of a "
            "codec. Choose onnx or pt2."
        )
    if "int8" in precisions:
        raise ConfigError(
            "precision=int8 does not support task=compress: a codec is trained for its own rounding of latents, and "
            "int8 would add another, for larger files and worse images. Remove precision."
        )


def compared(
    folder: Path,
    net: FromPixels,
    description: Description,
    formats: Sequence[str],
    samples: Callable[[], Iterable[Sample]],
) -> Iterator[tuple[Graph, Agreement]]:
    """Write encoder and decoder in each format into `folder`, and yield each with its agreement with the network.

    Raises:
        BundleError: the network cannot be exported.
    """
    programs = _followed(net, description) if formats else {}
    for form in formats:
        opened = {part: _written(program, folder, part, form) for part, program in programs.items()}
        encoder, decoder = (opened[part][1] for part in PARTS)
        agreements = compare(net, encoder, decoder, samples())
        for part, agreement in zip(PARTS, agreements, strict=True):
            yield Graph(opened[part][0], form, "fp32", {}, part), agreement


class _Encoder(nn.Module):
    def __init__(self, net: FromPixels) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor, rate: Tensor) -> tuple[Tensor, ...]:
        codec: Any = self.net.net
        return tuple(map_BKhw.float() for map_BKhw in codec.analyse(self.net.normalized(image), rate))


class _Decoder(nn.Module):
    def __init__(self, net: FromPixels) -> None:
        super().__init__()
        self.net = net.net

    def forward(self, latents: Tensor, rate: Tensor) -> Tensor:
        codec: Any = self.net
        layers, gain = codec.synthesis_at(rate)
        picture: Tensor = layers(latents / gain).float()
        return picture


def _followed(net: FromPixels, description: Description) -> dict[str, ExportedProgram]:
    image_BCHW = torch.zeros(2, description.channels, 96, 160, dtype=torch.uint8)
    rate_B = torch.zeros(2, dtype=torch.int64)
    batch, free = Dim("batch", min=1), {2: Dim("height", min=1), 3: Dim("width", min=1)}
    encoder, decoder = _Encoder(net).eval(), _Decoder(net).eval()
    with torch.no_grad():
        latents_BMhw = encoder(image_BCHW, rate_B)[0]
    shapes: dict[str, Any] = {INPUT: {0: batch} | free, _RATE: {0: batch}}
    first = follow(encoder, (image_BCHW, rate_B), shapes, description.net)
    shapes = {_LATENTS: {0: batch} | free, _RATE: {0: batch}}
    return dict(zip(PARTS, (first, follow(decoder, (latents_BMhw, rate_B), shapes, description.net)), strict=True))


def _written(program: ExportedProgram, folder: Path, part: str, form: str) -> tuple[str, Computing]:
    """Write one graph; return its file name and the opened graph."""
    if form == "pt2":
        save_pt2(program, folder / f"{part}.pt2")
        return f"{part}.pt2", _Followed(folder / f"{part}.pt2")
    onnx, outputs = folder / f"{part}-fp32.onnx", len(program.graph_signature.user_outputs)
    save_onnx(program, onnx, *((_LATENTS, _HYPER)[:outputs] if part == PARTS[0] else (_PICTURE,)))
    return onnx.name, OnnxRuntime(onnx)


class _Followed:
    """A .pt2 graph opened in torch."""

    def __init__(self, path: Path) -> None:
        self._module = torch.export.load(path).module()

    @torch.no_grad()
    def run(self, *inputs: np.ndarray) -> list[np.ndarray]:
        answers = self._module(*(torch.from_numpy(np.ascontiguousarray(given)) for given in inputs))
        return [answer.numpy() for answer in (answers if isinstance(answers, list | tuple) else [answers])]


@torch.inference_mode()
def compare(
    net: FromPixels, encoder: Computing, decoder: Computing, samples: Iterable[Sample]
) -> tuple[Agreement, Agreement]:
    """Code images at every rate with the network and with its graphs, and compare.

    Args:
        net: the trained network.
        encoder, decoder: graphs exported from it.
        samples: name, image uint8 [C, H, W], and a target, which is ignored.

    Returns:
        For the encoder: difference of the latents in steps, share of equal symbols, bits per pixel of whole files.
        For the decoder, on the same latents: difference of the images, share of equal pixel values, PSNR in dB.
    """
    codec, analyse = net.net, analysis_by(encoder)
    assert isinstance(codec, Codec)
    before, after = Tally(), Tally()
    bits, quality = list[tuple[float, ...]](), list[tuple[float, ...]]()  # each of the network and of its graphs
    for name, image_CHW, _ in samples:
        image_1CHW = torch.from_numpy(image_CHW)[None]
        for rate in range(len(codec.lambdas)):
            normalized_1CHW = net.normalized(image_1CHW)
            wanted = codec.analyse(normalized_1CHW, codec.at(rate))
            found = analyse(image_1CHW, rate)
            symbols = [codec.rounded(analysed, rate) for analysed in (wanted, found)]
            before.add(name, zip(wanted, found, strict=True), zip(*symbols, strict=True))
            height, width = normalized_1CHW.shape[2:]
            latent_1Mhw = codec.read(codec.write(wanted, rate), height, width, rate)
            by_graph = decoder.run(latent_1Mhw.numpy(), np.array([rate]))[0]
            pictures = codec.synthesise(latent_1Mhw, codec.at(rate)), torch.from_numpy(by_graph)
            pixels = [to_pixels(picture_1CHW) for picture_1CHW in pictures]
            after.add(name, [pictures], [(pixels[0], pixels[1])])
            files = [compress(net, image_1CHW[0], rate, analysis) for analysis in (None, analyse)]
            bits.append(tuple(8 * len(file) / image_1CHW[0, 0].numel() for file in files))
            quality.append(tuple(float(psnr(crop(seen, *image_1CHW.shape[2:]), image_1CHW)) for seen in pixels))
    return before.agreement("bpp", *np.mean(bits, 0).tolist()), after.agreement("psnr", *np.mean(quality, 0).tolist())
