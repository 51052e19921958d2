"""Encode, send and decode images, and measure time and quality."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from imagier.metrics.quality import ms_ssim, psnr, ssim
from imagier.transfer.forms import Form
from imagier.transfer.link import Link

Made = TypeVar("Made")


@dataclass(frozen=True)
class Passage:
    """Measurements of one image in one form.

    picture: the image's name.
    form:    of the file, and `quality` on the form's scale.
    pixels:  height times width.
    bytes:   of the whole file.
    encode:  seconds; decode: likewise.
    links:   seconds of the transfer, see `Link.fetch`, by the link's name.
    psnr:    of the decoded image, in dB; ssim, ms_ssim: 1 if identical, NaN if the image is too small.
    """

    picture: str
    form: str
    quality: int | None
    pixels: int
    bytes: int
    encode: float
    decode: float
    links: dict[str, float]
    psnr: float
    ssim: float
    ms_ssim: float

    @property
    def bpp(self) -> float:
        """Bits per pixel."""
        return 8 * self.bytes / self.pixels

    def seconds(self, link: str) -> float:
        """Total time of encoding, transfer over the link and decoding."""
        return self.encode + self.links[link] + self.decode

    def to_dict(self) -> dict[str, Any]:
        """Return a row of the CSV file."""
        row = asdict(self)
        links = row.pop("links")
        return row | {"bpp": self.bpp} | {f"transfer {name}": seconds for name, seconds in links.items()}


def passages(
    pictures: Iterable[tuple[str, np.ndarray]], forms: Sequence[Form], links: Sequence[Link]
) -> Iterator[Passage]:
    """Send every image in every form over every link.

    Args:
        pictures: names, and uint8 [H, W, C]; consumed one by one.
        forms: each runs once untimed on the first image, because first calls are slower.
        links: not entered yet.

    Yields:
        The measurements, image by image, in the order of `forms`.

    Raises:
        DataError: a link has delivered other bytes than were sent.
    """
    with ExitStack() as stack:
        for link in links:
            stack.enter_context(link)
        for number, (name, image_HWC) in enumerate(pictures):
            for form in forms if number == 0 else ():
                form.decode(form.encode(image_HWC))
            for form in forms:
                yield _passage(name, image_HWC, form, links)


def _passage(name: str, image_HWC: np.ndarray, form: Form, links: Sequence[Link]) -> Passage:
    data, encode = _timed(lambda: form.encode(image_HWC))
    links[0].fetch(data)  # untimed: the first transfer after encoding is the slowest
    on_the_way = {link.name: link.fetch(data) for link in links}
    read_HWC, decode = _timed(lambda: form.decode(data))
    one_1CHW, other_1CHW = _batch(read_HWC), _batch(image_HWC)
    scores = (float(score(one_1CHW, other_1CHW)) for score in (psnr, ssim, ms_ssim))
    pixels = image_HWC.shape[0] * image_HWC.shape[1]
    return Passage(name, form.name, form.quality, pixels, len(data), encode, decode, on_the_way, *scores)


def _timed(make: Callable[[], Made]) -> tuple[Made, float]:
    began = time.perf_counter()
    made = make()
    return made, time.perf_counter() - began


def _batch(image_HWC: np.ndarray) -> Tensor:
    return torch.tensor(image_HWC).permute(2, 0, 1)[None]
