"""The task denoise: which noise is drawn when, what is measured, and a whole run."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import Trainer
from torch import Tensor, nn

from imagier import cli
from imagier.batch import Batch, Facts
from imagier.errors import ConfigError
from imagier.metrics.quality import as_saved, mse, psnr, ssim
from imagier.models.drunet import DRUNet
from imagier.models.pixels import FromPixels
from imagier.tasks.denoise import Denoise
from imagier.training.metrics_csv import read_rows
from imagier.transforms.noise import GaussianNoise

FACTS = Facts("photos", 3, None, (0.5,) * 3, (0.25,) * 3)


class Identity(nn.Module):
    """Returns its input, times a parameter that is 1, and stores it."""

    stride, unit_range = 1, True

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))
        self.seen: list[Tensor] = []

    def forward(self, image_BCHW: Tensor) -> Tensor:
        self.seen.append(255 * image_BCHW.detach())
        return self.factor * image_BCHW


def make(net: nn.Module | None = None, **options: Any) -> Denoise:
    wrapped = FromPixels(net or Identity(), FACTS.mean, FACTS.std)
    options = {"noise": GaussianNoise([0, 55]), "optimizer": lambda groups: torch.optim.SGD(groups, lr=0.0)} | options
    return Denoise(wrapped, nn.MSELoss(), FACTS, **options)


def batch(*ids: str, first: int = 0, side: int = 24) -> Batch:
    draw = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (1, 3, side, side), generator=draw, dtype=torch.uint8).expand(len(ids), -1, -1, -1)
    return {"image": image, "target": image, "index": torch.arange(first, first + len(ids)), "id": list(ids)}


def trainer(**options: Any) -> Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "barebones": False}
    return Trainer(accelerator="cpu", devices=1, enable_model_summary=False, **quiet, **options)


def loader(*batches: Batch) -> Any:
    return torch.utils.data.DataLoader(list(batches), batch_size=None)


def noise_in_training(seed: int, epochs: int, *batches: Batch) -> Tensor:
    """Return the network's inputs in training, from 0 to 255: float [samples of all epochs, 3, H, W]."""
    net = Identity()
    trainer(max_epochs=epochs, log_every_n_steps=1).fit(make(net, seed=seed), loader(*batches))
    return torch.cat(net.seen)


pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*", "ignore:.*treespec, LeafSpec.*", "ignore:.*no `val_dataloader`.*"
)


def test_training_noise_is_a_function_of_seed_epoch_and_sample() -> None:
    whole = noise_in_training(0, 2, batch("a", "b", "c", "d"))
    apart = noise_in_training(0, 2, batch("a"), batch("b", "c", "d", first=1))
    assert torch.equal(whole, apart)
    differences = whole[:, None] - whole[None]
    assert all(differences[i, j].any() for i in range(8) for j in range(i))  # no two samples, no two epochs alike
    assert not torch.equal(noise_in_training(1, 1, batch("a")), whole[:1])


def test_evaluation_noise_is_a_function_of_the_picture_alone() -> None:
    first = Identity()
    trainer().validate(make(first, seed=0, levels=[]), loader(batch("a", "b")), verbose=False)
    other = Identity()
    moved = {**batch("b", "a"), "index": torch.tensor([7, 9])}
    trainer().test(make(other, seed=5, levels=[]), loader(moved), verbose=False)
    assert torch.equal(first.seen[0], other.seen[0].flip(0))
    assert not torch.equal(first.seen[0][0], first.seen[0][1])


def test_scores_are_means_over_pictures_of_what_would_be_saved() -> None:
    noise = GaussianNoise([0, 127.5], clip=True)
    net = Identity()
    task = make(net, noise=noise, levels=[15, 37.5])
    first, second = batch("a", "b"), batch("c", first=2)
    (scores,) = trainer().validate(task, loader(first, second), verbose=False)
    own = [next(seen for seen in net.seen if len(seen) == count) for count in (2, 1)]
    saved = [as_saved(one) for one in own]
    for name, score in {"psnr": psnr, "ssim": ssim, "mse": mse}.items():
        expected = torch.cat([score(saved[0], first["target"]), score(saved[1], second["target"])]).mean()
        assert scores[f"val/{name}"] == pytest.approx(expected.item(), rel=1e-5)
    assert scores["val/psnr_noisy"] == scores["val/psnr"]
    assert {name for name in scores if "/15" in name} == {
        "val/psnr/15", "val/ssim/15", "val/mse/15", "val/psnr_noisy/15"
    }  # fmt: skip
    assert scores["val/psnr/15"] > scores["val/psnr/37.5"]
    assert all(seen.min() >= 0 and seen.max() <= 255.001 for seen in net.seen)  # the levels are clipped as the noise is


def test_an_unclipped_level_has_the_psnr_of_its_sigma() -> None:
    grey = torch.full((1, 3, 128, 128), 128, dtype=torch.uint8)
    one: Batch = {"image": grey, "target": grey, "index": torch.tensor([0]), "id": ["grey"]}
    (scores,) = trainer().test(make(levels=[25]), loader(one), verbose=False)
    assert scores["test/psnr/25"] == pytest.approx(20 * np.log10(255 / 25), abs=0.05)
    assert scores["test/mse/25"] == pytest.approx((25 / 255) ** 2, rel=0.02)


def test_levels_are_left_for_the_end() -> None:
    task = make(levels=[15])
    fitting = trainer(max_epochs=1, num_sanity_val_steps=0, log_every_n_steps=1)
    fitting.fit(task, loader(batch("a")), loader(batch("b")))
    assert {"train/psnr", "val/psnr", "val/ssim", "val/psnr_noisy", "val/loss"} <= set(fitting.callback_metrics)
    assert not {"val/psnr/15", "train/ssim"} & set(fitting.callback_metrics)


def test_a_run_is_resumed_with_other_levels() -> None:
    before, after = make(levels=[15, 25]), make(levels=[50])
    before.means["train"].update({"psnr": torch.tensor([30.0])})
    before.mean_loss["train"].update(torch.tensor(2.0), torch.tensor(1))
    kept: dict[str, Any] = {}
    before.on_save_checkpoint(kept)
    after.on_load_checkpoint(kept)
    assert after.mean_loss["train"].compute() == 2  # restored
    assert after.means["train"].counts.sum() == 0  # starts empty


def test_predict_takes_pictures_and_noisy_values() -> None:
    task = make().eval()
    stored = batch("a")["image"]
    assert torch.equal(task.predict(stored), stored)
    assert task.predict(stored.float() + 300).unique().tolist() == [255]
    assert task.predict(stored.float() - 300).dtype == torch.uint8


def test_judge_shows_the_noisy_picture_and_ranks_by_gain() -> None:
    task = make(noise=GaussianNoise(30)).eval()
    task.net.net.factor.data.fill_(0.5)
    one = batch("a", "b")
    judged = task.judge(one)
    assert judged.seen is not None
    assert judged.seen.dtype == judged.prediction.dtype == torch.uint8
    assert torch.equal(judged.figures["psnr_noisy"], psnr(judged.seen, one["target"]))
    assert torch.equal(judged.figures["psnr"], psnr(judged.prediction, one["target"]))
    assert torch.equal(judged.score, judged.figures["psnr"] - judged.figures["psnr_noisy"])
    again = task.judge({**one, "index": one["index"] + 5})
    assert torch.equal(again.seen, judged.seen)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": None}, r"noise=null .* noise=blind"),
        ({"levels": [15, 0]}, r"task\.levels=\[15, 0\] .* above 0"),
        ({"levels": [15, 15]}, r"task\.levels=\[15, 15\] .* distinct"),
        ({"levels": 25}, r"task\.levels=25 is not a list"),
    ],
)
def test_an_argument_out_of_range_is_explained(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(DRUNet(3, widths=[4], depth=1), **options)


def say(verb: str, *words: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [verb, *words])
        cli.main(verb)


@pytest.fixture(scope="module")
def denoised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, runs = tmp_path_factory.mktemp("photos"), tmp_path_factory.mktemp("runs")
    draw = np.random.default_rng(0)
    for place in range(40):
        height, width = (48, 40) if place % 2 else (40, 56)
        coarse = draw.integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(root / f"{place:02d}.png")
    say(
        "train", "task=denoise", "model.widths=[8,12]", "model.depth=1", "data=photos", f"data.root={root}",
        "augment.side=32", "data.batch_size=4", "data.repeat=6",
        "trainer=cpu", "trainer.max_epochs=3", "callbacks.pictures.every_n_epochs=2", f"paths.runs={runs}",
    )  # fmt: skip
    return runs / "latest"


def test_a_run_gains_on_the_noise_and_measures_the_levels(denoised: Path) -> None:
    told = json.loads((denoised / "metrics.json").read_text())
    assert told["val"].keys() == told["test"].keys()
    scores = told["test"]
    assert scores["psnr"] > scores["psnr_noisy"] + 1
    assert scores["psnr/15"] > scores["psnr/25"] > scores["psnr/50"] > scores["psnr_noisy/50"] + 1
    assert 0 < scores["ssim/50"] < scores["ssim/15"] < 1
    rows = read_rows(denoised / "metrics.csv")
    names = {name for row in rows for name in row}
    assert {"train/loss", "train/psnr", "val/psnr", "val/ssim", "best/test/psnr/25"} <= names
    assert "val/psnr/25" not in names
    assert (denoised / "report.html").exists()
    assert (denoised / "pictures" / "samples.png").exists()


def test_its_checkpoint_is_evaluated_to_the_same_scores(denoised: Path) -> None:
    say("evaluate", f"ckpt={denoised}", "split=test")
    (record,) = denoised.glob("evaluate/*/metrics.json")
    told = json.loads((denoised / "metrics.json").read_text())["test"]
    assert json.loads(record.read_text())["metrics"] == pytest.approx(told, rel=1e-6)
