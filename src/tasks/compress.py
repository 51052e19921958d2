"""Compress: pictures as small files, written and read by a net."""

from typing import Any

import torch
from torch import Tensor

from imagier.batch import Batch
from imagier.errors import ConfigError
from imagier.losses.rate_distortion import RateDistortion
from imagier.metrics.means import Means
from imagier.metrics.quality import ms_ssim, psnr, ssim
from imagier.models.bitstream import compress, decompress
from imagier.models.coded import Coded, to_pixels
from imagier.models.pixels import FromPixels
from imagier.randomness import derive_seed
from imagier.sending import sent
from imagier.tasks.base import Judged, PerStage, Task

QUALITY = {"psnr": psnr, "ssim": ssim, "ms_ssim": ms_ssim}
TOLD_OF_EACH_RATE = ("bpp", "bpp_estimate", *QUALITY)
FIGURES = (*TOLD_OF_EACH_RATE, "mismatches", "misestimates", "estimate_error")
ALLOWED_SHARE, ALLOWED_BYTES = 0.01, 64  # by which a file may differ from its estimated size

Figures = dict[str, Tensor]  # name -> float [B], NaN for a picture that was not measured so


class Compress(Task):
    """Lossy compression with a net that writes and reads its own files, at one or several rates.

    The net answers an image and the index of a rate with `imagier.models.coded.Coded`, and names the trade-offs of its
    rates in `lambdas`. A training sample is given one rate, a function of (seed, epoch, sample); an evaluation goes
    through all of them and writes every file. The final measure, and `imagier evaluate`, read the files back as well
    and measure what was read; validation while a run trains takes the encoder's reconstruction. Means over the
    pictures:

    bpp, bpp_estimate      bits per pixel of the files, headers included, and as the net estimates them
    psnr, ssim, ms_ssim    of the decoded pictures
    mismatches             share of the files that decode to other pixels than the encoder's reconstruction
    misestimates           share of the files whose size is further than 1 % and 64 bytes from its estimate
    estimate_error         difference between a file's size and its estimate, in bytes

    For a net of several rates these are means over the rates as well, and the first two lines are told of each rate,
    "psnr/0.0067" by its lambda.

    Args:
        args, kwargs: as for `Task`. A loss other than `RateDistortion` is called with picture and target alone, as
            those of denoising are: it leaves the rate to the net.

    Raises:
        ConfigError: for several rates with a loss that leaves the rate out.
    """

    monitor, mode = "val/loss", "min"
    precisions = ("32-true", "bf16-mixed", "16-mixed")  # what decides about bits is computed in single precision

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        inner: Any = self.net.net
        self.lambdas: tuple[float, ...] = tuple(inner.lambdas)
        if len(self.lambdas) > 1 and not isinstance(self.loss, RateDistortion):
            raise ConfigError(
                f"model.lambdas={list(self.lambdas)} would have no effect, as the loss ({type(self.loss).__name__}) "
                "does not include the rate; set loss=rate_distortion, or give a single lambda."
            )
        names = [self._at(rate, name) for rate in range(len(self.lambdas)) for name in FIGURES]
        self.means = PerStage(lambda: Means(names))

    def _at(self, rate: int, name: str) -> str:
        return name if len(self.lambdas) == 1 else f"{name}/{self.lambdas[rate]:g}"

    def measure(self, batch: Batch, stage: str) -> tuple[Tensor, Figures]:
        """Return the loss, in evaluation its mean over the rates, and the figures of the pictures."""
        image_BCHW = batch["image"]
        if stage == "train":
            return self._at_drawn_rates(image_BCHW, batch["index"])
        losses: list[Tensor] = []
        figures: Figures = {}
        for rate in range(len(self.lambdas)):
            loss, measured = self._at_rate(image_BCHW, rate)
            losses.append(loss)
            figures |= {self._at(rate, name): values_B for name, values_B in measured.items()}
        return torch.stack(losses).mean(), figures

    def _at_drawn_rates(self, image_BCHW: Tensor, index_B: Tensor) -> tuple[Tensor, Figures]:
        rates = len(self.lambdas)
        drawn = [derive_seed("rate", self._seed, self.current_epoch, index) % rates for index in index_B.tolist()]
        rate_B = sent(drawn, image_BCHW.device)
        coded = self.net(image_BCHW, rate_B)
        measured = {
            "bpp_estimate": coded.bits.detach() / image_BCHW[0, 0].numel(),
            "psnr": psnr(to_pixels(coded.image.detach()), image_BCHW),
        }
        figures = {
            self._at(rate, name): values_B.where(rate_B == rate, torch.nan)
            for name, values_B in measured.items()
            for rate in range(rates)
        }
        return self._loss(coded, image_BCHW, rate_B), figures

    def _at_rate(self, image_BCHW: Tensor, rate: int) -> tuple[Tensor, Figures]:
        coded = self._code(image_BCHW, rate)
        pixels = image_BCHW[0, 0].numel()
        made_BCHW = to_pixels(coded.image)
        files = [self.write(image_CHW, rate) for image_CHW in image_BCHW]
        size_B, expected_B = _sizes(files).to(coded.bits), coded.bits / 8
        error_B = (size_B - expected_B).abs()
        measured = {
            "bpp": 8 * size_B / pixels,
            "bpp_estimate": coded.bits / pixels,
            "misestimates": (error_B > ALLOWED_SHARE * expected_B + ALLOWED_BYTES).float(),
            "estimate_error": error_B,
        }
        if self.trainer.state.fn != "fit":
            read_BCHW = self._read_all(files, image_BCHW)
            measured |= {"mismatches": (read_BCHW != made_BCHW).flatten(1).any(1).float()}
            made_BCHW = read_BCHW
        measured |= {name: score(made_BCHW, image_BCHW) for name, score in QUALITY.items()}
        rate_B = torch.full((len(image_BCHW),), rate, device=image_BCHW.device)
        return self._loss(coded, image_BCHW, rate_B), measured

    def _code(self, image_BCHW: Tensor, rate: int) -> Coded:
        """Ask the net for one picture at a time, as files are written: sums over a batch round another way."""
        rate_1 = torch.tensor([rate], device=image_BCHW.device)
        coded = [self.net(image_1CHW, rate_1) for image_1CHW in image_BCHW.split(1)]
        return Coded(torch.cat([one.image for one in coded]), torch.cat([one.bits for one in coded]))

    def _read_all(self, files: list[bytes], image_BCHW: Tensor) -> Tensor:
        return torch.stack([self.read(data) for data in files]).to(image_BCHW.device)

    @torch.inference_mode()
    def write(self, image_CHW: Tensor, rate: int) -> bytes:
        """Return the file of a picture, uint8 [C, H, W], at the rate of this index."""
        return compress(self._net(), image_CHW, rate)

    @torch.inference_mode()
    def read(self, data: bytes) -> Tensor:
        """Return the picture in a file that `write` made, uint8 [C, H, W]."""
        return decompress(self._net(), data)

    def _net(self) -> FromPixels:
        assert isinstance(self.net, FromPixels)
        return self.net

    def _loss(self, coded: Coded, image_BCHW: Tensor, rate_B: Tensor) -> Tensor:
        target_BCHW = image_BCHW.float() / 255
        if isinstance(self.loss, RateDistortion):
            lambda_B = sent(self.lambdas, rate_B.device)[rate_B]
            return self.loss(coded.image, target_BCHW, coded.bits, lambda_B)
        loss: Tensor = self.loss(coded.image, target_BCHW)
        return loss

    def _weight(self, batch: Batch) -> Tensor:
        """A picture counts as one, whatever its size."""
        return torch.full((), len(batch["id"]), device=batch["image"].device)  # a copy would be waited for

    @property
    def validates_wholly(self) -> bool:
        """Files are read back when training is over."""
        return False

    def count(self, stage: str, prediction: Figures, batch: Batch) -> None:
        """Add the figures of one batch."""
        self.means[stage].update(prediction)

    def scores(self, stage: str) -> dict[str, Tensor]:
        """Every figure's mean over pictures and rates; outside of training also those of each rate."""
        means = self.means[stage].compute()
        rates = range(len(self.lambdas))
        scores = {name: torch.stack([means[self._at(rate, name)] for rate in rates]).nanmean() for name in FIGURES}
        if stage == "train" or len(rates) == 1:
            return scores
        return scores | {(key := self._at(rate, name)): means[key] for name in TOLD_OF_EACH_RATE for rate in rates}

    @torch.inference_mode()
    def judge(self, batch: Batch) -> Judged:
        """Return the pictures read from real files of the middle rate, ranked by PSNR, with their bytes."""
        files = [self.write(image_CHW, len(self.lambdas) // 2) for image_CHW in batch["image"]]
        read_BCHW = self._read_all(files, batch["image"])
        quality_B = psnr(read_BCHW, batch["image"])
        return Judged(read_BCHW, quality_B, {"bytes": _sizes(files), "psnr": quality_B})


def _sizes(files: list[bytes]) -> Tensor:
    return torch.tensor([len(data) for data in files], dtype=torch.float64)
