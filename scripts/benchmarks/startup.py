"""Start-up time of commands and of training."""

import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator

from timing import COMPILED, ROOT, Row, in_turn, run_python


def compare(given: Namespace) -> Iterator[Row]:
    """Composing a configuration, against importing torch; time to the first step, against importing Lightning too."""
    for words in (("task=classify", "--cfg", "job"), ("--help",)):
        _refuse_torch(words)
        ours, theirs = in_turn(
            lambda words=words: run_python("train.py", *words),
            lambda: run_python("-c", "import torch"),
            given.repeats,
        )
        note = "torch is not imported"
        yield Row(
            f"python train.py {' '.join(words)}", 'python -c "import torch"', "cost", 1 / 3, ours, theirs, note=note
        )
    real = given.data and (given.data / "FashionMNIST").is_dir()
    data = ["data=fashion_mnist", f"data.root={given.data}"] if real else ["data=garments"]
    rival = "import torch, pytorch_lightning"
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = in_turn(  # the warm-up generates the embedded set, and examines either data set
            lambda: _to_first_step("task=classify", *data, f"paths.runs={folder}/runs", f"paths.cache={folder}/cache"),
            lambda: run_python("-c", rival),
            given.repeats,
        )
    note = f"{data[0]}, net cnn, batches of 128; the first step included"
    yield Row("start to first training step, classify", f'python -c "{rival}"', "cost", 1.5, ours, theirs, note=note)


def _refuse_torch(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "train.py", *words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    if "torch" in {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}:
        raise RuntimeError(f"python train.py {' '.join(words)} imports torch")


def _to_first_step(*words: str) -> float:
    """Seconds from the start of a training process to its log line about the first step."""
    said = []
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "train.py", *words],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=COMPILED | {"PYTHONUNBUFFERED": "1"},
    ) as training:  # fmt: skip
        assert training.stdout is not None
        for line in training.stdout:
            said.append(line)
            if line.startswith("first step after "):
                seconds = time.perf_counter() - began
                training.kill()
                return seconds
    raise RuntimeError(f"python train.py {' '.join(words)} ended before its first step:\n{''.join(said)}")
