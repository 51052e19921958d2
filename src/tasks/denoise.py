"""Denoise: noisy images in, clean images out."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from imagier.batch import Batch
from imagier.errors import ConfigError
from imagier.metrics.means import Means
from imagier.metrics.quality import as_saved, mse, psnr, ssim
from imagier.randomness import derive_seed
from imagier.tasks.base import Judged, PerStage, Task
from imagier.transforms.noise import GaussianNoise

SCORES = {"psnr": psnr, "ssim": ssim, "mse": mse}


class Denoise(Task):
    """Removal of noise that the task itself adds, measured by the peak signal-to-noise ratio.

    The network's outputs are float [B, C, H, W] on a scale of 0 to 1. In training, the noise is a function of (seed,
    epoch, sample); in evaluation it depends on the sample's name alone, so that every run, epoch and machine uses the
    same noise. Scores are means over images. After training, every image is also measured at fixed noise levels, with
    the same noise scaled to each.

    Args:
        noise: the noise to add; None, as in a configuration without noise, raises ConfigError.
        levels: standard deviations, on the scale of pixel values 0 to 255, at which `psnr/15`, `ssim/15`, ... are
            measured.

    Raises:
        ConfigError: without noise, or unless levels are distinct and above 0.
    """

    monitor, mode = "val/psnr", "max"

    def __init__(
        self, *args: Any, noise: GaussianNoise | None = None, levels: Sequence[float] = (15, 25, 50), **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        if noise is None:
            raise ConfigError("task=denoise needs noise to remove, but noise=null adds none: choose noise=blind.")
        if isinstance(levels, int | float | str) or len(set(levels)) < len(levels) or min(levels, default=1) <= 0:
            raise ConfigError(
                f"task.levels={levels} is not a list of noise levels: give distinct standard deviations above 0, on "
                "the scale of pixel values 0 to 255, as in [15,25,50], or [] for none."
            )
        self.noise, self.levels = noise, tuple(levels)
        own = [*SCORES, "psnr_noisy"]
        names = own + [f"{name}/{level:g}" for level in self.levels for name in own]
        self.means = PerStage(lambda: Means(names))

    def measure(self, batch: Batch, stage: str) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the loss, and the denoised images, uint8 [B, C, H, W], with the noisy ones, float [B, C, H, W]."""
        noisy = self._noisy_for_training(batch) if stage == "train" else self._noisy(batch)
        outputs = self(noisy).float()
        return self.loss(outputs, batch["target"].float() / 255), (as_saved(255 * outputs.detach()), noisy)

    def count(self, stage: str, prediction: tuple[Tensor, Tensor], batch: Batch) -> None:
        """Add one batch: PSNR alone for the training split, otherwise all scores, after training also at each level."""
        (made, noisy), clean, means = prediction, batch["target"], self.means[stage]
        if stage == "train":
            means.update({"psnr": psnr(made, clean)})
            return
        means.update(_compare(made, noisy, clean))
        for level in self.levels if self.trainer.state.fn != "fit" else ():
            noisy = self._noisy(batch, level)
            found = _compare(self.predict(noisy), noisy, clean)
            means.update({f"{name}/{level:g}": value for name, value in found.items()})

    @property
    def validates_wholly(self) -> bool:
        """Whether there are no noise levels, which are measured only after training."""
        return not self.levels

    def scores(self, stage: str) -> dict[str, Tensor]:
        """Return PSNR, SSIM and MSE of the denoised images, PSNR of the noisy ones, and the same at each level."""
        scores: dict[str, Tensor] = self.means[stage].compute()
        return scores

    @torch.inference_mode()
    def predict(self, image: Tensor) -> Tensor:
        """Map noisy images, uint8 or float [B, C, H, W] on the scale 0 to 255, to denoised images, uint8."""
        return as_saved(255 * self(image).float())

    def question(self, batch: Batch) -> Tensor:
        """Return the noisy images of an evaluation, rounded to uint8."""
        return as_saved(self._noisy(batch))

    def judge(self, batch: Batch) -> Judged:
        """Return the denoised and the noisy images, scored by the gain in PSNR."""
        noisy, clean = self._noisy(batch), batch["target"]
        prediction, seen = self.predict(noisy), as_saved(noisy)
        before, after = psnr(seen, clean), psnr(prediction, clean)
        sigma = torch.tensor([self.noise.sigma(seed) for seed in _seeds(batch)], dtype=torch.float64)
        figures = {"sigma": sigma, "psnr_noisy": before, "psnr": after}
        return Judged(prediction, score=after - before, figures=figures, seen=seen)

    def _noisy_for_training(self, batch: Batch) -> Tensor:
        seeds = [derive_seed("noise", self._seed, self.current_epoch, index) for index in batch["index"].tolist()]
        return self.noise(batch["image"], seeds)

    def _noisy(self, batch: Batch, level: float | None = None) -> Tensor:
        return self.noise(batch["image"], _seeds(batch), level=level, draw_on="cpu")


def _seeds(batch: Batch) -> list[int]:
    return [derive_seed("noise", name) for name in batch["id"]]


def _compare(prediction: Tensor, noisy: Tensor, clean: Tensor) -> dict[str, Tensor]:
    scores = {name: score(prediction, clean) for name, score in SCORES.items()}
    return scores | {"psnr_noisy": psnr(as_saved(noisy), clean)}
