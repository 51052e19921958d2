"""The task compress, with a codec simple enough to compute every expected score by hand."""

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import spoken
from pytorch_lightning import Trainer
from torch import Tensor, nn

from imagier.batch import Batch, Facts
from imagier.errors import ConfigError
from imagier.losses.rate_distortion import RateDistortion
from imagier.metrics.quality import psnr
from imagier.models.bitstream import compress, decompress
from imagier.models.coded import Codec, Coded
from imagier.models.pixels import FromPixels
from imagier.tasks.compress import Compress

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*treespec, LeafSpec:FutureWarning",  # Lightning 2.6 on torch 2.15
    "ignore:.*recommended to use `self.log",
    "ignore:.*is smaller than the logging interval",
)
FACTS = Facts("tiny", 3, None, (0.5,) * 3, (0.2,) * 3)
LAMBDAS = (0.001, 0.01, 0.1)


class Steps(Codec):
    """Quantises pixels to fewer levels and compresses them with zlib.

    Args:
        promised: bytes by which it overestimates the size of its files.
        shift: error of its decoder, for pixels from 0 to 1.
    """

    stride = 2

    def __init__(self, lambdas: Sequence[float] = LAMBDAS, promised: int = 0, shift: float = 0.0) -> None:
        super().__init__(lambdas)
        self.levels = nn.Parameter(torch.tensor([2.0**power for power in range(1, 1 + len(self.lambdas))]))
        self.promised, self.shift = promised, shift
        self.seen: list[tuple[float, int]] = []  # a pixel of each training image, and its rate

    def relaxed(self, image_BCHW: Tensor, rate_B: Tensor) -> Coded:
        self.seen += zip(image_BCHW[:, 0, 0, 0].mul(255).round().tolist(), rate_B.tolist(), strict=True)
        levels_B111 = self.levels[rate_B].view(-1, 1, 1, 1)
        return Coded(image_BCHW + 0.01 * levels_B111, 100 * self.levels[rate_B])

    def measured(self, image_BCHW: Tensor, rate_B: Tensor) -> Coded:
        pictures, bits = [], []
        for image_1CHW, rate in zip(image_BCHW.split(1), rate_B.tolist(), strict=True):
            pictures.append(self._codes(image_1CHW, rate) / self.levels[rate])
            bits.append(8.0 * (len(self.encode(image_1CHW, rate)) + self.promised))
        return Coded(torch.cat(pictures), torch.tensor(bits))

    def encode(self, image_1CHW: Tensor, rate: int) -> bytes:
        return zlib.compress(self._codes(image_1CHW, rate).to(torch.uint8).numpy().tobytes())

    @torch.no_grad()
    def decode(self, data: bytes, height: int, width: int, rate: int) -> Tensor:
        codes = torch.frombuffer(bytearray(zlib.decompress(data)), dtype=torch.uint8)
        return codes.view(1, 3, height, width) / self.levels[rate] + self.shift

    @torch.no_grad()
    def _codes(self, image_1CHW: Tensor, rate: int) -> Tensor:
        return (image_1CHW * self.levels[rate]).round().contiguous()


class Batches:
    """Batches as from a data module, in the given order."""

    def __init__(self, pictures_NCHW: Tensor, order: Sequence[Sequence[int]]) -> None:
        self.pictures, self.order = pictures_NCHW, order

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        for indices in self.order:
            image = self.pictures[list(indices)]
            yield {"image": image, "target": image, "index": torch.tensor(indices), "id": [str(i) for i in indices]}


def pictures(count: int, height: int = 20, width: int = 31) -> Tensor:
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=draws)
    images[:, 0, 0, 0] = torch.arange(count)
    return images


def task(codec: Codec | None = None, loss: nn.Module | None = None, seed: int = 0) -> Compress:
    net = FromPixels(codec or Steps(), FACTS.mean, FACTS.std)
    optimizer: Any = lambda groups: torch.optim.SGD(groups, lr=0.0)  # noqa: E731
    return Compress(net, loss or RateDistortion(), FACTS, optimizer, seed)


def trainer(**settings: Any) -> Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(accelerator="cpu", **quiet, **settings)


def validated(one: Compress, batches: Batches) -> dict[str, float]:
    (scores,) = trainer().validate(one, batches, verbose=False)
    return {name.removeprefix("val/"): value for name, value in scores.items()}


def test_the_measure_is_of_real_files() -> None:
    images = pictures(3)
    one = task()
    scores = validated(one, Batches(images, [[0], [1], [2]]))
    one.eval()
    pixels = 20 * 31
    for rate, trade_off in enumerate(LAMBDAS):
        files = [compress(one.net, image, rate) for image in images]  # type: ignore[arg-type]
        read = torch.stack([decompress(one.net, data) for data in files])  # type: ignore[arg-type]
        assert scores[f"bpp/{trade_off:g}"] == pytest.approx(sum(map(len, files)) * 8 / (3 * pixels))
        assert scores[f"psnr/{trade_off:g}"] == pytest.approx(psnr(read, images).mean().item())
        assert scores[f"bpp/{trade_off:g}"] > scores[f"bpp_estimate/{trade_off:g}"]  # the header
    assert scores["mismatches"] == scores["misestimates"] == 0
    assert 0 < scores["estimate_error"] < 64
    assert scores["psnr"] == pytest.approx(sum(scores[f"psnr/{one:g}"] for one in LAMBDAS) / 3)
    assert "ms_ssim" not in scores  # not defined for such small images
    assert scores["psnr/0.001"] < scores["psnr/0.01"] < scores["psnr/0.1"]


def test_one_rate_needs_no_name() -> None:
    scores = validated(task(Steps([0.01])), Batches(pictures(2), [[0, 1]]))
    assert not [name for name in scores if "/" in name]
    assert {"loss", "bpp", "bpp_estimate", "psnr", "ssim", "mismatches", "misestimates"} <= set(scores)


def test_batches_of_any_size_measure_the_same() -> None:
    images = pictures(4)
    alone = validated(task(), Batches(images, [[0], [1], [2], [3]]))
    assert validated(task(), Batches(images, [[0, 1, 2], [3]])) == pytest.approx(alone)


@pytest.mark.parametrize(
    ("codec", "mismatches", "misestimates"),
    [
        (Steps(shift=1 / 255), 1, 0),  # one grey level is enough
        (Steps(promised=60), 0, 0),
        (Steps(promised=200), 0, 1),
    ],
)
def test_a_codec_that_does_not_keep_its_word_is_found_out(codec: Steps, mismatches: int, misestimates: int) -> None:
    scores = validated(task(codec), Batches(pictures(3), [[0], [1], [2]]))
    assert (scores["mismatches"], scores["misestimates"]) == (mismatches, misestimates)


def test_the_loss_is_bits_and_error() -> None:
    images = pictures(2)
    one = task()
    scores = validated(one, Batches(images, [[0], [1]]))
    one.eval()
    expected = []
    for rate, trade_off in enumerate(LAMBDAS):
        coded = one.net(images, torch.tensor([rate, rate]))
        error = (255 * coded.image - images.float()).square().mean()
        expected.append((coded.bits / (20 * 31)).mean() + trade_off * error)
    assert scores["loss"] == pytest.approx(torch.stack(expected).mean().item(), rel=1e-5)


def test_training_estimates_and_its_validation_writes_files_that_nobody_reads() -> None:
    fit = trainer(max_epochs=1, num_sanity_val_steps=0)
    fit.fit(task(), Batches(pictures(4), [[0, 1], [2, 3]]), Batches(pictures(2), [[0], [1]]))
    logged = set(fit.callback_metrics)
    assert {"train/loss", "train/bpp_estimate", "train/psnr", "val/loss", "val/bpp", "val/psnr/0.01"} <= logged
    assert not {"train/bpp", "val/mismatches", "train/psnr/0.01"} & logged


def rates_seen(order: Sequence[Sequence[int]], epochs: int = 1, seed: int = 0) -> list[dict[float, int]]:
    codec = Steps()
    one = task(codec, seed=seed)
    fit = trainer(max_epochs=epochs, num_sanity_val_steps=0)
    fit.fit(one, Batches(pictures(40), order), Batches(pictures(1), [[0]]))
    size = sum(map(len, order))
    return [dict(codec.seen[epoch * size : (epoch + 1) * size]) for epoch in range(epochs)]


def test_a_sample_is_given_its_rate_by_seed_epoch_and_index_alone() -> None:
    forwards = [range(start, start + 8) for start in range(0, 40, 8)]
    first, second = rates_seen(forwards, epochs=2)
    assert rates_seen([[39 - index] for index in range(40)])[0] == first
    assert sorted(set(first.values())) == [0, 1, 2]
    assert first != second
    assert rates_seen(forwards, seed=1)[0] != first


def test_samples_are_judged_by_their_files() -> None:
    images = pictures(3)
    one = task().eval()
    judged = one.judge(next(iter(Batches(images, [[0, 1, 2]]))))
    files = [compress(one.net, image, 1) for image in images]  # type: ignore[arg-type]
    assert judged.figures["bytes"].tolist() == list(map(len, files))
    assert (judged.prediction == torch.stack([decompress(one.net, data) for data in files])).all()  # type: ignore[arg-type]
    assert (judged.score == psnr(judged.prediction, images)).all()


def test_a_loss_without_the_rate_is_for_nets_of_one_rate() -> None:
    scores = validated(task(Steps([0.01]), nn.MSELoss()), Batches(pictures(1), [[0]]))
    assert scores["loss"] < 0.3  # of pixels from 0 to 1
    with pytest.raises(ConfigError, match="set loss=rate_distortion"):
        task(Steps(), nn.MSELoss())


def test_a_precision_in_which_a_codec_cannot_compute_is_refused(leaves_root: Path, tmp_path: Path) -> None:
    words = ["task=compress", "data=photos", f"data.root={leaves_root}", "trainer.precision=64-true"]
    said = spoken("train", *words, cwd=tmp_path, code=2)
    assert "trainer.precision=64-true, but parts of this model need single precision; use one of: 32-true" in said
    assert not (tmp_path / "runs").exists()
