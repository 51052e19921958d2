from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from imagier.batch import Facts
from imagier.losses.rate_distortion import RateDistortion
from imagier.metrics.quality import psnr
from imagier.models.bitstream import compress, decompress
from imagier.models.factorized import Factorized
from imagier.models.pixels import FromPixels
from imagier.synthetic.leaves import picture
from imagier.tasks.classify import Classify
from imagier.tasks.compress import Compress
from imagier.training import rivals
from imagier.training.image_formats import JPEG, RIVALS, best_within, decode
from imagier.training.pictures import Comparison, Curve
from imagier.training.rivals import bd_rates, compare, measured_rates

FACTS = Facts("leaves", 3, None, (0.5,) * 3, (0.2,) * 3, ("a", "b"))


class Pictures:
    """The part of a data module that is needed here: validation batches of one image each."""

    def __init__(self, *pictures_HWC: np.ndarray) -> None:
        self.pictures = pictures_HWC

    def loader(self, split: str) -> Iterator[dict[str, Tensor]]:
        assert split == "val"
        return ({"image": torch.tensor(one).permute(2, 0, 1)[None]} for one in self.pictures)


def leaves(seed: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    return picture(np.random.default_rng(seed), (height, width))[..., :channels]


def codec(channels: int = 3, lambdas: tuple[float, ...] = (0.001, 0.01)) -> Compress:
    torch.manual_seed(0)
    inner = Factorized(channels, width=8, latents=8, lambdas=lambdas)
    return Compress(FromPixels(inner, FACTS.mean[:channels], FACTS.std[:channels]), RateDistortion(), FACTS)


def test_pictures_too_long_for_a_format_are_left_out() -> None:
    strip = np.zeros((16, 16_400, 3), np.uint8)
    data: Any = Pictures(strip, leaves(0, 64, 64))
    comparison = compare(codec(), data)
    assert comparison is not None
    assert comparison.pictures == 1
    alone: Any = Pictures(strip)
    assert compare(codec(), alone) is None
    assert measured_rates(codec(), alone, "val") == {}


def test_all_codecs_are_measured_on_the_same_pictures_by_real_bytes() -> None:
    images = [leaves(0, 176, 192), leaves(1, 200, 180)]
    task = codec()
    data: Any = Pictures(*images)
    comparison = compare(task, data)
    assert comparison is not None
    assert comparison.pictures == 2
    net, *others = comparison.curves
    assert [curve.name for curve in others] == ["JPEG", "WebP", "AVIF"]
    tensors = [torch.tensor(image).permute(2, 0, 1) for image in images]
    files = [compress(task.net, tensor, 1) for tensor in tensors]  # type: ignore[arg-type]
    rates = [8 * len(file) / tensor[0].numel() for file, tensor in zip(files, tensors, strict=True)]
    assert net.bpp[1] == pytest.approx(np.mean(rates))
    quality = [
        psnr(decompress(task.net, file)[None], tensor[None]).item()  # type: ignore[arg-type]
        for file, tensor in zip(files, tensors, strict=True)
    ]
    assert net.quality["psnr"][1] == pytest.approx(np.mean(quality))
    for curve in others:
        assert (np.diff(curve.bpp) > 0).all()
        assert (np.diff(curve.quality["psnr"]) > 0).all()
        assert curve.bpp[0] < 0.6
        assert curve.bpp[-1] > 1.2
        assert ((curve.quality["ms_ssim"] > 0.5) & (curve.quality["ms_ssim"] < 1)).all()


def test_so_many_pictures_are_looked_at_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "RIVALS", {"JPEG": JPEG})
    small: Any = Pictures(*(leaves(seed, 16, 16) for seed in range(20)))
    comparison = compare(codec(lambdas=(0.01,)), small)
    assert comparison is not None
    assert comparison.pictures == 16
    assert np.isnan(comparison.curves[0].quality["ms_ssim"]).all()  # the images are too small
    monkeypatch.setattr(rivals, "MOST_PIXELS", 300)
    comparison = compare(codec(lambdas=(0.01,)), small)
    assert comparison is not None
    assert comparison.pictures == 1


def test_a_measurement_is_of_all_pictures_whatever_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "RIVALS", {"JPEG": JPEG})
    monkeypatch.setattr(rivals, "MOST_PIXELS", 300)
    monkeypatch.setattr(rivals, "bd_rates", lambda comparison: {"pictures": comparison.pictures})
    mixed: Any = Pictures(leaves(0, 180, 180), *(leaves(seed, 16, 16) for seed in range(1, 20)))
    assert measured_rates(codec(lambdas=(0.01,)), mixed, "val") == {"pictures": 20}
    assert measured_rates(codec(lambdas=(0.01,)), mixed, "val", most=5) == {"pictures": 5}


def test_bd_rates_are_those_of_the_curves() -> None:
    decibels, bits = np.array([30.0, 32.0, 35.0]), np.array([0.5, 0.8, 1.4])
    ours, half = Curve("this network", bits, {"psnr": decibels}), Curve("JPEG", 2 * bits, {"psnr": decibels})
    assert bd_rates(Comparison(1, [ours, half])) == {"bd_rate/JPEG": pytest.approx(-0.5)}
    far = Curve("WebP", bits, {"psnr": decibels + 10})  # no overlap in quality
    assert bd_rates(Comparison(1, [ours, half, far])).keys() == {"bd_rate/JPEG"}


def test_a_task_without_files_has_no_rivals() -> None:
    data: Any = Pictures()
    assert compare(Classify(nn.Identity(), nn.CrossEntropyLoss(), FACTS), data) is None


@pytest.mark.parametrize("name", RIVALS)
@pytest.mark.parametrize("channels", [1, 3])
def test_formats_take_grey_and_colour(name: str, channels: int) -> None:
    image = leaves(2, 37, 50, channels)
    read = decode(RIVALS[name].encode(image, 90), channels)
    assert read.shape == image.shape
    assert np.abs(read.astype(int) - image).mean() < 8  # chroma is stored at half the resolution


def test_the_jpeg_beside_a_file_is_the_best_that_is_no_larger() -> None:
    image = leaves(3, 96, 96)
    for size in (1000, 2000, 3500):
        data, quality = best_within(JPEG, image, size)
        assert len(data) <= size < len(JPEG.encode(image, quality + 1))
    smallest, quality = best_within(JPEG, image, 10)
    assert (len(smallest) > 10, quality) == (True, 1)
