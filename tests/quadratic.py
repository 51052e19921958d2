"""A sweep whose runs take no time: the score is a function of the settings. `python quadratic.py KILL_AT WORDS...`"""

import math
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig, OmegaConf


def quadratic(
    runs: Path, kill_at: int | None = None, wrong: str = "", trap: Path | None = None, seconds: float = 0
) -> Callable[[DictConfig], float]:
    """Return a run that scores best with optimizer.lr=3e-3 and scheduler=one_cycle.

    Args:
        runs: folder for the run folders.
        kill_at: number of the run, counted from 1, that kills its process.
        wrong: runs raise TrainingError if their scheduler's configuration contains this text.
        trap: the first run that finds this file removes it and kills its process.
        seconds: duration of each run.
    """
    called = []

    def run(cfg: DictConfig) -> float:
        from imagier.errors import TrainingError

        called.append(cfg)
        folder = runs / f"{os.getpid()}-{len(list(runs.glob(f'{os.getpid()}-*'))) + 1}"
        folder.mkdir(parents=True)
        OmegaConf.save(cfg, folder / "config.yaml")
        (folder / "metrics.csv").write_text("epoch,step,time,val/accuracy\n0,1,1,0.5\n1,2,2,0.6\n")
        os.environ["IMAGIER_RUN_FOLDER"] = str(folder)
        time.sleep(seconds)
        if trap is not None and trap.exists():
            trap.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if len(called) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if wrong and wrong in str(OmegaConf.to_container(cfg.scheduler)):
            raise TrainingError(f"{wrong} does not do here.")
        better = 0.05 if "OneCycle" in cfg.scheduler._target_ else 0.0
        return 0.9 + better - 0.1 * (math.log10(cfg.optimizer.lr / 3e-3)) ** 2

    return run


if __name__ == "__main__":
    from imagier.sweeps.sweep import sweep

    sweep(sys.argv[2:], quadratic(Path("runs"), kill_at=int(sys.argv[1]) or None))
