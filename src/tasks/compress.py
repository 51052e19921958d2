"""Compress: images as small files, encoded and decoded by a network."""

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
ALLOWED_SHARE, ALLOWED_BYTES = 0.01, 64  # allowed difference between a file's size and its estimate

Figures = dict[str, Tensor]  # name -> float [B], NaN for an image without this figure


class Compress(Task):
    """Lossy compression with a network that writes and reads its own files, at one or several rates.

    The network maps images and rate indices to `imagier.models.coded.Coded`, and lists its trade-offs in `lambdas`. In
    training, a sample's rate is a function of (seed, epoch, sample); evaluation uses all rates and writes every file.
    The evaluation after training, and `imagier evaluate`, also decode the files and measure the result; validation
    during training measures the encoder's reconstruction. Scores are means over the images:

    bpp, bpp_estimate      bits per pixel of the files, headers included, and as estimated by the network
    psnr, ssim, ms_ssim    of the decoded images
    mismatches             fraction of files that decode to other pixels than the encoder's reconstruction
    misestimates           fraction of files whose size differs from its estimate by more than 1 % plus 64 bytes
    estimate_error         absolute difference between a file's size and its estimate, in bytes

    With several rates, these are also averaged over the rates, and outside of training the scores in the first two
    lines are reported for each rate as well, named by its lambda, as in "psnr/0.0067".

    Args:
        args, kwargs: as for `Task`. A loss other than `RateDistortion` is called with image and target alone, as in
            denoising, and does not constrain the rate.

    Raises:
        ConfigError: for several rates with a loss that does not include the rate.
    """

    monitor, mode = "val/loss", "min"
    precisions = ("32-true", "bf16-mixed", "16-mixed")  # whatever affects the coded bits is never half precision

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
        """Return the loss, in evaluation averaged over the rates, and the figures of the images."""
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
        """Run the network on one image at a time, as for writing files: batched sums may be rounded differently."""
        rate_1 = torch.tensor([rate], device=image_BCHW.device)
        coded = [self.net(image_1CHW, rate_1) for image_1CHW in image_BCHW.split(1)]
        return Coded(torch.cat([one.image for one in coded]), torch.cat([one.bits for one in coded]))

    def _read_all(self, files: list[bytes], image_BCHW: Tensor) -> Tensor:
        return torch.stack([self.read(data) for data in files]).to(image_BCHW.device)

    @torch.inference_mode()
    def write(self, image_CHW: Tensor, rate: int) -> bytes:
        """Return the file of an image, uint8 [C, H, W], at the rate with this index."""
        return compress(self._net(), image_CHW, rate)

    @torch.inference_mode()
    def read(self, data: bytes) -> Tensor:
        """Return the image, uint8 [C, H, W], in a file from `write`."""
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
        """Return the number of images, each of which has weight 1 whatever its size."""
        return torch.full((), len(batch["id"]), device=batch["image"].device)  # copying from the host would synchronise

    @property
    def validates_wholly(self) -> bool:
        """False, since files are decoded only after training."""
        return False

    def count(self, stage: str, prediction: Figures, batch: Batch) -> None:
        """Add the figures of one batch."""
        self.means[stage].update(prediction)

    def scores(self, stage: str) -> dict[str, Tensor]:
        """Return each figure's mean over images and rates; except in training, also those of each rate."""
        means = self.means[stage].compute()
        rates = range(len(self.lambdas))
        scores = {name: torch.stack([means[self._at(rate, name)] for rate in rates]).nanmean() for name in FIGURES}
        if stage == "train" or len(rates) == 1:
            return scores
        return scores | {(key := self._at(rate, name)): means[key] for name in TOLD_OF_EACH_RATE for rate in rates}

    @torch.inference_mode()
    def judge(self, batch: Batch) -> Judged:
        """Return the images decoded from real files at the middle rate, scored by PSNR, with the files' sizes."""
        files = [self.write(image_CHW, len(self.lambdas) // 2) for image_CHW in batch["image"]]
        read_BCHW = self._read_all(files, batch["image"])
        quality_B = psnr(read_BCHW, batch["image"])
        return Judged(read_BCHW, quality_B, {"bytes": _sizes(files), "psnr": quality_B})


def _sizes(files: list[bytes]) -> Tensor:
    return torch.tensor([len(data) for data in files], dtype=torch.float64)
