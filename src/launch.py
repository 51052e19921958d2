"""How this process was started: alone, or as one of several by torchrun, SLURM's srun or the run's first process.

Read from the environment alone, before torch is imported.
"""

import os
import time
from dataclasses import dataclass

_BEGAN = [time.monotonic()]  # about the start of the process, as this module is imported early; the first run takes it
RUN_FOLDER = "IMAGIER_RUN_FOLDER"  # environment variable that passes the run folder to processes started by the first
PATIENCE = 5.0  # seconds that other processes wait for the leader to report an error


@dataclass(frozen=True)
class Launch:
    """This process's rank among the processes of its run.

    Args:
        by: "torchrun", "srun", "imagier" (started by the run's first process), or "" if no launcher is involved so far.
        rank: global rank; 0 is the leader, the only process that prints and writes.
        world: number of processes in the run.
        local_rank: rank on this machine.
        local_world: number of the run's processes on each machine.
    """

    by: str = ""
    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    @property
    def nodes(self) -> int:
        """Number of machines in the run."""
        return max(1, self.world // self.local_world)


def launch() -> Launch:
    """Read this process's rank from the environment variables of its launcher."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return Launch("torchrun", *map(_number, ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")))
    # Use the job step's variables: a shell in an allocation has SLURM_NTASKS as well, but only one process.
    world = _number("SLURM_STEP_NUM_TASKS", 1)
    if world > 1:
        nodes = _number("SLURM_STEP_NUM_NODES", 1)
        return Launch("srun", _number("SLURM_PROCID"), world, _number("SLURM_LOCALID"), world // nodes)
    if RUN_FOLDER in os.environ and "LOCAL_RANK" in os.environ:
        rank, world = _number("LOCAL_RANK"), _number("WORLD_SIZE", 1)
        return Launch("imagier", rank, world, rank, world)
    return Launch()


def leader() -> bool:
    """Whether this process is the one that prints and writes: rank 0 of its run, or the only process."""
    return launch().rank == 0


def speaker() -> str:
    """Return the prefix for an error message: `imagier`, and the rank if this process is not the leader.

    A mistake on the command line fails in every process. The others therefore wait PATIENCE seconds for the leader to
    report it, after which their launcher ends them; a process that survives the wait has an error of its own.
    """
    here = launch()
    if here.rank == 0:
        return "imagier"
    time.sleep(PATIENCE)
    return f"imagier, process {here.rank} of {here.world} (counted from 0)"


def waiting_since() -> float:
    """Return the `time.monotonic` time since when the user has been waiting for a run that starts now.

    The first call returns the start of the process; later calls, as in sweeps, return the current time.
    """
    return _BEGAN.pop() if _BEGAN else time.monotonic()


def _number(name: str, default: int = 0) -> int:
    return int(os.environ.get(name, default))
