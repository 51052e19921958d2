"""Sweeps: all combinations run or are refused beforehand, a kill loses nothing, and a table sums them up."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins
from PIL import Image
from submitit import AutoExecutor

from imagier import cli
from imagier.configuration import check, choices
from imagier.errors import ConfigError, TrainingError
from imagier.offered import CONF
from imagier.sweeps.picture import draw_trials
from imagier.sweeps.record import Record, ranked, read_records
from imagier.sweeps.results import best_of_each_measure
from imagier.sweeps.sweep import Sweep, sweep
from imagier.sweeps.trial import TrialJob
from imagier.sweeps.words import extremes, read_words
from tests.conftest import REPOSITORY
from tests.quadratic import quadratic
from tests.test_wrong_words import sentence

SEARCH = ["task=classify", "sweep=optuna", "sweep.name=named", "sweep.trials=5"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


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


def test_a_killed_search_goes_on_as_if_it_had_not_been(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = subprocess.run(
        [sys.executable, str(REPOSITORY / "tests" / "quadratic.py"), "3", *SEARCH],
        cwd=here, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    folder = here / "runs" / "sweeps" / "named"
    assert [row["state"] for row in rows(folder)] == ["done"] * 2
    with (folder / "study.journal").open("a") as journal:
        journal.write('{"op_code":')  # as if the disk had been full

    sweep(SEARCH, quadratic(here / "of"))
    resumed = read_records(folder)
    assert [resumed[number].state for number in range(1, 7)] == [*["done"] * 2, "stopped", *["done"] * 3]
    assert resumed[3].values == resumed[4].values

    unbroken = sweep([*SEARCH, "paths.runs=whole"], quadratic(here / "whole"))
    proposed = {record.number: record.values for record in unbroken}
    assert [proposed[number] for number in range(1, 6)] == [
        record.values for number, record in resumed.items() if number != 3
    ]
    assert proposed[1] == {
        "optimizer.lr": "0.001", "optimizer.weight_decay": "0.01", "scheduler": "cosine", "augment": "none",
    }  # fmt: skip

    best = next(record for record in ranked(list(read_records(folder).values())) if record.state == "done")
    assert best.run is not None
    shutil.rmtree(best.run)  # its score is kept in the record
    again = sweep(SEARCH, quadratic(here / "never", kill_at=1))
    assert len(again) == 6
    assert not (here / "never").exists()
    with pytest.raises(ConfigError, match=r"none instead of seed=9.*sweep.name="):
        sweep([*SEARCH, "seed=9"], quadratic(here / "never", kill_at=1))


def test_one_process_at_a_time_works_at_a_sweep(here: Path) -> None:
    folder = here / "runs" / "sweeps" / "named"
    folder.mkdir(parents=True)
    hold = (
        "import fcntl, sys, time; f = open('.lock', 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(1, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(ConfigError, match="another process"):
            sweep(SEARCH, quadratic(here / "of"))
        other.communicate("\n")


def test_a_sweep_that_is_told_to_stop_says_so(here: Path) -> None:
    def stopped(cfg: Any) -> float:
        from imagier.training.checkpoints import Interrupted

        raise Interrupted(signal.SIGTERM, here / "of" / "checkpoints" / "last.ckpt")

    with pytest.raises(cli.ImagierError, match="same command to continue") as told:
        sweep(SEARCH, stopped)
    assert told.value.exit_code == 143
    sweep([*SEARCH[:-1], "sweep.trials=2"], quadratic(here / "of"))
    states = [record.state for record in read_records(here / "runs" / "sweeps" / "named").values()]
    assert states == ["stopped", "done", "done"]


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


def test_without_optuna_one_sentence_says_what_to_install(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'imagier\[sweep\]'"):
        sweep(SEARCH, quadratic(here / "of"))


@pytest.mark.slow
def test_trials_run_side_by_side(here: Path) -> None:
    words = ["sweep.trials=3", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    records = sweep([*SEARCH, *words], quadratic(here / "of"))
    assert [record.state for record in records] == ["done"] * 3
    assert len({str(record.run).rpartition("-")[0] for record in records}) > 1  # from several processes


@pytest.mark.slow
def test_hopeless_trials_are_pruned_and_a_failed_one_is_noted(
    here: Path, garments_root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["task=classify", "model=mlp", "model.hidden=[16]", "data=fashion_mnist", f"data.root={garments_root}"]
    words += ["data.batch_size=30", "data.workers=0", "trainer=cpu", "trainer.max_epochs=3", "sweep=optuna"]
    words += ["optimizer.lr=choice(1e-3,1e-9)", "optimizer.weight_decay=0", "scheduler=constant", "augment=none"]
    words += ["sweep.pruner.n_startup_trials=1", "sweep.pruner.n_warmup_steps=1", "sweep.name=prune", "sweep.trials=3"]
    words += ["sweep/sampler=random", "report=false", "seed=5"]  # draws lr 1e-9 with dropout 0.2, then 1e-9 with 1.5
    monkeypatch.setattr(sys, "argv", ["train", *words, "model.dropout=choice(0.2,1.5)"])
    cli.main("train")
    folder = here / "runs" / "sweeps" / "prune"
    print(capsys.readouterr().out[-3000:])
    states = {row["state"]: row for row in rows(folder)}
    assert set(states) == {"done", "pruned", "failed"}
    pruned = Path(states["pruned"]["run"])
    assert (states["pruned"]["optimizer.lr"], states["pruned"]["epochs"]) == ("1e-09", "1")
    assert (pruned / "checkpoints" / "last.ckpt").exists()
    assert "is behind the other trials" in (pruned / "log.txt").read_text()
    assert json.loads((pruned / "trial.json").read_text())["note"] == "after epoch 1"
    assert "dropout=1.5" in states["failed"]["note"]
    kept = (Path(states["done"]["run"]) / "overrides.txt").read_text().splitlines()
    assert "test=false" in kept
    assert not [word for word in kept if "sweep" in word]


def test_the_sentences_of_a_wandb_sweep_are_sound() -> None:
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    planned = yaml.safe_load((REPOSITORY / "scripts" / "wandb_sweep.yaml").read_text())
    fixed = [word for word in planned["command"] if not word.startswith("${")]
    for pick in (0, -1):
        values = {
            key: {"value": (one.get("values") or [one["min"], one["max"]])[pick]}
            for key, one in planned["parameters"].items()
        }
        words = [*fixed, *create_sweep_command_args({"args": values})["args_no_hyphens"]]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("train", words)
        check(cfg)
        assert cfg.optimizer.lr == values["optimizer.lr"]["value"]
    assert planned["metric"]["name"] == "val/accuracy"
    assert (REPOSITORY / planned["program"]).is_file()
