"""Boards: which runs form a setting, what it is called, and which settings are comparable."""

import json
from pathlib import Path
from typing import Any

import pytest

from imagier.training.leaderboard.settings import Board
from tests.training.finished_runs import boards_of, refused, write_run


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


def test_where_less_is_better_the_least_stands_first(tmp_path: Path) -> None:
    for model, score in (("unet", 0.7), ("pspnet", 0.6)):
        folder = write_run(tmp_path, model=model, score=score)
        said = json.loads((folder / "summary.json").read_text()) | {"monitor": "val/loss", "mode": "min"}
        (folder / "summary.json").write_text(json.dumps(said))
    (board,) = boards_of(tmp_path)
    assert [setting.name for setting in board.settings] == ["unet", "pspnet"]
    assert board.metrics[0] == "loss"


def test_a_file_name_is_short_and_tells_boards_apart() -> None:
    boards = [Board("compress", "photos", "test", "", "loss", "min", (), aside) for aside in ("", "a" * 500, "b" * 500)]
    names = [board.name for board in boards]
    assert names[0] == "compress-photos-test"
    assert len(set(names)) == 3
    assert max(map(len, names)) < 40
