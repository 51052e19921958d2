"""Two processes train as one would: the same samples, losses and scores; and if one of them ends, both do."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from imagier import cli
from imagier.launch import Launch, launch
from imagier.training.companions import Companions
from imagier.training.metrics_csv import read_rows
from tests.conftest import REPOSITORY, imagier
from tests.training.test_resume import differences, last
from tests.training.witness import lines

ENDED = 143  # exit code after SIGTERM
OWN = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
STOP = "+callbacks.stop._target_=tests.training.stop_at.StopAt"


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Batches of four samples; the last validation batch has one, and so none for the second process."""
    from imagier.synthetic import garments

    root = tmp_path_factory.mktemp("garments")
    garments.generate(root, train=300, test=20)
    return [
        "task=classify", "task.class_weights=[1,2,3,4,5,1,2,3,4,5]",  # processes' shares of a batch differ in weight
        "model=mlp", "model.hidden=[1300,16]", "model.dropout=0", "optimizer=sgd",
        "data=fashion_mnist", f"data.root={root}", "data.batch_size=4", "data.limit=29", "augment=shift",
        "trainer.max_epochs=2", "trainer.log_every_n_steps=1", "callbacks.checkpoints.every_n_steps=2", "report=false",
        "+callbacks.witness._target_=tests.training.witness.Witness", "+callbacks.witness.into=seen",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def alone(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    say(*words, "trainer=cpu", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def both(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("both")
    torchrun(*words, cwd=folder)
    return folder


def say(*words: str, cwd: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train.py", *words])
        patch.chdir(cwd)
        cli.main("train")


def torchrun(*words: str, cwd: Path, code: int = 0) -> str:
    started = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    ended = subprocess.run(
        [*started, str(REPOSITORY / "train.py"), *words],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def srun(*words: str, cwd: Path) -> list[tuple[int, str]]:
    """Run two processes as SLURM's srun would start them; return their exit codes and outputs."""
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    step = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1"}
    common = os.environ | step | {"PYTHONPATH": str(REPOSITORY), "MASTER_PORT": str(port), "SLURM_NTASKS": "2"}
    tasks = [
        subprocess.Popen(
            [sys.executable, str(REPOSITORY / "train.py"), *words],
            cwd=cwd,
            env=common | {"SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_PROCID": rank, "SLURM_LOCALID": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in ("0", "1")
    ]
    said = [task.communicate(timeout=200)[0] for task in tasks]
    return [(task.returncode, text) for task, text in zip(tasks, said, strict=True)]


def scores(folder: Path, *kinds: str) -> list[dict[str, float]]:
    rows = read_rows(folder / "runs" / "latest" / "metrics.csv")
    return [{name: value for name, value in row.items() if name.startswith(kinds)} for row in rows]


def shown(row: dict[str, float]) -> dict[str, str]:
    return {name: f"{value:.4f}" for name, value in row.items()}


def run_folders(folder: Path) -> list[Path]:
    return [path.parent for path in (folder / "runs").rglob("config.yaml") if not path.parent.is_symlink()]


def test_two_processes_see_what_one_sees(alone: Path, both: Path) -> None:
    whole, first, second = lines(alone / "seen", 0), lines(both / "seen", 0), lines(both / "seen", 1)
    assert len(whole) == len(first) == len(second) == 14
    for together, one, other in zip(whole, first, second, strict=True):
        assert sorted(together["ids"]) == sorted(one["ids"] + other["ids"])
        assert together["lr"] == one["lr"] == other["lr"]
        assert one["loss"] == other["loss"] == pytest.approx(together["loss"], rel=1e-5)


def test_two_processes_score_what_one_scores(alone: Path, both: Path) -> None:
    assert len(set(run_folders(both))) == 1
    for kind in ("train/", "val/", "best/"):
        one, two = scores(alone, kind), scores(both, kind)
        assert any(one)
        assert [shown(row) for row in one] == [shown(row) for row in two]
    measured = json.loads((both / "runs" / "latest" / "metrics.json").read_text())
    told = [
        row["val/loss"] for row in scores(both, "val/loss") if row
    ]  # evaluated by two processes, and the best checkpoint again by one
    assert min(abs(measured["val"]["loss"] - loss) for loss in told) < 1e-6


def test_a_sharded_net_trains_as_a_whole_one_and_leaves_whole_checkpoints(
    alone: Path, words: list[str], tmp_path: Path
) -> None:
    imagier(*words, *OWN, "trainer=fsdp", cwd=tmp_path)
    assert [shown(row) for row in scores(alone, "train/", "val/", "best/")] == [
        shown(row) for row in scores(tmp_path, "train/", "val/", "best/")
    ]
    one, other = last(alone / "runs" / "latest"), last(tmp_path / "runs" / "latest")
    assert close(one["state_dict"], other["state_dict"])
    state = other["optimizer_states"][0]["state"]
    assert [entry["momentum_buffer"].shape for entry in state.values()] == [
        entry["momentum_buffer"].shape for entry in one["optimizer_states"][0]["state"].values()
    ]


def test_a_whole_optimiser_is_not_split(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        say("resume=runs/latest", "trainer=fsdp", *OWN[1:], "trainer.max_epochs=9", cwd=alone)
    assert "trainer.strategy=fsdp cannot shard the optimizer state in" in capsys.readouterr().err
    assert (alone / "runs" / "latest" / "metrics.json").is_file()  # the earlier run's results are still there


def close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.allclose(one[name], other[name], rtol=1e-4, atol=1e-6) for name in one
    )


def test_a_killed_process_ends_the_run_with_a_sentence_and_one_process_goes_on(
    alone: Path, words: list[str], tmp_path: Path
) -> None:
    kill = [STOP, "+callbacks.stop.step=5", "+callbacks.stop.rank=1"]
    said = imagier(*words, *OWN, *kill, cwd=tmp_path, code=4)
    assert said.count("process 1 of 2, counted from 0, was killed by SIGKILL, so the run ends") == 1
    assert f"resume={(tmp_path / 'runs' / 'latest').resolve()}" in said
    assert "Traceback" not in said
    assert last(tmp_path / "runs" / "latest")["global_step"] == 4
    say("resume=runs/latest", "~callbacks.stop", "trainer=cpu", "trainer.devices=1", cwd=tmp_path)
    assert [shown(row) for row in scores(alone, "train/", "val/")] == [
        shown(row) for row in scores(tmp_path, "train/", "val/")
    ]
    assert close(last(alone / "runs" / "latest")["state_dict"], last(tmp_path / "runs" / "latest")["state_dict"])


def test_all_killed_and_resumed_by_torchrun_equals_unbroken(both: Path, words: list[str], tmp_path: Path) -> None:
    said = torchrun(*words, STOP, "+callbacks.stop.step=11", "+callbacks.stop.rank=0", cwd=tmp_path, code=1)
    assert "Signal 9 (SIGKILL)" in said
    torchrun("resume=runs/latest", "~callbacks.stop", cwd=tmp_path)
    whole, mended = last(both / "runs" / "latest"), last(tmp_path / "runs" / "latest")
    for part in ("state_dict", "optimizer_states"):
        assert differences(whole[part], mended[part]) == []
    assert scores(both, "train/", "val/", "lr") == scores(tmp_path, "train/", "val/", "lr")


def test_a_signal_to_one_process_of_srun_saves_and_ends_both(words: list[str], tmp_path: Path) -> None:
    stop = [STOP, "+callbacks.stop.step=3", "+callbacks.stop.rank=1", "+callbacks.stop.name=SIGTERM"]
    (code, said), (other, silent) = srun(*words, *stop, "trainer.budget=60s", cwd=tmp_path)
    assert (code, other) == (ENDED, ENDED)
    assert "stopped by SIGTERM; nothing is lost" in said
    assert "run folder" not in silent
    assert last(tmp_path / "runs" / "latest")["global_step"] == 4
    assert (tmp_path / "runs" / "slurm-7").resolve() == (tmp_path / "runs" / "latest").resolve()
    clock = [[line["lr"] for line in lines(tmp_path / "seen", rank)] for rank in (0, 1)]
    assert clock[0] == clock[1]  # with a budget, the learning rate depends on elapsed time


def test_what_is_wrong_is_said_once(words: list[str], tmp_path: Path) -> None:
    said = torchrun(*words, "data.batch_size=5", cwd=tmp_path, code=1)
    assert said.count("data.batch_size=5 cannot be split equally between 2 processes") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("environment", "found"), [
    ({}, Launch()),
    ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, Launch()),  # in a batch script, before srun
    ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, Launch()),
    ({"SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2", "SLURM_PROCID": "5", "SLURM_LOCALID": "1"},
     Launch("srun", 5, 8, 1, 4)),
    ({"TORCHELASTIC_RUN_ID": "x", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"},
     Launch("torchrun", 3, 4, 1, 2)),
    ({"IMAGIER_RUN_FOLDER": "runs/x", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}, Launch("imagier", 1, 2, 1, 2)),
])  # fmt: skip
def test_a_process_knows_its_place(environment: dict[str, str], found: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IMAGIER_RUN_FOLDER", "LOCAL_RANK", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert launch() == found


@pytest.mark.parametrize(("extra", "told"), [
    (["trainer=fsdp", "callbacks.ema.decay=0.9"], "callbacks.ema.decay needs the whole model"),
    (["trainer=fsdp", "trainer.channels_last=true"], "can only shard kernels in channels-first memory layout"),
    (["trainer=fsdp", *OWN[1:], "+model.freeze=true"], "model.freeze=true calls the frozen part and the head"),
    (["trainer.precision=bf16-true", "callbacks.ema.decay=0.9"], "callbacks.ema.decay averages weights in single"),
    ([*OWN, "trainer.sync_batchnorm=true"], "trainer.sync_batchnorm=true needs GPUs"),
    (["trainer.strategy=deepspeed"], "it is one of: auto, ddp, fsdp"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(
    extra: list[str], told: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        say(*words, *extra, cwd=tmp_path)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_a_reader_who_goes_is_no_lost_process(tmp_path: Path) -> None:
    companions = Companions(None, tmp_path)
    companions.on_exception(None, None, BrokenPipeError(32, "Broken pipe"))  # type: ignore[arg-type]
