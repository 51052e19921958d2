"""Comparison of a codec's files with JPEG, WebP and AVIF files of the same images."""

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from imagier.batch import Split
from imagier.datamodules.base import ImageData
from imagier.metrics.bd_rate import bd_rate
from imagier.metrics.quality import MS_SSIM_LEAST, ms_ssim, psnr
from imagier.tasks.base import Task
from imagier.tasks.compress import Compress
from imagier.training.image_formats import RIVALS, WEBP_LONGEST, ImageFormat, decode
from imagier.training.pictures import Comparison, Curve

log = logging.getLogger(__name__)

MOST_PICTURES, MOST_PIXELS = 16, 8_000_000  # in `compare`: MS-SSIM and AVIF's encoder are slow
THIS_NET = "this network"

Scores = Mapping[str, Callable[[Tensor, Tensor], Tensor]]  # by name; of decoded and original, [1, C, H, W]
Transmit = Callable[[Tensor], tuple[int, Tensor]]  # image, uint8 [1, C, H, W] -> file size, decoded image


def compare(task: Task, data: ImageData) -> Comparison | None:
    """Return the rate-distortion curves of a codec and its rivals on the first validation images.

    Only images large enough for MS-SSIM count, so that all means are over the same ones; if none is, all count.

    Args:
        task: with the weights to evaluate; left in evaluation mode.
        data: data module, set up.

    Returns:
        The curves; None for tasks other than compress, and without an image that every format can hold.
    """
    if not isinstance(task, Compress):
        return None
    pictures = list(_pictures(data, "val", MOST_PICTURES, MOST_PIXELS, task.device))
    if not pictures:
        return None
    large = [picture for picture in pictures if min(picture.shape[2:]) >= MS_SSIM_LEAST]
    return _comparison(task, large or pictures, {"psnr": psnr, "ms_ssim": ms_ssim})


def measured_rates(task: Task, data: ImageData, split: Split, most: int | None = None) -> dict[str, float]:
    """Return the BD-rates by PSNR over a split, or its first `most` images; empty for tasks other than compress."""
    if not isinstance(task, Compress):
        return {}
    pictures = _pictures(data, split, most, None, task.device)
    first = next(pictures, None)
    return {} if first is None else bd_rates(_comparison(task, chain([first], pictures), {"psnr": psnr}))


def _comparison(task: Compress, pictures: Iterable[Tensor], scores: Scores) -> Comparison:
    """Return curves with a point per setting: means over the images, which are held in memory one at a time."""
    log.info("comparing the codec's files with those of %s; AVIF takes longest", ", ".join(RIVALS))
    task.eval()
    ways = {THIS_NET: [_through_net(task, rate) for rate in range(len(task.lambdas))]}
    for name, rival in RIVALS.items():
        ways[name] = [_through_format(rival, quality) for quality in rival.qualities]
    rows: dict[str, list[list[tuple[float, ...]]]] = {name: [] for name in ways}  # curve -> image -> setting
    for picture_1CHW in pictures:
        for name, transmissions in ways.items():
            rows[name].append([_measured(transmit, picture_1CHW, scores) for transmit in transmissions])
    curves = []
    for name, of_each in rows.items():
        bpp, *qualities = np.mean(of_each, 0).T
        curves.append(Curve(name, bpp, dict(zip(scores, qualities, strict=True))))
    return Comparison(len(rows[THIS_NET]), curves)


def _measured(transmit: Transmit, picture_1CHW: Tensor, scores: Scores) -> tuple[float, ...]:
    """Return bits per pixel, followed by every score."""
    size, read_1CHW = transmit(picture_1CHW)
    found = (float(score(read_1CHW, picture_1CHW)) for score in scores.values())
    return 8 * size / picture_1CHW[0, 0].numel(), *found


def bd_rates(comparison: Comparison) -> dict[str, float]:
    """Return the BD-rate by PSNR against every rival: {"bd_rate/JPEG": -0.3} if files are 30 % smaller.

    Rivals that share no range of quality with the codec are left out.
    """
    net, *rivals = comparison.curves
    rates = {
        f"bd_rate/{one.name}": bd_rate(one.bpp, one.quality["psnr"], net.bpp, net.quality["psnr"]) for one in rivals
    }
    return {name: rate for name, rate in rates.items() if not math.isnan(rate)}


def _pictures(
    data: ImageData, split: Split, most: int | None, most_pixels: int | None, device: torch.device
) -> Iterator[Tensor]:
    """Yield images that every format can hold, uint8 [1, C, H, W]; at least one, even if it exceeds `most_pixels`."""
    count = pixels = 0
    for batch in data.loader(split):
        for picture_1CHW in batch["image"].split(1):
            if max(picture_1CHW.shape[2:]) > WEBP_LONGEST:
                continue
            pixels += picture_1CHW[0, 0].numel()
            if count and (count == most or (most_pixels is not None and pixels > most_pixels)):
                return
            count += 1
            yield picture_1CHW.to(device)


def _through_net(task: Compress, rate: int) -> Transmit:
    def transmit(picture_1CHW: Tensor) -> tuple[int, Tensor]:
        data = task.write(picture_1CHW[0], rate)
        return len(data), task.read(data)[None].to(picture_1CHW.device)

    return transmit


def _through_format(rival: ImageFormat, quality: int) -> Transmit:
    def transmit(picture_1CHW: Tensor) -> tuple[int, Tensor]:
        image_HWC = np.asarray(picture_1CHW[0].permute(1, 2, 0).cpu())
        data = rival.encode(image_HWC, quality)
        read_HWC = torch.tensor(decode(data, image_HWC.shape[2]))
        return len(data), read_HWC.permute(2, 0, 1)[None].to(picture_1CHW.device)

    return transmit
