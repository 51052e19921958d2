"""A run that is killed and resumed ends with exactly the numbers of an uninterrupted one."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from imagier.checkpoint_file import read_checkpoint
from imagier.training.metrics_csv import read_rows
from imagier.training.resuming import changes
from tests.conftest import REPOSITORY, imagier, spoken

STOP = "+callbacks.stop._target_=tests.training.stop_at.StopAt"
PHOTOS = ["data=photos", "data.batch_size=3", "data.repeat=2"]
BY_MUON = ["optimizer=muon", "scheduler=one_cycle", "callbacks.early_stopping.patience=9"]  # rate and momentum vary
SHARED = ["trainer.max_epochs=2", "callbacks.checkpoints.every_n_steps=2", "callbacks.ema.decay=0.9", "test=false"]
SHARED += ["report=false"]


def words_of(task: str, root: Path) -> list[str]:
    data = {
        "segment": ["data=cityscapes", "data.size=[32,64]", "data.batch_size=4", "augment=streets", "model.width=4"],
        "classify": ["data=fashion_mnist", "data.batch_size=45", "augment=shift", *BY_MUON],  # the network has dropout
        "denoise": [*PHOTOS, "model.widths=[4,8]", "model.depth=1"],
        "compress": [*PHOTOS, "model=hyperprior", "model.width=6", "model.latents=8"],
    }
    end = ["trainer.max_epochs=9", "trainer.max_steps=10"] if task == "segment" else []  # instead of two epochs
    return [f"task={task}", f"data.root={root}", *data[task], *SHARED, *end]  # six steps per epoch


def root_of(task: str, request: pytest.FixtureRequest) -> Path:
    roots = {"segment": "streets_root", "classify": "garments_root"}
    return request.getfixturevalue(roots.get(task, "leaves_root"))


@pytest.fixture(scope="module")
def unbroken(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    done: dict[str, Path] = {}

    def run(task: str) -> Path:
        if task not in done:
            done[task] = tmp_path_factory.mktemp(task)
            spoken("train", *words_of(task, root_of(task, request)), cwd=done[task])
        return done[task] / "runs" / "latest"

    return run


def last(run: Path) -> dict[str, Any]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Return the places at which two nested states differ in any bit."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        return [line for key in one for line in differences(one[key], other[key], f"{where}/{key}")]
    if isinstance(one, list | tuple):
        return [
            line
            for key, pair in enumerate(zip(one, other, strict=True))
            for line in differences(*pair, f"{where}/{key}")
        ]
    same = torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    return [] if same else [where]


@pytest.mark.parametrize(
    ("task", "workers", "step"), [("segment", 2, 7), ("classify", 0, 4), ("denoise", 2, 11), ("compress", 0, 9)]
)
def test_killed_and_resumed_equals_unbroken(
    task: str, workers: int, step: int, unbroken: Any, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    words = [*words_of(task, root_of(task, request)), f"data.workers={workers}"]
    imagier(*words, STOP, f"+callbacks.stop.step={step}", cwd=tmp_path, code=-9)
    imagier("resume=runs/latest", "~callbacks.stop", cwd=tmp_path)

    whole, mended = unbroken(task), tmp_path / "runs" / "latest"
    for part in ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "train_metrics"):
        assert differences(last(whole)[part], last(mended)[part]) == []
    assert last(whole)["global_step"] == last(mended)["global_step"] == (10 if task == "segment" else 12)

    def scores(run: Path) -> list[dict[str, float]]:
        told = ("val/", "train/", "lr")
        return [{k: v for k, v in row.items() if k.startswith(told)} for row in read_rows(run / "metrics.csv")]

    assert scores(whole) == scores(mended)


@pytest.mark.parametrize(("name", "code", "step"), [("SIGTERM", 143, 3), ("SIGINT", 130, 3), ("SIGTERM", 143, -1)])
def test_a_signal_saves_and_ends_cleanly(name: str, code: int, step: int, garments_root: Path, tmp_path: Path) -> None:
    stop = [STOP, f"+callbacks.stop.step={step}", f"+callbacks.stop.name={name}", "trainer.accumulate_grad_batches=2"]
    said = imagier(*words_of("classify", garments_root), *stop, cwd=tmp_path, code=code)
    assert f"stopped by {name}; nothing is lost" in said
    assert "Traceback" not in said
    assert last(tmp_path / "runs" / "latest")["global_step"] == max(1, step + 1)


def test_a_signal_in_the_last_step_lets_it_be_validated(garments_root: Path, tmp_path: Path) -> None:
    stop = [STOP, "+callbacks.stop.step=3", "+callbacks.stop.name=SIGTERM", "trainer.max_steps=4"]
    imagier(*words_of("classify", garments_root), *stop, cwd=tmp_path, code=143)
    run = tmp_path / "runs" / "latest"
    assert [row["step"] for row in read_rows(run / "metrics.csv") if "val/loss" in row] == [3]  # the fourth step
    said = imagier("resume=runs/latest", "~callbacks.stop", cwd=tmp_path)
    assert "the best checkpoint is from epoch 1" in said
    assert last(run)["global_step"] == 4


def test_a_run_stopped_before_any_validation_is_measured_by_its_last_weights(
    garments_root: Path, tmp_path: Path
) -> None:
    words = [*words_of("classify", garments_root), "trainer.check_val_every_n_epoch=4", "trainer.max_epochs=9"]
    stop = [STOP, "+callbacks.stop.step=7", "+callbacks.stop.name=SIGTERM"]
    spoken("train", *words, *stop, cwd=tmp_path, code=143)
    run = tmp_path / "runs" / "latest"
    said = spoken("train", f"resume={run}", "~callbacks.stop", "trainer.max_steps=8", cwd=tmp_path)
    assert "the best checkpoint is from epoch 2" in said  # of six steps each
    assert read_checkpoint(run / "checkpoints" / "best.ckpt")["global_step"] == 8
    assert json.loads((run / "summary.json").read_text())["best_epoch"] == 1


def test_a_resumed_run_keeps_its_seed_and_the_time_it_took(unbroken: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(unbroken("classify"), run)
    said = spoken("train", f"resume={run}", "seed=5", cwd=tmp_path, code=2)
    assert "seed was 0 in" in said
    checkpoint = last(run)
    checkpoint["callbacks"]["Schedule"]["seconds"] = 100.0
    torch.save(checkpoint, run / "checkpoints" / "last.ckpt")
    said = spoken("train", f"resume={run}", "trainer.budget=50s", cwd=tmp_path, code=2)
    assert "has already been trained for 100 s; set at least as much" in said


def test_a_signal_while_measuring_says_how_to_go_on(leaves_root: Path, tmp_path: Path) -> None:
    words = [*words_of("compress", leaves_root), "trainer.max_epochs=1", "report=true"]
    with subprocess.Popen(
        [sys.executable, str(REPOSITORY / "train.py"), *words],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as run:  # fmt: skip
        assert run.stdout is not None
        for line in run.stdout:
            if line.startswith("the best checkpoint is"):
                run.send_signal(signal.SIGINT)
                break
        rest = run.stdout.read()
    assert run.returncode == 130, rest
    assert "ended by SIGINT after training, before the report was written; nothing is lost." in rest
    assert "Traceback" not in rest
    said = imagier("resume=runs/latest", cwd=tmp_path)
    assert not re.search(r"note: \S+ (changed|is new|is gone|has changed)", said)  # nothing was changed
    assert (tmp_path / "runs" / "latest" / "report.html").exists()


def test_a_run_whose_optimiser_parted_the_weights_otherwise_is_refused(unbroken: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(unbroken("classify"), run)
    checkpoint = last(run)
    kernels, others = checkpoint["optimizer_states"][0]["param_groups"]
    others["params"].append(kernels["params"].pop())
    torch.save(checkpoint, run / "checkpoints" / "last.ckpt")
    said = spoken("train", f"resume={run}", "trainer.max_epochs=3", cwd=tmp_path, code=2)
    assert "whose optimizer had the parameter groups [" in said
    assert "start a new run, for instance with model.weights=" in said


def test_a_run_goes_on_without_averages_from_the_weights_themselves(
    unbroken: Any, garments_root: Path, tmp_path: Path
) -> None:
    words = [*words_of("classify", garments_root), STOP, "+callbacks.stop.step=4", "+callbacks.stop.name=SIGTERM"]
    spoken("train", *words, cwd=tmp_path, code=143)
    run = tmp_path / "runs" / "latest"
    spoken("train", f"resume={run}", "callbacks.ema.decay=null", "~callbacks.stop", cwd=tmp_path)
    assert differences(last(run)["state_dict"], last(unbroken("classify"))["current_model_state"]) == []


def test_a_finished_run_goes_on_with_more_epochs_another_batch_size_and_dropout(unbroken: Any, tmp_path: Path) -> None:
    import shutil

    whole = unbroken("classify").resolve()
    copy = tmp_path / "runs" / "classify" / "copy" / "time"
    shutil.copytree(whole, copy)
    others: dict[str, tuple[float, float]] = {
        "trainer.max_epochs": (2, 3), "data.batch_size": (45, 90), "optimizer.weight_decay": (0.01, 0.1),
        "callbacks.early_stopping.patience": (9, 8), "model.dropout": (0.2, 0.3),
    }  # fmt: skip
    said = imagier(f"resume={copy}", *(f"{key}={now}" for key, (_, now) in others.items()), cwd=tmp_path)
    told = {line.removeprefix("note: ") for line in said.splitlines() if " changed from " in line}
    assert told == {f"{key} changed from {before} to {now}" for key, (before, now) in others.items()}
    saved = last(copy)
    assert [group["weight_decay"] for group in saved["optimizer_states"][0]["param_groups"]] == [0.1, 0.0]
    assert [state["patience"] for key, state in saved["callbacks"].items() if key.startswith("EarlyStopping")] == [8]
    assert last(copy)["global_step"] == 12 + 3
    epochs = [row["epoch"] for row in read_rows(copy / "metrics.csv") if "val/loss" in row]
    assert epochs == [0, 1, 2]


THEN = {"trainer": {"limit_train_batches": 1, "threads": 2}, "noise": {"sigma": 25}, "augment": {"heights": [180, 360]}}


@pytest.mark.parametrize(("now", "told"), [
    ({}, []),
    ({"trainer": {"limit_train_batches": 1, "threads": 8}, "data": {"cache": "/elsewhere"}}, []),
    ({"augment": {"heights": [120, 360]}}, ["augment.heights changed from [180, 360] to [120, 360]"]),
    ({"trainer": {"limit_train_batches": 1.0}}, ["trainer.limit_train_batches changed from 1 to 1.0"]),
    ({"augment": {"heights": [*range(50)]}}, ["augment.heights has changed"]),
    ({"noise": None}, ["noise.sigma is gone; it was 25", "noise is new: null"]),
])  # fmt: skip
def test_what_has_changed_is_said_and_where_it_runs_is_not(now: dict[str, Any], told: list[str]) -> None:
    assert list(changes(THEN, OmegaConf.create(THEN | now))) == told


def test_a_run_whose_data_have_changed_goes_on_and_says_so(materials_root: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(materials_root, tmp_path / "set")
    words = ["task=classify", "model=mlp", "model.hidden=[8]", "data=photos", f"data.root={tmp_path}/set"]
    words += ["data.batch_size=20", *SHARED]
    imagier(*words, STOP, "+callbacks.stop.step=4", cwd=tmp_path, code=-9)
    for picture in sorted((tmp_path / "set").rglob("*.png"))[::2]:
        picture.unlink()
    said = imagier("resume=runs/latest", "~callbacks.stop", cwd=tmp_path)
    assert "the data differ from those of the checkpoint" in said
    saved = last(tmp_path / "runs" / "latest")
    assert saved["epoch"] == 1
    assert saved["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"] == 2


def test_a_run_stopped_in_mid_epoch_goes_on_with_another_batch_size(garments_root: Path, tmp_path: Path) -> None:
    words = words_of("classify", garments_root)
    imagier(*words, STOP, "+callbacks.stop.step=4", cwd=tmp_path, code=-9)  # 4 of 6 batches of 45: 180 of 270 samples
    imagier("resume=runs/latest", "~callbacks.stop", "data.batch_size=30", cwd=tmp_path)
    assert last(tmp_path / "runs" / "latest")["global_step"] == 4 + 3 + 9  # the other 90 samples, then an epoch
