"""How a net's files compare with JPEG, WebP and AVIF files of the same pictures."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from imagier.batch import Split
from imagier.datamodules.base import ImageData
from imagier.metrics.bd_rate import bd_rate
from imagier.metrics.quality import MS_SSIM_LEAST, ms_ssim, psnr
from imagier.tasks.base import Task
from imagier.tasks.compress import Compress
from imagier.training.image_formats import RIVALS, ImageFormat, decode
from imagier.training.pictures import Comparison, Curve

MOST_PICTURES, MOST_PIXELS = 16, 8_000_000  # looked at: MS-SSIM and AVIF's encoder take their time
THIS_NET = "this network"

Scores = Mapping[str, Callable[[Tensor, Tensor], Tensor]]  # by name; of what was read and the picture, [1, C, H, W]
Transmit = Callable[[Tensor], tuple[int, Tensor]]  # a picture, uint8 [1, C, H, W] -> bytes of its file, what is read


def compare(task: Task, data: ImageData) -> Comparison | None:
    """Draw up the rate-distortion curves of a codec and of its rivals by the first pictures of validation.

    None for a task that makes no files. Of pictures, those are taken that are large enough for MS-SSIM, so that all
    means are over the same ones; all, where none is.

    Args:
        task: with the weights to measure; left in evaluation mode.
        data: set up.
    """
    if not isinstance(task, Compress):
        return None
    pictures = list(_pictures(data, "val", MOST_PICTURES, MOST_PIXELS, task.device))
    large = [picture for picture in pictures if min(picture.shape[2:]) >= MS_SSIM_LEAST]
    return _comparison(task, large or pictures, {"psnr": psnr, "ms_ssim": ms_ssim})


def measured_rates(task: Task, data: ImageData, split: Split, most: int | None = None) -> dict[str, float]:
    """The BD-rates by PSNR over a whole split, or its first `most` pictures; none for a task that makes no files."""
    if not isinstance(task, Compress):
        return {}
    return bd_rates(_comparison(task, _pictures(data, split, most, None, task.device), {"psnr": psnr}))


def _comparison(task: Compress, pictures: Iterable[Tensor], scores: Scores) -> Comparison:
    """Curves with a point a transmission: means over the pictures, of which one at a time is held."""
    task.eval()
    ways = {THIS_NET: [_through_net(task, rate) for rate in range(len(task.lambdas))]}
    for name, rival in RIVALS.items():
        ways[name] = [_through_format(rival, quality) for quality in rival.qualities]
    rows: dict[str, list[list[tuple[float, ...]]]] = {name: [] for name in ways}  # curve -> picture -> transmission
    for picture_1CHW in pictures:
        for name, transmissions in ways.items():
            rows[name].append([_measured(transmit, picture_1CHW, scores) for transmit in transmissions])
    curves = []
    for name, of_each in rows.items():
        bpp, *qualities = np.mean(of_each, 0).T
        curves.append(Curve(name, bpp, dict(zip(scores, qualities, strict=True))))
    return Comparison(len(rows[THIS_NET]), curves)


def _measured(transmit: Transmit, picture_1CHW: Tensor, scores: Scores) -> tuple[float, ...]:
    """Bits per pixel, and every score."""
    size, read_1CHW = transmit(picture_1CHW)
    found = (float(score(read_1CHW, picture_1CHW)) for score in scores.values())
    return 8 * size / picture_1CHW[0, 0].numel(), *found


def bd_rates(comparison: Comparison) -> dict[str, float]:
    """The BD-rate by PSNR against every rival, as "bd_rate/JPEG": -0.3 where files are 30 % smaller.

    A rival that reaches none of the same qualities has none.
    """
    net, *rivals = comparison.curves
    rates = {
        f"bd_rate/{one.name}": bd_rate(one.bpp, one.quality["psnr"], net.bpp, net.quality["psnr"]) for one in rivals
    }
    return {name: rate for name, rate in rates.items() if not math.isnan(rate)}


def _pictures(
    data: ImageData, split: Split, most: int | None, most_pixels: int | None, device: torch.device
) -> Iterator[Tensor]:
    count = pixels = 0
    for batch in data.loader(split):
        for picture_1CHW in batch["image"].split(1):
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
