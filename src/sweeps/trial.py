"""One trial: an ordinary run whose outcome is recorded; in this process, another, or on another machine."""

import gc
import math
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from imagier.errors import ImagierError
from imagier.files import write_text
from imagier.launch import RUN_FOLDER
from imagier.sweeps.record import Record, subject_of
from imagier.sweeps.words import typed

_STOPPED = ".stopped"  # marker file in a sweep's folder


@dataclass(frozen=True)
class TrialJob:
    """What a launcher calls with the configuration of each trial of a batch.

    Args:
        job: trains one configuration and returns its score.
        folder: folder of the sweep.
        batch: the trials, in the launcher's order.
        ended: number of trials that ended before this batch.
        total: number of trials of the sweep.
        pruning: settings of the callback that ends unpromising trials, or None.
    """

    job: Callable[[DictConfig], float]
    folder: Path
    batch: tuple[Record, ...]
    ended: int
    total: int
    pruning: dict[str, Any] | None = None

    def __call__(self, cfg: DictConfig) -> int:
        """Run a trial, unless the sweep is stopping; return 0, or the exit code of a run that was told to stop."""
        if multiprocessing.parent_process() is not None:  # only the sweep's process may end an idle worker
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
        if code := told_to_stop(self.folder):
            return code
        record = self.batch[HydraConfig.get().job.num]
        place = self.ended + 1 + HydraConfig.get().job.num
        print(f"\ntrial {record.number} ({place} of {self.total}): {' '.join(typed(record.values))}", flush=True)
        record.write(self.folder)
        if self.pruning is not None:
            with open_dict(cfg):
                cfg.callbacks.pruning = self.pruning | {"number": record.number - 1}
        began = time.monotonic()
        code = self._run(cfg, record)
        record.seconds = round(time.monotonic() - began, 1)
        if record.state != "given up":
            record.write(self.folder)
        if record.note:
            print(f"trial {record.number} {record.state}: {record.note}", flush=True)
        return code

    def _run(self, cfg: DictConfig, record: Record) -> int:
        from imagier.nodes import target_of
        from imagier.sweeps.pruning import GivenUp, Pruned
        from imagier.training.checkpoints import Ended, Interrupted, Signalled, signals_raised

        os.environ.pop(RUN_FOLDER, None)
        code = 0
        try:
            task = target_of(cfg.task, "task")
            record.monitor, record.mode = task.monitor, task.mode
            record.subject = subject_of(OmegaConf.to_container(cfg, resolve=True), task.monitor)
            with signals_raised():
                _heed(self.folder)
                _settle(record, self.job(cfg))
        except Pruned as pruned:
            record.state, record.score, record.note = "pruned", pruned.score, str(pruned)
        except GivenUp as error:
            record.state, record.note = "given up", str(error)
        except (Interrupted, Ended, Signalled) as error:
            record.state, record.note, code = "stopped", str(error), error.exit_code
        except ImagierError as error:
            record.state, record.note = "failed", str(error)
        except Exception as error:  # a bug, or a network too large for the machine: other trials may succeed
            traceback.print_exc()
            record.state, record.note = "failed", f"{type(error).__name__}: {error}"
        record.run = os.environ.get(RUN_FOLDER)
        record.epochs = _epochs(record)
        _tidy()
        return code


def tell_to_stop(folder: Path, number: int) -> None:
    """Record that signal `number` stopped the sweep, so that no other trial begins."""
    write_text(folder / _STOPPED, str(128 + number))


def told_to_stop(folder: Path) -> int:
    """Return the exit code of a sweep that was told to stop, else 0."""
    mark = folder / _STOPPED
    return int(mark.read_text(encoding="utf-8")) if mark.exists() else 0


def _heed(folder: Path) -> None:
    """Raise Signalled for a signal that came while torch and Lightning were imported, which takes seconds."""
    from imagier.training.checkpoints import Signalled

    if code := told_to_stop(folder):
        raise Signalled(code - 128)


def let_begin(folder: Path) -> None:
    """Let trials begin, even if an earlier session was told to stop."""
    (folder / _STOPPED).unlink(missing_ok=True)


def _settle(record: Record, score: float) -> None:
    if math.isfinite(score):
        record.state, record.score = "done", score
    else:
        record.state, record.note = "failed", f"its score is {score}, which cannot be compared"


def _epochs(record: Record) -> int:
    """Return the number of epochs until the last validation score, from the run's metrics.csv."""
    from imagier.training.metrics_csv import read_rows

    rows = read_rows(Path(record.run) / "metrics.csv") if record.run else []
    return max((int(row["epoch"]) + 1 for row in rows if record.monitor in row), default=0)


def _tidy() -> None:
    """Close the W&B run and free the memory of a trial that ended early, before the next one in this process."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and getattr(wandb, "run", None) is not None:
        wandb.run.finish(exit_code=1)
    gc.collect()
    torch = sys.modules["torch"]
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
