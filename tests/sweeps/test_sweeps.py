"""Sweeps: all combinations run or are refused beforehand, a kill loses nothing, and a table sums them up."""

import csv
import json
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hydra import initialize_config_dir
from hydra.core.plugins import Plugins
from optuna.distributions import FloatDistribution, IntDistribution
from PIL import Image
from submitit import AutoExecutor

from imagier import cli
from imagier.configuration import choices
from imagier.errors import TrainingError
from imagier.offered import CONF
from imagier.sweeps.picture import draw_trials
from imagier.sweeps.record import Record, ranked, read_records
from imagier.sweeps.results import best_of_each_measure
from imagier.sweeps.search import _distribution
from imagier.sweeps.sweep import Sweep, sweep
from imagier.sweeps.trial import TrialJob
from imagier.sweeps.words import extremes, read_words
from tests.quadratic import quadratic
from tests.test_wrong_words import sentence

pytestmark = pytest.mark.usefixtures("here")


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_words_are_split_into_those_that_stay_and_those_that_vary() -> None:
    words = ["task=classify", "sweep=optuna", "sweep.trials=3", "hydra.launcher.n_jobs=2", "optimizer.lr=1e-3"]
    words += [
        "model.width=int(interval(8,64))",
        "data.batch_size=range(16,65,16)",
        "+loss.gamma=tag(log,interval(1,4))",
    ]
    fixed, varied = read_words(words, {"optimizer.lr": "interval(0,1)", "augment": "choice(none,flip)"})
    assert fixed == ["task=classify", "optimizer.lr=1e-3"]
    seen = {one.key: (one.values, one.interval, one.whole, one.log) for one in varied}
    assert seen == {
        "augment": (("none", "flip"), False, False, False),
        "model.width": (("8", "64"), True, True, False),
        "data.batch_size": (("16", "32", "48", "64"), False, True, False),
        "+loss.gamma": (("1", "4"), True, False, True),
    }


def test_a_search_reaches_the_last_number_of_a_range() -> None:
    _, (drop, width) = read_words(["model.dropout=range(0.3,0.6,0.1)", "model.width=range(16,65,16)"], {})
    fractions, wholes = _distribution(drop), _distribution(width)
    assert isinstance(fractions, FloatDistribution)
    assert isinstance(wholes, IntDistribution)
    assert (fractions.low, fractions.high, fractions.step) == (0.3, 0.5, 0.1)
    assert (wholes.low, wholes.high, wholes.step) == (16, 64, 16)


def test_values_of_an_experiments_file_and_of_a_pattern_vary(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "conf" / "experiment").mkdir(parents=True)
    file = "# @package _global_\nhydra:\n  sweeper:\n    params:\n      optimizer.lr: 1e-3,1e-2\n      seed: 1,2,3\n"
    (here / "conf" / "experiment" / "swept.yaml").write_text(file)
    monkeypatch.setenv("IMAGIER_CONF", str(here / "conf"))
    words = [
        "train",
        "-m",
        "task=classify",
        "experiment=swept",
        "seed=7",
        "augment=glob(fl*)",
        f"paths.runs={here}/runs",
    ]
    words += ["data.limit=20", "trainer.max_epochs=1", "trainer=cpu", "report=false", "test=false"]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", words)
        cli.main("train")
    (folder,) = (here / "runs" / "sweeps").iterdir()
    assert sorted((row["optimizer.lr"], row["augment"]) for row in rows(folder)) == [
        ("0.001", "flip"),
        ("0.01", "flip"),
    ]


# arguments -> parts of the error message
SLIPS = {
    "-m task=classify model=cnn,mlp,cmm": ("model=cmm is not known", "densenet"),
    "-m task=classify model=cnn,mlp model.width=8,16": (
        "model.width does not exist; model holds: name, tasks, hidden",
    ),
    "-m task=classify optimizer.lr=1e-3,3e-4,-1": ("optimizer.lr=-1 is out of range",),
    "-m experiment=objects32_cpu data.root=. augment=shift,flip augment.pixels=5": (
        "augment.pixels=5 would have no effect",
    ),
    "-m task=classify model=cnn,unet": ("model=unet is for task=segment",),
    "-m task=classify optimizer.lrr=1,2": ("optimizer.lrr does not exist", "Did you mean 'lr'?"),
    "-m task=classify optimizer.lr=interval(1e-4,1)": ("optimizer.lr is an interval", "sweep=optuna"),
    "-m task=classify trainer=ddp": ("trainer.devices=auto", "one device"),
    "-m task=classify launcher.n_jobs=2": ("launcher.n_jobs has no effect by itself", "launcher=joblib"),
    "-m task=classify hydra.sweeper.params={seed:'1,2'}": ("give a sweep its values as in -m optimizer",),
    "task=classify launcher=joblib": ("launcher=... runs several trainings: add -m",),
    "sweep.trials=3 task=classify": ("sweep.trials has no effect by itself; add sweep=optuna",),
    "sweep=optuna": ("task is not given",),
    "sweep=optun task=classify": ("sweep=optun is not known", "Did you mean 'optuna'?"),
    "sweep=optuna task=classify,segment": ("task cannot vary",),
    "sweep=optuna task=denoise noise=fixed,report": ("noise varies and changes what val/psnr measures",),
    "sweep=optuna task=compress model.lambdas=choice([0.01],[0.1])": ("model.lambdas varies",),
    "sweep=optuna task=compress model=factorized,pair": ("model varies and changes what val/loss measures",),
    "sweep=optuna task=classify sweep.trials=0": ("sweep.trials=0 is out of range",),
    "sweep=optuna task=classify sweep.trialz=3": ("sweep.trialz does not exist", "Did you mean 'trials'?"),
    "sweep=optuna task=classify optimizer.lr=interval(0,1)": ("optimizer.lr=0 is out of range",),
    "sweep=optuna task=classify data.batch_size=interval(8,16)": ("data.batch_size=", "a whole number"),
    "sweep=optuna task=classify model=mlp model.width=choice(8,16)": ("model.width does not exist",),
    "sweep=optuna task=classify +sweep.sampler.seeed=1": ("sweep.sampler.seeed is unknown to TPESampler",),
    "sweep=optuna task=classify sweep/sampler=tpee": ("sweep/sampler=tpee is not known", "random, tpe"),
}


@pytest.mark.parametrize("words", SLIPS)
def test_a_slip_anywhere_in_a_sweep_is_said_before_anything_is_trained(
    words: str, capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    said = sentence(capsys, "train", words.split(), 2)
    for part in SLIPS[words]:
        assert part in said
    assert not list(here.glob("runs/*/*/*/*"))


@pytest.mark.parametrize("task", choices("task"))
def test_every_task_has_a_space_of_sound_words(task: str) -> None:
    sampled: list[Any] = []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        planned = Sweep([f"task={task}", "sweep=optuna"], sampled.append)
        values = list(extremes(planned.dimensions))
        planned._check(values)
    assert len(values) > len(planned.dimensions) >= 2
    assert "test=false" in planned.fixed
    assert not sampled


def test_a_grid_ends_with_a_table_whatever_becomes_of_its_trials(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["task=classify", "trainer.max_epochs=5", "seed=3", "scheduler=cosine,one_cycle,poly"]
    records = sweep([*words, "optimizer.lr=1e-3,3e-3"], quadratic(here / "of", wrong="Poly"))
    folder = next((here / "runs" / "sweeps").iterdir())
    said = capsys.readouterr().out
    assert [(record.number, record.state) for record in records] == [
        (4, "done"), (3, "done"), (2, "done"), (1, "done"), (5, "failed"), (6, "failed"),
    ]  # fmt: skip
    assert "trial 5 failed: Poly does not do here." in said
    longer = "seed=3 scheduler=one_cycle optimizer.lr=0.003 trainer.max_epochs=20"
    assert f"train it longer: imagier train task=classify {longer}\n" in said
    assert [row["trial"] for row in rows(folder)] == ["4", "3", "2", "1", "5", "6"]
    assert float(rows(folder)[0]["score"]) == pytest.approx(0.95)
    assert rows(folder)[0] | {"score": "", "seconds": "0"} == {
        "trial": "4", "state": "done", "monitor": "val/accuracy", "score": "", "scheduler": "one_cycle",
        "optimizer.lr": "0.003", "epochs": "2", "seconds": "0", "run": f"{here}/of/{os.getpid()}-4", "note": "",
    }  # fmt: skip
    assert "one_cycle" in (folder / "trials.txt").read_text(encoding="utf-8").splitlines()[2]
    assert json.loads((here / "of" / f"{os.getpid()}-5" / "trial.json").read_text())["state"] == "failed"
    with Image.open(folder / "trials.png") as picture:
        assert picture.width > 1000
        assert np.asarray(picture.convert("L")).std() > 5


def test_a_picture_without_trials_can_be_drawn() -> None:
    _, varied = read_words(["scheduler=cosine,poly", "optimizer.lr=1e-3,3e-3", "seed=interval(0,9)"], {})
    assert draw_trials([], varied).shape[2] == 3


def test_a_sweep_without_any_score_says_why(here: Path) -> None:
    with pytest.raises(TrainingError, match="OneCycle does not do here"):
        sweep(["task=classify", "scheduler=one_cycle", "seed=1,2"], quadratic(here / "of", wrong="OneCycle"))


def test_trials_are_ranked_by_their_scores_own_direction() -> None:
    done = [Record(number, {}, "done", score, "val/loss", "min") for number, score in ((1, 0.3), (2, 0.1), (3, 0.2))]
    pruned = Record(4, {}, "pruned", 0.05, "val/loss", "min")
    assert [record.number for record in ranked([pruned, *done])] == [2, 3, 1, 4]


def test_scores_of_different_losses_are_not_ranked_together() -> None:
    values = (
        ("mse", "1e-3", 0.01),
        ("rate_distortion", "1e-3", 60.0),
        ("mse", "1e-4", 0.02),
        ("rate_distortion", "1e-4", 50.0),
    )
    losses = [
        Record(number, {"loss": loss, "optimizer.lr": lr}, "done", score, "val/loss", "min")
        for number, (loss, lr, score) in enumerate(values, start=1)
    ]
    assert [record.number for record in best_of_each_measure(ranked(losses))] == [1, 4]
    for record in losses:
        record.monitor, record.mode = "val/accuracy", "max"
    assert [record.number for record in best_of_each_measure(ranked(losses))] == [2]


def test_recipes_for_other_data_are_not_ranked_together(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipes = "experiment=camvid_cpu,baseline_unet,baseline_unet_augmented"
    records = sweep([recipes, "data.root=.", "seed=1,2"], quadratic(here / "of"))
    names = {record.number: record.values["experiment"] for record in records}
    bests = best_of_each_measure(records)
    assert {names[best.number] for best in bests} == {"camvid_cpu", "baseline_unet"}
    assert "best of experiment=camvid_cpu: trial" in capsys.readouterr().out
    together = {record.subject for record in records if record.values["experiment"] != "camvid_cpu"}
    assert len(together) == 1
    assert together.isdisjoint({best.subject for best in bests if names[best.number] == "camvid_cpu"})


def test_a_run_is_resumed_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "done").mkdir()
    (here / "done" / "overrides.txt").write_text("task=classify\n")
    said = sentence(capsys, "train", ["-m", "resume=done", "optimizer.lr=1e-3,1e-4"], 2)
    assert "resume=done continues a single run" in said
    assert "remove -m" in said


@pytest.mark.slow
def test_a_killed_process_fails_its_own_trials_and_the_others_begin(here: Path) -> None:
    words = ["-m", "task=classify", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=0,1,2,3,4,5"]
    (here / "of").mkdir()
    (here / "of" / "fatal").touch()  # to the first run that finds it
    records = sweep([word for word in words if word != "-m"], quadratic(here / "of", trap=here / "of" / "fatal"))
    states = [record.state for record in sorted(records, key=lambda record: record.number)]
    assert set(states) == {"done", "failed"}
    assert states.count("done") >= 4  # joblib also loses the trial that ran beside it
    assert states[-1] == "done"


def test_a_job_of_a_cluster_that_dies_ends_no_other(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra's launcher reports the first job's death while the second is still training."""

    def launcher(context: Any, job: TrialJob, cfg: Any) -> Any:
        first, second = job.batch

        def launch(words: Any, initial_job_idx: int) -> None:
            for record in (first, second):
                record.write(job.folder)
            AutoExecutor.map_array(None)  # type: ignore[arg-type, call-arg]
            raise RuntimeError("job 7 was killed")

        def trains() -> None:
            replace(second, state="done", score=0.9, monitor="val/accuracy", run=str(here)).write(job.folder)

        monkeypatch.setattr(AutoExecutor, "map_array", lambda executor: [SimpleNamespace(wait=trains)])
        return SimpleNamespace(_EXECUTOR="slurm", launch=launch)

    monkeypatch.setattr(Plugins.instance(), "instantiate_launcher", launcher)
    words = ["task=classify", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=0,1"]
    done, failed = sweep(words, quadratic(here))
    assert (done.number, done.state, failed.number, failed.state) == (2, "done", 1, "failed")
    assert failed.note == "its process ended: job 7 was killed"


@pytest.mark.slow
@pytest.mark.parametrize(("jobs", "seeds"), [(2, "0,1,2,3,4,5"), (4, "0,1")], ids=["trials wait", "processes would"])
def test_what_is_asked_of_a_sweep_is_asked_of_its_processes(here: Path, jobs: int, seeds: str) -> None:
    words = ["task=classify", "hydra/launcher=joblib", f"hydra.launcher.n_jobs={jobs}", f"seed={seeds}"]

    def tell() -> None:
        while len(list((here / "of").glob("*/metrics.csv"))) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    teller = threading.Thread(target=tell)
    teller.start()
    with pytest.raises(cli.ImagierError, match="the sweep was stopped; its table so far is in") as told:
        sweep(words, quadratic(here / "of", seconds=300))
    teller.join()
    assert told.value.exit_code == 143
    (folder,) = (here / "runs" / "sweeps").iterdir()
    assert [(record.state, record.note) for record in read_records(folder).values()] == [
        ("stopped", "stopped by SIGTERM")
    ] * 2
    assert (folder / "trials.csv").exists()
