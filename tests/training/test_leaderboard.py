"""The leaderboard: which setting is better, by how much, and whether chance explains the difference."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from imagier import cli
from imagier.training.leaderboard.runs import find_runs
from imagier.training.leaderboard.settings import Board, make_boards
from imagier.training.leaderboard.statistics import Spread, paired, spread
from imagier.training.leaderboard.tables import written
from imagier.training.pictures.wording import DASH
from tests.conftest import REPOSITORY

CLASSES = ("road", "sky", "person")
TASKS = {
    "segment": {"metric": "iou", "data": "streets", "labels": CLASSES, "others": ["accuracy"]},
    "classify": {"metric": "accuracy", "data": "garments", "labels": ("coat", "boot"), "others": []},
}


def write_run(
    runs: Path,
    *,
    task: str = "segment",
    model: str = "unet",
    seed: int = 0,
    score: float = 0.7,
    words: tuple[str, ...] = (),
    stamp: str | None = None,
    fingerprint: str = "88d2e801bc4d982d",
    epochs: int = 4,
    splits: tuple[str, ...] = ("val", "test"),
    machine: str = "AMD EPYC",
    **changes: Any,
) -> Path:
    """Write a finished run as training leaves it; `changes` are configuration keys with __ instead of a dot."""
    kind = TASKS[task]
    folder = runs / task / f"{model}-{kind['data']}" / (stamp or f"2026-01-01_00-00-{seed:02d}")
    folder.mkdir(parents=True)
    config: dict[str, Any] = {
        "seed": seed, "resume": None, "test": True, "task": {"name": task}, "model": {"name": model, "width": 16},
        "data": {"name": kind["data"], "seed": seed, "workers": seed, "label_set": "category", "batch_size": 8},
        "augment": {"transforms": []}, "optimizer": {"lr": 0.001}, "trainer": {"max_epochs": epochs},
        "loss": {"_target_": "imagier.losses.cross_entropy.CrossEntropy"}, "paths": {"runs": str(runs / "any")},
    }  # fmt: skip
    for key, value in changes.items():
        group, _, name = key.partition("__")
        config |= {group: config[group] | {name: value} if name else value}
    scores = {"loss": 1 - score, kind["metric"]: score, **dict.fromkeys(kind["others"], score + 0.1)}
    scores |= {f"{kind['metric']}/{label}": score - 0.1 * place for place, label in enumerate(kind["labels"])}
    summary = {
        "task": task, "model": model, "data": kind["data"], "seed": seed, "parameters": 1_944_000,
        "sentence": f"python train.py task={task} model={model}", "seconds": 60.0 * epochs, "epochs": epochs,
        "best_epoch": epochs - 1, "monitor": f"val/{kind['metric']}", "mode": "max", "machine": machine,
    }  # fmt: skip
    names = ["train/loss", "val/loss", f"val/{kind['metric']}", *(f"val/{name}" for name in kind["others"])]
    rows = ["epoch,step,time," + ",".join(dict.fromkeys(names))]
    for epoch in range(epochs):
        grown = score * (1 - 0.5 ** (epoch + 1))
        values = {"train/loss": 0.9 - grown, "val/loss": 1 - grown}
        rows.append(f"{epoch},{10 * epoch + 9},{epoch}," + ",".join(f"{values.get(name, grown)}" for name in names))
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "environment.json").write_text(json.dumps({"data_fingerprint": fingerprint}))
    (folder / "overrides.txt").write_text("".join(f"{word}\n" for word in (f"task={task}", f"seed={seed}", *words)))
    (folder / "metrics.csv").write_text("\n".join(rows) + "\n")
    (folder / "metrics.json").write_text(json.dumps(dict.fromkeys(splits, scores)))
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def say(*words: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["leaderboard", *words])
        cli.main("leaderboard")


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        say(*words)
    assert ended.value.code == 2
    return capsys.readouterr().err


def boards_of(runs: Path, seeds: int | None = None) -> list[Board]:
    return make_boards(find_runs(runs)[0], seeds)


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


def test_only_the_seed_makes_no_new_setting_and_names_tell_settings_apart(tmp_path: Path) -> None:
    strong = {"augment__transforms": [{"_target_": "albumentations.Rotate"}], "words": ("augment=report",)}
    for seed in (0, 1):
        write_run(tmp_path, seed=seed, stamp=f"2026-01-01_0{seed}-00-00")
        write_run(tmp_path, seed=seed, stamp=f"2026-01-02_0{seed}-00-00", score=0.6, **strong)
        write_run(tmp_path, seed=seed, stamp=f"2026-01-03_0{seed}-00-00", score=0.5, optimizer__lr=0.1 + seed)
    write_run(tmp_path, model="smp", model__architecture="fpn", score=0.4, words=("data.workers=3",))
    (board,) = boards_of(tmp_path)
    assert {setting.name: len(setting.runs) for setting in board.settings} == {
        "unet, optimizer.lr=0.001": 2,
        "unet, augment=report": 2,
        "unet, optimizer.lr=0.1": 1,
        "unet, optimizer.lr=1.1": 1,
        "smp fpn": 1,
    }


def test_recipes_bear_their_own_names(tmp_path: Path) -> None:
    write_run(tmp_path, words=("experiment=baseline_unet",))
    write_run(tmp_path, seed=1, words=("experiment=baseline_unet", "model=pspnet"), model="pspnet")
    write_run(tmp_path, seed=2, words=("experiment=camvid_cpu", "optimizer.lr=0.1"), optimizer__lr=0.1)
    write_run(tmp_path, seed=3, optimizer__lr=0.2)
    (board,) = boards_of(tmp_path)
    assert {setting.name for setting in board.settings} == {
        "baseline_unet", "baseline_unet, model=pspnet", "camvid_cpu, optimizer.lr=0.1", "unet",
    }  # fmt: skip


def test_options_that_all_recipes_were_given_are_said_once(tmp_path: Path) -> None:
    for seed, words in enumerate((("experiment=baseline_unet",), ("experiment=camvid_cpu", "optimizer.lr=0.1"))):
        write_run(tmp_path, seed=seed, words=(*words, "trainer.max_epochs=4"), optimizer__lr=0.1 * (seed + 1))
    (board,) = boards_of(tmp_path)
    assert {setting.name for setting in board.settings} == {"baseline_unet", "camvid_cpu, optimizer.lr=0.1"}
    assert "All have trainer.max_epochs=4." in board.notes


def test_what_was_trained_first_is_of_one_setting_wherever_it_lies_and_what_was_given_is_not(tmp_path: Path) -> None:
    for seed in (0, 1):
        words = ("model.weights=null",) if seed else ()
        write_run(tmp_path, seed=seed, pretrain="camvid_source", model__weights=f"runs/{seed}/best.ckpt", words=words)
        given = (f"model.weights=mine/{seed}.ckpt",)
        write_run(tmp_path, seed=seed, stamp=f"2026-01-02_0{seed}-00-00", model__weights=given[0][14:], words=given)
    (board,) = boards_of(tmp_path)
    assert {setting.name: len(setting.runs) for setting in board.settings} == {
        "unet": 2,
        "unet, model.weights=mine/0.ckpt": 1,
        "unet, model.weights=mine/1.ckpt": 1,
    }


def test_of_a_seed_trained_twice_the_newest_counts_and_this_is_said(tmp_path: Path) -> None:
    write_run(tmp_path, score=0.5, stamp="2026-01-02_00-00-00-10")
    write_run(tmp_path, score=0.6, stamp="2026-01-02_00-00-00-9")
    (board,) = boards_of(tmp_path)
    assert board.settings[0].scores("iou") == {0: 0.5}
    assert "seed 0 was trained 2 times" in board.notes[0]
    assert "00-00-00-10" in board.notes[0]


def test_seeds_asks_for_settings_with_so_many_and_takes_the_lowest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for day, seed in enumerate((5, 3, 8), start=1):
        write_run(tmp_path, seed=seed, stamp=f"2026-01-0{day}_00-00-00")
    write_run(tmp_path, model="pspnet", seed=5)
    (board,) = boards_of(tmp_path, seeds=2)
    assert [(setting.name, [run.seed for run in setting.runs]) for setting in board.settings] == [("unet", [3, 5])]
    assert "unet: seed 8 is left out, since seeds=2." in board.notes
    assert "no setting has finished runs with more than 3" in refused(capsys, f"runs={tmp_path}", "seeds=4")
    assert "seeds=0 is out of range" in refused(capsys, f"runs={tmp_path}", "seeds=0")


def test_seeds_that_all_settings_have_are_taken_before_newer_ones(tmp_path: Path) -> None:
    for seed in range(5):
        write_run(tmp_path, seed=seed)
        if seed < 3:
            write_run(tmp_path, model="pspnet", seed=seed, score=0.6)
    (board,) = boards_of(tmp_path, seeds=2)
    assert [[run.seed for run in setting.runs] for setting in board.settings] == [[0, 1], [0, 1]]
    write_run(tmp_path, model="fcn8", seed=2, score=0.5)
    write_run(tmp_path, model="fcn8", seed=7, score=0.5)
    (board,) = boards_of(tmp_path, seeds=2)
    seeds = {setting.name: [run.seed for run in setting.runs] for setting in board.settings}
    assert seeds == {"unet": [0, 2], "pspnet": [0, 2], "fcn8": [2, 7]}


@pytest.mark.parametrize(
    "other",
    [
        {"fingerprint": "0123456789abcdef"},
        {"data__label_set": "train"},
        {"data__size": [64, 64]},
        {"splits": ("val",)},
        {"trainer__limit_test_batches": 0.5},
    ],
)
def test_scores_on_other_data_are_not_put_beside_one_another(tmp_path: Path, other: dict[str, Any]) -> None:
    write_run(tmp_path, model="unet")
    write_run(tmp_path, model="pspnet", **other)
    boards = boards_of(tmp_path)
    assert sorted(setting.name for board in boards for setting in board.settings) == ["pspnet", "unet"]
    assert len({board.title for board in boards}) == len({board.name for board in boards}) == 2


def test_boards_that_a_short_name_does_not_tell_apart_have_long_ones(tmp_path: Path) -> None:
    noises = ({"name": "fixed", "sigma": 25}, {"name": "fixed", "sigma": 50}, {"name": "blind", "sigma": None})
    for number, noise in enumerate(noises):
        write_run(tmp_path, noise=noise, seed=number)
    boards = boards_of(tmp_path)
    assert len({board.title for board in boards}) == len({board.name for board in boards}) == 3


def test_validation_that_stood_in_for_test_is_called_validation(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    assert boards_of(tmp_path)[0].split == "test"
    said = json.loads((folder / "summary.json").read_text()) | {"stand_ins": {"test": "val"}}
    (folder / "summary.json").write_text(json.dumps(said))
    assert boards_of(tmp_path)[0].split == "val"


def test_a_test_that_has_no_score_is_not_the_verdict(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    said = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps(said | {"test": {}}))
    (board,) = boards_of(tmp_path)
    assert (board.split, board.runs[0].score(board.metric)) == ("val", said["val"][board.metric])


def test_how_training_was_fed_makes_no_other_data(tmp_path: Path) -> None:
    write_run(tmp_path, model="unet")
    fed = {"batch_size": 2, "repeat": 3, "root": "/elsewhere", "augment_first": True, "decode_once": False}
    changes: dict[str, Any] = {f"data__{key}": value for key, value in fed.items()}
    write_run(tmp_path, model="pspnet", machine="H100", **changes)
    (board,) = boards_of(tmp_path)
    assert len(board.settings) == 2
    assert [note for note in board.notes if "AMD EPYC, H100" in note or "H100, AMD EPYC" in note]


def test_losses_that_do_not_compare_are_not_passed_over(tmp_path: Path) -> None:
    write_run(tmp_path, model="unet")
    write_run(tmp_path, model="pspnet", loss___target_="imagier.losses.dice.Dice")
    (board,) = boards_of(tmp_path)
    assert any(note.startswith("Losses are not comparable") for note in board.notes)


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


def test_where_less_is_better_the_least_stands_first(tmp_path: Path) -> None:
    for model, score in (("unet", 0.7), ("pspnet", 0.6)):
        folder = write_run(tmp_path, model=model, score=score)
        said = json.loads((folder / "summary.json").read_text()) | {"monitor": "val/loss", "mode": "min"}
        (folder / "summary.json").write_text(json.dumps(said))
    (board,) = boards_of(tmp_path)
    assert [setting.name for setting in board.settings] == ["unet", "pspnet"]
    assert board.metrics[0] == "loss"


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


def test_a_file_name_is_short_and_tells_boards_apart() -> None:
    boards = [Board("compress", "photos", "test", "", "loss", "min", (), aside) for aside in ("", "a" * 500, "b" * 500)]
    names = [board.name for board in boards]
    assert names[0] == "compress-photos-test"
    assert len(set(names)) == 3
    assert max(map(len, names)) < 40
