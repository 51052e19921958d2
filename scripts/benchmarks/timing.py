"""Two ways of doing the same thing, timed in turn, and the ratio of their medians."""

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).parents[2]
PACKAGES = ("torch", "torchvision", "pytorch-lightning", "albumentations", "onnxruntime", "openvino")
# Let child processes cache their bytecode, so that they start as every time but the first. Empty means unset.
COMPILED = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}


@dataclass(frozen=True)
class Row:
    """One comparison.

    kind:   "speed-up", the rival's time over ours, at least `target`; or "cost", our time over the rival's, at most
            `target`.
    ours, theirs: seconds (or another `unit`) of each repeat, taken in turn.
    images: number of images per repeat, to show a rate instead of seconds; None if that makes no sense.
    note:   what a reader must know to judge the figure.
    """

    what: str
    rival: str
    kind: Literal["speed-up", "cost"]
    target: float
    ours: Sequence[float]
    theirs: Sequence[float]
    images: int | None = None
    unit: str = "s"
    note: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """The speed-up or the cost, of the medians."""
        ours, theirs = statistics.median(self.ours), statistics.median(self.theirs)
        return theirs / ours if self.kind == "speed-up" else ours / theirs

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        return self.ratio >= self.target if self.kind == "speed-up" else self.ratio <= self.target

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, the ratio and whether it meets the target, for JSON."""
        return asdict(self) | {"ratio": self.ratio, "met": self.met}

    def line(self) -> str:
        """Return a row of a Markdown table: what, rival, target, ratio, medians."""
        bound = "at least" if self.kind == "speed-up" else "at most"
        times = " / ".join(self._amount(statistics.median(times)) for times in (self.ours, self.theirs))
        reached = "" if self.met else " (missed)"
        return f"| {self.what} | {self.rival} | {bound} {self.target:.3g} x | {self.ratio:.3g} x{reached} | {times} |"

    def _amount(self, measured: float) -> str:
        if self.unit != "s":
            return f"{measured:.3g} {self.unit}"
        if self.images:
            return f"{self.images / measured:,.0f} images/s"
        return f"{measured:.2f} s" if measured >= 1 else f"{measured * 1e3:.3g} ms"


HEADER = "| what | rival | target | measured | ours / rival |\n|---|---|---|---|---|"


def in_turn(
    ours: Callable[[], float | None], theirs: Callable[[], float | None], repeats: int, warm_up: int = 1
) -> tuple[list[float], list[float]]:
    """Return the seconds of each repeat of both, run as A B A B ..., after `warm_up` rounds that do not count.

    A function that returns a number has timed itself; otherwise the whole call is timed.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(warm_up + repeats):
        for one, kept in zip((ours, theirs), times, strict=True):
            began = time.perf_counter()
            said = one()
            if number >= warm_up:
                kept.append(time.perf_counter() - began if said is None else said)
    return times


def run_python(*words: str, env: dict[str, str] | None = None) -> float:
    """Run this Python with `words` in the project's folder; return its seconds. Raises RuntimeError if it fails."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, env=COMPILED | (env or {}), check=False
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"python {' '.join(words)} ended with {done.returncode}:\n{done.stderr}")
    return seconds


def machine() -> dict[str, Any]:
    """Describe the hardware, software and commit that the figures were measured on."""
    import torch

    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    memory = next((int(line.split()[1]) // 2**20 for line in _lines("/proc/meminfo") if "MemTotal" in line), None)
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_GiB": memory,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY"),
        "versions": {name: _version(name) for name in PACKAGES},
        "commit": subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
        ).stdout.strip(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else []


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
