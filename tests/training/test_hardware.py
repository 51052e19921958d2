"""Threads, workers, precision and memory that a configuration means on this machine."""

import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from imagier.build import _fused, half_precision
from imagier.datamodules import base
from imagier.datamodules.fashion_mnist import FashionMNIST
from imagier.errors import TrainingError
from imagier.offered import CONF
from imagier.tasks.faults import told_of
from imagier.training import environment, hardware


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def settled(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int, environment: bool = False, **settings: Any
) -> int:
    """Return the number of threads that a CPU run uses."""
    monkeypatch.setattr(hardware, "available_cores", lambda: cores)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if environment:
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
    torch.set_num_threads(1)  # as an earlier job may have left it
    hardware.settle_threads(sentence(**settings), workers)
    return torch.get_num_threads()


def test_a_run_is_of_the_devices_that_it_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: ("NVIDIA A", "NVIDIA A", "NVIDIA B")[index])
    monkeypatch.setattr(environment, "_processor", lambda: "AMD EPYC")
    assert environment.hardware_name([]) == "AMD EPYC"
    assert environment.hardware_name([2]) == "NVIDIA B"
    assert environment.hardware_name([0, 1]) == "2 x NVIDIA A"


def sentence(**settings: Any) -> Any:
    trainer = {
        "accelerator": "cpu", "devices": 1, "strategy": "auto", "precision": "32-true", "budget": None,
        "sync_batchnorm": False, "threads": "auto", "fused": False,
    }  # fmt: skip
    return OmegaConf.create({"trainer": trainer | settings})


def test_cores_are_shared_with_workers_and_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settled(monkeypatch, cores=8, workers=0) == 8
    assert settled(monkeypatch, cores=8, workers=3) == 5
    assert settled(monkeypatch, cores=2, workers=2) == 1
    assert settled(monkeypatch, cores=8, workers=1, devices=2, strategy="ddp") == 3


def test_whoever_states_a_number_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settled(monkeypatch, cores=8, workers=3, threads=7) == 7
    assert settled(monkeypatch, cores=8, workers=3, environment=True) == 2


@pytest.mark.parametrize(("by_itself", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_the_fastest_precision_is_the_processors_own(
    monkeypatch: pytest.MonkeyPatch, by_itself: bool, precision: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": by_itself}, raising=False)
    assert hardware.trainer_settings(sentence(precision="fastest"))["precision"] == precision


@pytest.mark.parametrize("cores", [2, 8])
def test_what_a_user_says_of_workers_changes_no_thread(
    garments_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    # A different number of threads would change the last digits of every sum.
    monkeypatch.setattr(base, "available_cores", lambda: cores)
    usual = set()
    for workers in (None, 0, 2):
        data = FashionMNIST(name="set", root=garments_root, cache=tmp_path, workers=workers)
        data.setup()
        usual.add(data.usual_workers("train"))
        assert data.worker_count("train") == (0 if workers is None else workers)
    assert len(usual) == 1


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="tells glibc to keep what is freed")
def test_memory_that_is_freed_is_not_cleared_by_the_kernel_again() -> None:
    program = """
import resource, sys
import torch
from omegaconf import OmegaConf
from imagier.training import hardware
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(16 * 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
given = faults()
hardware.keep_freed_memory(OmegaConf.create({"trainer": eval(sys.argv[1])}))
faults()  # fills what will be kept
print(given, faults())
"""
    told = subprocess.run(
        [sys.executable, "-c", program, str(dict(sentence().trainer))], capture_output=True, text=True, check=True
    )
    returned, kept = map(int, told.stdout.split())
    assert kept < returned / 20


@pytest.mark.parametrize(
    ("size", "gathered", "told"),
    [
        (8, 0, r"with batches of data\.batch_size=8 \(CUDA out of memory\); use data\.batch_size=4, or stop"),
        (8, 3, r"use data\.batch_size=4 trainer\.accumulate_grad_batches=6, which keeps.*Continue with .*resume="),
        (5, 1, r"use data\.batch_size=2, or stop"),
        (1, 3, r"use smaller images \(data\.size"),
    ],
)
def test_a_full_memory_is_told_with_what_helps(tmp_path: Path, size: int, gathered: int, told: str) -> None:
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.parent.mkdir()
    last.touch()
    with pytest.raises(TrainingError, match=told), hardware.held_by_memory(size, gathered, last if gathered else None):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


def test_a_full_memory_tells_which_pictures_filled_it() -> None:
    """Whole photographs are evaluated one by one, whatever data.batch_size is."""

    class Full(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    batch: Any = {"image": torch.zeros(1, 3, 40, 60)}
    told = r"with images of 40 x 60, 1 at once .*; use smaller images"
    with pytest.raises(TrainingError, match=told), hardware.held_by_memory(16, 1), told_of(Full(), batch):
        Full()(batch["image"])


@pytest.mark.parametrize(("real", "precision"), [(True, "bf16-mixed"), (False, "16-mixed")])
def test_a_gpu_that_imitates_bf16_computes_in_fp16(monkeypatch: pytest.MonkeyPatch, real: bool, precision: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: real)
    assert half_precision() == precision
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", ["task=denoise", "trainer=gpu"])  # clips gradients
    assert _fused(cfg) == real  # with a fused optimiser, scaled gradients cannot be clipped
    assert hardware.trainer_settings(cfg)["precision"] == precision
