"""The leaderboard: which setting is better, by how much, and whether chance explains the difference."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagier import cli
from imagier.training.leaderboard.statistics import Spread, paired, spread
from imagier.training.leaderboard.tables import written
from imagier.training.pictures.wording import DASH
from tests.conftest import REPOSITORY
from tests.training.finished_runs import refused, say, write_run


@pytest.fixture
def two_tasks(tmp_path: Path) -> Path:
    """2 networks x 3 seeds x 2 tasks; the networks of a task differ by 0.1, plus 0.01 per seed number."""
    for task, nets in (("segment", ("unet", "pspnet")), ("classify", ("cnn", "mlp"))):
        for seed in range(3):
            for place, model in enumerate(nets):
                score = 0.7 + 0.02 * seed - place * (0.1 + 0.01 * seed)
                write_run(tmp_path, task=task, model=model, seed=seed, score=score)
    (tmp_path / "latest").symlink_to(tmp_path / "segment" / "unet-streets" / "2026-01-01_00-00-00")
    return tmp_path


def test_runs_become_the_tables_of_the_reports(two_tasks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    say(f"runs={two_tasks}")
    told = capsys.readouterr().out
    lines = [re.split(r"\s*│\s*", line.strip()) for line in told.splitlines()]
    unet = next(line for line in lines if line[0] == "unet")
    assert unet == [
        "unet", "72.0 ± 2.0 %", "82.0 ± 2.0 %", "0.280 ± 0.020", "0.325 ± 0.019", "67.5 ± 1.9 %", "1.9M", "4",
        "4 min 0 s", "3",
    ]  # fmt: skip
    assert [line[0] for line in lines if line[0] in ("unet", "pspnet", "cnn", "mlp")][:3] == ["cnn", "mlp", "mlp"]
    assert ["sky", "62.0 ± 2.0 %", "51.0 ± 1.0 %"] in lines
    assert ["pspnet", "-11.0 ± 1.0 points", "-13.5 to -8.5", "0.003", "3"] in lines

    folder = two_tasks / "leaderboard"
    page = (folder / "leaderboard.html").read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)[^"']+""", page)
    assert page.count("72.0 ± 2.0 %") >= 3  # in the card and in the tables, always the same number
    assert page.count("data:image/png") == 6
    for name in ("segment-streets-test", "segment-streets-test-iou", "classify-garments-test-curves"):
        with Image.open(folder / f"{name}.png") as picture:
            assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 20

    say(f"runs={two_tasks}/segment", f"output={two_tasks}/elsewhere")  # one task; its own output is not taken for a run
    assert "cnn" not in capsys.readouterr().out
    page_file = two_tasks / "elsewhere" / "leaderboard.html"
    assert page_file.is_file()
    assert "cannot be written" in refused(capsys, f"runs={two_tasks}/segment", f"output={page_file}")


def test_a_run_without_an_end_is_listed_with_how_far_it_came(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, seed=0)
    killed, old, torn, fresh, alien = (write_run(tmp_path, seed=seed) for seed in range(1, 6))
    for path in (killed / "metrics.json", killed / "summary.json", old / "summary.json"):
        path.unlink()
    (torn / "metrics.json").write_text('{"val": {"iou": 0.')
    for path in list(fresh.iterdir()):
        if path.name != "config.yaml":
            path.unlink()
    (alien / "config.yaml").write_text("model: [unet")
    say(f"runs={tmp_path}")
    lines = [re.split(r"\s*│\s*", line.strip()) for line in capsys.readouterr().out.splitlines()]
    told = {line[0]: line[1:] for line in lines if line[0].startswith(str(tmp_path))}
    assert told[str(killed)] == ["no metrics.json: stopped, or still running", "1", "4", "0.3438"]
    assert told[str(old)][0].startswith("no summary.json")
    assert told[str(torn)][0].startswith("metrics.json cannot be read")
    assert told[str(fresh)][-2:] == ["0", DASH]
    assert any(name.startswith(f"{alien} is skipped: its config.yaml cannot be read") for name in told)
    assert next(line for line in lines if line[0] == "unet")[-1] == "1"


def test_nothing_to_compare_is_said_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert "contains no readable run" in refused(capsys, f"runs={tmp_path}/empty")
    assert "is not a folder" in refused(capsys, f"runs={tmp_path}/none")


def test_the_paired_comparison_is_students(tmp_path: Path) -> None:
    from scipy.stats import ttest_rel

    draw = np.random.default_rng(0)
    one, other = draw.normal(0.7, 0.02, 5), draw.normal(0.69, 0.02, 5)
    found = paired(dict(enumerate(one)), dict(enumerate(other)) | {9: 0.1, 8: float("nan")})
    expected = ttest_rel(one, other)
    assert found.count == 5
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.deviation == pytest.approx((one - other).std(ddof=1))


def test_one_seed_says_nothing_about_chance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert spread([0.5]).deviation is None
    assert paired({0: 0.7}, {0: 0.6}).p is None
    assert spread([0.1] * 3).deviation == 0  # exactly, without rounding errors
    assert paired({0: 0.7}, {1: 0.6}).count == 0
    assert paired({0: 0.81, 1: 0.75}, {0: 0.8, 1: 0.74}).p is None  # equal differences prove nothing
    ones, others = (
        {seed: float(np.float32(score)) for seed, score in enumerate(scores)}
        for scores in ((0.91, 0.85, 0.88), (0.9, 0.84, 0.87))
    )
    assert paired(ones, others).p is None  # also in the single precision of measured scores
    write_run(tmp_path, seed=0)
    write_run(tmp_path, seed=0, model="pspnet", score=0.6)
    write_run(tmp_path, seed=1, model="fcn8", score=0.5)
    for seed in (0, 1):
        write_run(tmp_path / "equal", seed=seed, score=0.7)
        write_run(tmp_path / "equal", seed=seed, model="pspnet", score=0.6)
    say(f"runs={tmp_path / 'equal'}")
    told = capsys.readouterr().out
    assert re.search(rf"pspnet +│ -10.00 ± 0.00 points │ +identical for every seed │ {DASH} │ +2", told)
    shutil.rmtree(tmp_path / "equal")
    say(f"runs={tmp_path}")
    told = capsys.readouterr().out
    assert re.search(rf"pspnet +│ -10.00 points │ +a single seed allows no test │ {DASH} │ +1", told)
    assert re.search(rf"fcn8 +│ +{DASH} │ +no shared seeds │ {DASH} │ +0", told)


def test_torch_is_not_waited_for(two_tasks: Path) -> None:
    code = "import sys; from imagier import cli; cli.main('leaderboard'); sys.exit('torch' in sys.modules)"
    words = [sys.executable, "-c", code, f"runs={two_tasks}/classify"]
    ended = subprocess.run(words, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "cnn" in ended.stdout


def test_two_trainings_are_compared(garments_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for model, size in (("mlp", "model.hidden=[16]"), ("cnn", "model.width=4")):
        words = ["task=classify", f"model={model}", size, "data=fashion_mnist", f"data.root={garments_root}"]
        words += [f"paths.runs={tmp_path}", "trainer=cpu", "trainer.max_epochs=1", "data.batch_size=50", "report=false"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["train", *words])
            cli.main("train")
    capsys.readouterr()
    say(f"runs={tmp_path}")
    lines = [re.split(r"\s*│\s*", line.strip()) for line in capsys.readouterr().out.splitlines()]
    for model in ("mlp", "cnn"):
        measured = json.loads(next(tmp_path.glob(f"classify/{model}-*/*/metrics.json")).read_text())["test"]["accuracy"]
        row = next(line for line in lines if line[0] == model)
        assert row[1] == f"{100 * measured:.1f} %"
        assert row[-1] == "1"


@pytest.mark.parametrize(("metric", "mean", "deviation", "text"), [
    ("psnr", 29.1234, 0.0512, "29.123 ± 0.051 dB"),
    ("iou", 0.5, 0.25, "50.0 ± 25.0 %"),
    ("accuracy", 0.91234, 0.00123, "91.23 ± 0.12 %"),
    ("loss", 1234.0, 31.2, "1234 ± 31"),
    ("loss", 12345.0, 1234.0, "12345 ± 1234"),
    ("loss", 2.5, 0.0, "2.5 ± 0"),
    ("loss", float("nan"), 1.0, DASH),
])  # fmt: skip
def test_a_mean_is_written_to_the_second_digit_of_its_deviation(
    metric: str, mean: float, deviation: float, text: str
) -> None:
    assert written(metric, Spread(mean, deviation, 3)) == text
