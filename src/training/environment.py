"""environment.json: what a result depends on besides its configuration."""

import os
import platform
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from imagier.version import __version__

PACKAGES = (
    "torch", "torchvision", "pytorch-lightning", "torchmetrics", "hydra-core", "omegaconf", "albumentations",
    "segmentation-models-pytorch", "timm", "numpy", "pillow", "opencv-python-headless", "wandb",
)  # fmt: skip


def environment(fingerprint: str) -> dict[str, Any]:
    """Return versions, commit, machine and data fingerprint, ready for JSON."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "imagier": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": versions(PACKAGES),
        "machine": {
            "system": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpus": gpus,
            "cuda": torch.version.cuda if gpus else None,
        },
        "data_fingerprint": fingerprint,
    }


def hardware_name(gpus: Sequence[int]) -> str:
    """Return the names of the GPUs with these indices, or the processor's if there are none."""
    counts = Counter(torch.cuda.get_device_name(index) for index in gpus)
    return ", ".join(name if count == 1 else f"{count} x {name}" for name, count in counts.items()) or _processor()


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    found: dict[str, str] = {}
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _processor() -> str:
    """Return the CPU's name, on Linux from /proc/cpuinfo; elsewhere `platform` knows at least its family."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _commit() -> str | None:
    """Return the commit of the running code, with a + if tracked files differ from it; None outside a checkout."""
    home = Path(__file__).resolve().parents[2]
    if not (home / ".git").exists():
        return None
    try:
        described = subprocess.run(
            ["git", "-C", str(home), "describe", "--always", "--dirty=+", "--abbrev=12"],
            capture_output=True, text=True, check=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()
