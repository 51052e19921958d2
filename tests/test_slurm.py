"""scripts/slurm.sh with fake srun and scontrol programs that only record their arguments."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

SRUN = """#!/bin/bash
trap 'sleep 0.2; echo saved >> said; exit 143' TERM
echo "$@" >> said
[[ $* == *resume=* ]] || { sleep 60 & wait; }
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {"srun": SRUN, "scontrol": '#!/bin/bash\necho "$@" >> said\n'}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    (tmp_path / "train.py").symlink_to(REPOSITORY / "train.py")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_SUBMIT_DIR", str(tmp_path))
    return tmp_path


def start(*words: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(["bash", str(REPOSITORY / "scripts" / "slurm.sh"), *words])


def said(folder: Path) -> list[str]:
    return (folder / "said").read_text().splitlines() if (folder / "said").exists() else []


def test_a_job_at_its_limit_saves_is_queued_again_and_goes_on(cluster: Path) -> None:
    with start("task=classify", "paths.runs=kept") as job:
        while not said(cluster):
            time.sleep(0.02)
        job.send_signal(signal.SIGUSR1)
    assert said(cluster) == ["python train.py task=classify paths.runs=kept", "saved", "requeue 7"]

    (cluster / "kept" / "slurm-7" / "checkpoints").mkdir(parents=True)
    (cluster / "kept" / "slurm-7" / "checkpoints" / "last.ckpt").touch()
    with start("task=classify", "paths.runs=kept") as job:
        pass
    assert job.returncode == 0
    assert said(cluster)[3:] == ["python train.py resume=kept/slurm-7"]
    (cluster / "train.py").unlink()  # as if conf/local/default.yaml set paths.runs
    (cluster / "train.py").write_text("print('data:\\n  root: /data\\npaths:\\n  runs: kept\\n  cache: there')")
    with start("task=classify") as job:
        pass
    assert said(cluster)[4:] == ["python train.py resume=kept/slurm-7"]


def test_a_job_that_ends_at_its_limit_is_not_queued_again(cluster: Path) -> None:
    (cluster / "bin" / "srun").write_text(
        "#!/bin/bash\ntrap 'echo done >> said; exit 0' TERM\necho on >> said\nsleep 60 & wait\n"
    )
    with start("task=classify") as job:
        while not said(cluster):
            time.sleep(0.02)
        job.send_signal(signal.SIGUSR1)
    assert said(cluster) == ["on", "done"]
    assert job.returncode == 0


def test_a_job_that_fails_is_not_queued_again(cluster: Path) -> None:
    (cluster / "bin" / "srun").write_text("#!/bin/bash\necho failed >> said\nexit 3\n")
    with start("task=classify") as job:
        pass
    assert job.returncode == 3
    assert said(cluster) == ["failed"]
