"""Who started this process: alone, or as one of several, by torchrun, by SLURM's srun or by the run's first process.

Known from the environment alone, before torch is imported.
"""

import os
import time
from dataclasses import dataclass

_BEGAN = [time.monotonic()]  # of the process, whose first imports this module is among, until its first run takes it
RUN_FOLDER = "IMAGIER_RUN_FOLDER"  # environment variable by which the first process tells those it starts the folder
PATIENCE = 5.0  # seconds


@dataclass(frozen=True)
class Launch:
    """This process's place among those of its run.

    Args:
        by: "torchrun", "srun", "imagier" (started by the run's first process), or "" when it is alone so far.
        rank: of this process in the whole run; 0 is the leader, which alone speaks and writes.
        world: processes of the whole run.
        local_rank: of this process on its machine.
        local_world: processes of the run on each machine.
    """

    by: str = ""
    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    @property
    def nodes(self) -> int:
        """Machines of the run."""
        return max(1, self.world // self.local_world)


def launch() -> Launch:
    """Read this process's place from what its launcher has put into the environment."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return Launch("torchrun", *map(_number, ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")))
    # Of the job step: a shell in an allocation has SLURM_NTASKS as well, but only one process.
    world = _number("SLURM_STEP_NUM_TASKS", 1)
    if world > 1:
        nodes = _number("SLURM_STEP_NUM_NODES", 1)
        return Launch("srun", _number("SLURM_PROCID"), world, _number("SLURM_LOCALID"), world // nodes)
    if RUN_FOLDER in os.environ and "LOCAL_RANK" in os.environ:
        rank, world = _number("LOCAL_RANK"), _number("WORLD_SIZE", 1)
        return Launch("imagier", rank, world, rank, world)
    return Launch()


def leader() -> bool:
    """Whether this process is the one that speaks and writes: the first of its run, or the only one."""
    return launch().rank == 0


def speaker() -> str:
    """Who speaks, to begin an error with: `imagier`, and in another process than the leader, which one.

    What is wrong with a sentence is wrong in every process. So the others first give the leader time to say it, upon
    which their launcher ends them; who is still there after that has met something of its own.
    """
    here = launch()
    if here.rank == 0:
        return "imagier"
    time.sleep(PATIENCE)
    return f"imagier, process {here.rank} of {here.world} (counted from 0)"


def waiting_since() -> float:
    """The moment, as `time.monotonic` counts, from which a run that begins now is being waited for.

    That is the start of the process, and for a later run in it, as sweeps have them, this moment.
    """
    return _BEGAN.pop() if _BEGAN else time.monotonic()


def _number(name: str, default: int = 0) -> int:
    return int(os.environ.get(name, default))
