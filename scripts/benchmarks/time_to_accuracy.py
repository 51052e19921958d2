"""Time from the start of a process to a Fashion-MNIST classifier with 92 % test accuracy."""

import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from timing import ROOT, Row, in_turn, run_python

GOAL = 0.92  # accuracy on the test split
REPEATS = 3  # at most: each run of the rival takes minutes
TRIES = 4  # seeds to try before the benchmark fails
RIVAL = ("tensorflow-cpu==2.21.*", "keras==3.15.*")


def compare(given: Namespace) -> Iterator[Row]:
    """Our recipe as a whole process, against the report's Keras network up to the first epoch that reaches the goal."""
    folder = raw_folder(given.data)
    if folder is None:
        print("  time_to_accuracy is skipped: --data names no folder with the four files in FashionMNIST/raw.")
        return
    python, seeds = given.keras or keras_environment(), (count(), count())
    ours: list[list[dict[str, Any]]] = []
    theirs: list[list[dict[str, Any]]] = []
    times = in_turn(
        lambda: until_reached(given.data, seeds[0], ours),
        lambda: until_keras_reached(python, folder, seeds[1], theirs),
        min(given.repeats, REPEATS),
        warm_up=0,
    )
    yield Row(
        f"experiment=fast_fashion to {GOAL:.0%}",
        "the report's CNN in Keras",
        "speed-up",
        5.0,
        *times,
        note=_note(ours, theirs),
        details={"goal": GOAL, "ours": ours, "theirs": theirs},
    )


def until_reached(data: Path, seeds: Iterator[int], kept: list[list[dict[str, Any]]]) -> float:
    """Seconds until a run has reached the goal. A run that misses it counts too, and another seed is tried.

    A run is the whole process, with an empty cache: start, training, one evaluation of the test split, report.

    Raises:
        RuntimeError: TRIES seeds in a row missed the goal, or a run failed.
    """
    kept.append([])
    for seed in (next(seeds) for _ in range(TRIES)):
        with tempfile.TemporaryDirectory() as folder:
            words = ["experiment=fast_fashion", f"data.root={data.resolve()}", f"paths.runs={folder}", f"seed={seed}"]
            seconds = run_python("train.py", *words, env={"IMAGIER_CACHE": f"{folder}/cache"})
            (scores,) = Path(folder).glob("classify/*/2*/metrics.json")
            accuracy = json.loads(scores.read_text(encoding="utf-8"))["test"]["accuracy"]
        kept[-1].append({"seed": seed, "seconds": round(seconds, 2), "accuracy": accuracy})
        if accuracy >= GOAL:
            return sum(run["seconds"] for run in kept[-1])
    raise RuntimeError(f"experiment=fast_fashion missed {GOAL:.0%} with {TRIES} seeds in a row: {kept[-1]}")


def until_keras_reached(python: Path, folder: Path, seeds: Iterator[int], kept: list[list[dict[str, Any]]]) -> float:
    """Seconds from the start of the rival's process to its last line, printed when it reaches the goal or gives up."""
    words = [python, Path(__file__).with_name("keras_cnn.py"), folder, f"--accuracy={GOAL}", f"--seed={next(seeds)}"]
    began = time.perf_counter()
    kept.append([])
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    with (
        tempfile.TemporaryFile("w+") as complaints,  # an unread pipe would fill up and block it
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=complaints, text=True, env=quiet) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            kept[-1].append(json.loads(line) | {"seconds": round(time.perf_counter() - began, 2)})
        if process.wait() or not kept[-1]:
            complaints.seek(0)
            raise RuntimeError(f"{python} keras_cnn.py ended with {process.returncode}:\n{complaints.read()}")
    return float(kept[-1][-1]["seconds"])


def raw_folder(data: Path | None) -> Path | None:
    """Return the folder with the four files of Fashion-MNIST, plain or as .gz; None if any is missing."""
    folder = data / "FashionMNIST" / "raw" if data else None
    names = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    if folder and all((folder / name).exists() or (folder / f"{name}.gz").exists() for name in names):
        return folder
    return None


def keras_environment() -> Path:
    """Return the Python of an environment with the rival's packages; on first use, create it in the cache."""
    cache = Path(os.environ.get("IMAGIER_CACHE", "~/.cache/imagier")).expanduser()
    folder = cache / "benchmarks" / "keras"
    python, ready = folder / "bin" / "python", folder / ".ready"
    if not ready.exists():
        print(
            f"  making {folder} with {' and '.join(RIVAL)} (1.4 GB); --keras PYTHON names one that is there", flush=True
        )
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *RIVAL], check=True, cwd=ROOT)
        ready.touch()
    return python


def _note(ours: list[list[dict[str, Any]]], theirs: list[list[dict[str, Any]]]) -> str:
    """Describe the accuracies that both reached, and what the times include."""
    reached = ", ".join(f"{run['accuracy']:.2%}" for tries in ours for run in tries)
    rival = ", ".join(f"{epochs[-1]['accuracy']:.2%} after {len(epochs)} epochs" for epochs in theirs)
    return (
        f"Ours is the whole process, from its start with an empty cache to the end of its report; accuracies on the "
        f"test split, measured once a run: {reached}. The rival's clock stops at its first epoch with {GOAL:.0%}, "
        f"or its tenth, evaluations included: {rival}. At most {REPEATS} repeats, whatever --repeats says."
    )
