"""Communication between the processes of a run: joining, agreeing on values, taking turns, leaving."""

import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from torch import distributed

from imagier.errors import ImagierError, TrainingError
from imagier.launch import Launch, launch, leader

T = TypeVar("T")

LONG = timedelta(days=1)  # the first examination of a large data set takes long
LOST = "Connection closed by peer|Connection reset by peer|Broken pipe"  # in gloo's words


@contextmanager
def together(settings: Mapping[str, Any]) -> Iterator[None]:
    """Within the block, join the processes that torchrun or srun has started beside this one.

    Args:
        settings: resolved settings of the Trainer.

    Raises:
        TrainingError: if another process ends meanwhile.
    """
    here = launch()
    try:
        if here.by in ("torchrun", "srun") and here.world > 1:
            _join(here, gpu=settings["accelerator"] != "cpu")
        yield
    except RuntimeError as error:
        if not lost(error):
            raise
        raise TrainingError(f"another process of this run has ended, so this one ends too: {error}") from error
    finally:
        part()


def _join(here: Launch, gpu: bool) -> None:
    if here.by == "srun":
        _translate(here)
    device = torch.device("cuda", here.local_rank) if gpu else None
    if device is not None:
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if gpu else "gloo", device_id=device)


def _translate(here: Launch) -> None:
    """Set torchrun's environment variables from SLURM's."""
    first = SLURMEnvironment.resolve_root_node_address(os.environ.get("SLURM_STEP_NODELIST", "127.0.0.1"))
    step = int(os.environ.get("SLURM_JOB_ID", 0)) + int(os.environ.get("SLURM_STEP_ID", 0))
    os.environ |= {"RANK": str(here.rank), "WORLD_SIZE": str(here.world), "LOCAL_RANK": str(here.local_rank)}
    os.environ.setdefault("MASTER_ADDR", first)
    os.environ.setdefault("MASTER_PORT", str(15000 + step % 15000))


def part() -> None:
    """Leave the process group, if there is one: only one process evaluates and reports."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
    _hosts.cache_clear()


@functools.cache
def _hosts() -> Any:
    """Return a group that communicates between CPUs, so that agreeing on a number does not wait for a GPU."""
    return distributed.new_group(backend="gloo", timeout=LONG)


def agreed(value: float) -> float:
    """Return the greatest `value` of all processes; all must call this at the same point of the run."""
    if not distributed.is_initialized():
        return value
    greatest = torch.tensor(value, dtype=torch.float64)
    distributed.all_reduce(greatest, op=distributed.ReduceOp.MAX, group=_hosts())
    return greatest.item()


def gathered(thing: T) -> list[T]:
    """Return every process's `thing`, by rank; all must call this at the same point of the run."""
    if not distributed.is_initialized():
        return [thing]
    things: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(things, thing, group=_hosts())
    return things


def shared(make: Callable[[], T]) -> T:
    """Return the result of the leader's `make` in every process that has joined."""
    if not distributed.is_initialized():
        return make()
    told: list[Any] = [make() if leader() else None]
    distributed.broadcast_object_list(told, src=0, group=_hosts())
    return told[0]


def in_turn(work: Callable[[], T]) -> T:
    """Run `work` in the leader, then in the first process of every other machine, then in the rest.

    So each finds what the earlier ones have prepared on disk.
    """
    if not distributed.is_initialized():
        return work()
    here = launch()
    turn = 0 if here.rank == 0 else 1 if here.local_rank == 0 else 2
    for now in range(3):
        if now == turn:
            result = work()
        distributed.barrier(group=_hosts())
    return result


def everywhere(error: ImagierError) -> ImagierError | SystemExit:
    """Return what to raise for an error common to all processes: the leader reports it, the others just exit."""
    return error if leader() else SystemExit(error.exit_code)


def lost(error: BaseException) -> bool:
    """Return whether `error` means that another process has ended."""
    return isinstance(error, distributed.DistError) or re.search(LOST, str(error)) is not None
