"""Searches by Optuna: a kill loses nothing, hopeless trials are pruned, and one process works at a time."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir

from imagier import cli
from imagier.configuration import check
from imagier.errors import ConfigError
from imagier.offered import CONF
from imagier.sweeps.record import ranked, read_records
from imagier.sweeps.sweep import sweep
from tests.conftest import REPOSITORY
from tests.quadratic import quadratic
from tests.sweeps.test_sweeps import rows

pytestmark = pytest.mark.usefixtures("here")
SEARCH = ["task=classify", "sweep=optuna", "sweep.name=named", "sweep.trials=5"]


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
