"""Supervision of a run's processes: when one ends, the others end too, with a message instead of hanging."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from pytorch_lightning import Callback, LightningModule, Trainer

from imagier.errors import TrainingError
from imagier.launch import launch
from imagier.training.processes import lost

GRACE = 3.0  # seconds for the main thread to notice by itself
LAUNCHER = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # set by Lightning's launcher


@contextmanager
def watched(trainer: Trainer, run_dir: Path) -> Iterator[None]:
    """Within the block, end this process with a message when another process of the run has ended."""
    before = set(os.environ)
    everything: Any = trainer
    companions = Companions(everything.strategy.launcher, run_dir)
    everything.callbacks.insert(0, companions)
    threading.Thread(target=companions.look, name="companions", daemon=True).start()
    fine = False
    try:
        yield
        fine = True
    finally:
        companions.part(wait=0 if fine else 10)
        for key in LAUNCHER:  # would affect this process's next run
            if key not in before:
                os.environ.pop(key, None)


class Companions(Callback):
    """Watches the processes that this one has started, and the one that has started it.

    A broken connection raises an error in the main thread (gloo), or goes unnoticed (a GPU waits for another one
    forever). So a thread watches as well.

    Args:
        launcher: Lightning's launcher, which may start processes.
        run_dir: run folder, where the last checkpoint is.
    """

    def __init__(self, launcher: Any, run_dir: Path) -> None:
        self.launcher, self.run_dir = launcher, run_dir
        self.children: list[subprocess.Popen[bytes]] = []
        self.parent = os.getppid() if launch().by in ("torchrun", "imagier") else None
        self._over, self._speaking = threading.Event(), threading.Lock()

    def look(self) -> None:
        """Watch until `part` is called; to be run in its own thread."""
        while not self._over.wait(0.2):
            self._adopt()
            if (what := self._ended()) and not self._over.wait(GRACE):
                self._exit(what)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Report a lost process at once: the launcher is about to end this one as well."""
        self._adopt()
        if not lost(exception) or not (self.children or launch().world > 1):
            return  # with one process, a broken pipe means that stdout was closed
        what = self._ended()
        for _ in range(20 if self.children or launch().by == "imagier" else 0):
            if what or self._over.wait(0.1):  # a connection breaks a moment before its process ends
                break
            what = self._ended()
        self._exit(what or f"another process of this run has ended ({' '.join(str(exception).split())})")

    def part(self, wait: float) -> None:
        """Stop watching. If `wait` is positive, kill each child that does not end within so many seconds."""
        self._adopt()
        self._over.set()
        if wait:
            self._end_children(wait)

    def _adopt(self) -> None:
        """Take the children over from Lightning, whose own observer would end this process without a message."""
        started = getattr(self.launcher, "procs", [])
        if started and len(started) == self.launcher.num_processes - 1:
            self.children = list(started)
            started.clear()

    def _ended(self) -> str | None:
        if self.parent is not None and os.getppid() != self.parent:
            return "the process that started this one has ended"
        for rank, child in enumerate(self.children, start=1):
            if code := child.poll():
                how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
                return f"process {rank} of {len(self.children) + 1}, counted from 0, {how}"
        return None

    def _exit(self, what: str) -> NoReturn:
        self._speaking.acquire()  # never released: one thread reports
        here = launch()
        orphan = self.parent is not None and os.getppid() != self.parent
        if here.rank == 0 or orphan:  # otherwise the leader reports it
            kept = (self.run_dir / "checkpoints" / "last.ckpt").exists()
            cure = f"continue from its last checkpoint with resume={self.run_dir}" if kept else "start it again"
            print(f"imagier: {what}, so the run ends; {cure}.", file=sys.stderr, flush=True)
        self._end_children(0)
        os._exit(TrainingError.exit_code)  # the main thread may be waiting forever

    def _end_children(self, seconds: float) -> None:
        for child in self.children:
            try:
                child.wait(seconds)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
