"""Runs a sweep, from the words of `python train.py -m ...` to its table. Read `Sweep.run` from top to bottom.

Hydra parses and composes the words, and its launchers start the trials: in this process, by joblib or by submitit.
"""

import contextlib
import fcntl
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from imagier.configuration import check
from imagier.errors import ConfigError, ImagierError
from imagier.keys import spoken_as
from imagier.launch import launch
from imagier.offered import CONF
from imagier.signals import answered_by
from imagier.sweeps.grid import Grid, Source
from imagier.sweeps.record import ENDED, Record, read_records, subject_of
from imagier.sweeps.results import show_results, write_results
from imagier.sweeps.trial import TrialJob, let_begin, tell_to_stop, told_to_stop
from imagier.sweeps.words import (
    UnsoundWordsError,
    Values,
    combinations,
    extremes,
    first_values,
    read_words,
    typed,
    word,
)
from imagier.training.run_folder import new_folder


class Stopped(ImagierError):  # noqa: N818 - nothing went wrong
    """The sweep was asked to stop."""

    def __init__(self, folder: Path, exit_code: int, resumes: bool) -> None:
        cure = (
            "Repeat the same command to continue." if resumes else "A grid starts again when the command is repeated."
        )
        super().__init__(f"the sweep was stopped; its table so far is in {folder}. {cure}")
        self.exit_code = exit_code


def sweep(words: Sequence[str], job: Callable[[DictConfig], float]) -> list[Record]:
    """Run one command line many times, over a grid of values or guided by Optuna.

    Every combination of a grid, or every value of a search, is composed and checked before anything is trained. A trial
    that fails is recorded, and the sweep continues.

    Args:
        words: words of the command line, without `-m`.
        job: trains one configuration and returns its score.

    Returns:
        The trials, as `ranked`.

    Raises:
        UnsoundWordsError: Hydra cannot compose the words.
        ImagierError: the words do not fit together, the sweep was stopped, or no trial finished with a score.
    """
    if launch().world > 1:
        raise ConfigError("start a sweep once, not with torchrun or srun; launcher=... runs several trials at once.")
    with initialize_config_dir(str(CONF), job_name="imagier", version_base="1.3"):
        return Sweep(list(words), job).run()


class Sweep:
    """See `sweep`."""

    def __init__(self, words: list[str], job: Callable[[DictConfig], float]) -> None:
        self.job = job
        self.loader = GlobalHydra.instance().config_loader()
        if told := [word for word in words if word.lstrip("+").startswith("hydra.sweeper")]:
            raise ConfigError(f"{told[0]} is not supported: give a sweep its values as in -m optimizer.lr=1e-3,3e-3.")
        first = first_values(words, self.loader)
        try:
            self.cfg = compose("train", first, return_hydra_config=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise UnsoundWordsError(first, error) from error
        if self.cfg.resume is not None:
            raise ConfigError(
                f"resume={self.cfg.resume} continues a single run, but a sweep trains many runs; remove -m, or "
                "initialise the trials with model.weights=RUN."
            )
        self.settings = self.cfg.get("sweep")
        space = dict(OmegaConf.select(self.cfg, "hydra.sweeper.params") or {})  # as an experiment file may define them
        space |= self.settings.space if self.settings else {}
        self.fixed, self.dimensions = read_words(words, space, self.loader)
        for key in {"task", "experiment"} & {dimension.key for dimension in self.dimensions if self.settings}:
            raise ConfigError(f"sweep=optuna optimises a single score, so {key} cannot vary; give one {key}.")
        if self.settings and not any(word.startswith("test=") for word in self.fixed):
            self.fixed.append("test=false")  # the test split must not guide the choice

    def run(self) -> list[Record]:
        """Run the sweep."""
        self._check((extremes if self.settings else combinations)(self.dimensions))
        folder = Path(self.settings.folder) if self.settings else new_folder(Path(self.cfg.paths.runs), "sweeps")
        with _alone(folder):
            let_begin(folder)
            source = self._search(folder) if self.settings else Grid(self.dimensions)
            ended = _ended(folder)
            print(f"sweep folder: {folder}; {source.total} trials{f', {ended} of them finished' if ended else ''}")
            try:
                while batch := source.ask(self._at_once(source.total)):
                    if code := self._try(batch, source, folder):
                        raise Stopped(folder, code, resumes=bool(self.settings))
            except KeyboardInterrupt as error:  # between two trials, or before one trains
                write_results(folder, self.dimensions)
                raise Stopped(folder, 130, resumes=bool(self.settings)) from error
            return show_results(folder, self.fixed, self.dimensions)

    def _try(self, batch: Sequence[Record], source: Source, folder: Path) -> int:
        job = TrialJob(self.job, folder.absolute(), tuple(batch), _ended(folder), source.total, source.pruning)
        code = self._launch(job)
        records = read_records(folder)
        for asked in batch:
            if asked.number in records:  # else the sweep was stopped before it began
                source.tell(records[asked.number])
        write_results(folder, self.dimensions)
        return code

    def _check(self, each: Iterable[Values]) -> None:
        """Compose and check a trial for each of these values, and the settings of the sweep."""
        check(_without_hydra(self.cfg))
        subjects: dict[str, Values] = {}
        for values in each:
            cfg = self._composed([*self.fixed, *typed(values)])
            with spoken_as(cfg):
                check(_without_hydra(cfg))
            devices = cfg.trainer.devices
            if devices not in (1, "1") and not (OmegaConf.is_list(devices) and len(devices) == 1):
                raise ConfigError(
                    f"trainer.devices={devices}: each trial of a sweep uses one device; use trainer=auto, and "
                    "launcher=joblib or launcher=submitit_slurm for several trials at once."
                )
            if self.settings:
                self._refuse_other_subject(cfg, values, subjects)

    def _refuse_other_subject(self, cfg: DictConfig, values: Values, subjects: dict[str, Values]) -> None:
        """A search compares all trials: raise ConfigError if a key, or a group's choice, changes what is measured."""
        from imagier.build import refuse_unfinished  # imports torch
        from imagier.nodes import target_of

        task = target_of(cfg.task, "task")
        refuse_unfinished(task)
        subject = subject_of(OmegaConf.to_container(_without_hydra(cfg), resolve=True), task.monitor)
        first = next(iter(subjects.values()), values)
        if subjects.setdefault(subject, values) is not first:
            key = next(key for key in values if values[key] != first[key])
            raise ConfigError(
                f"{key} varies and changes what {task.monitor} measures, so sweep=optuna cannot compare the trials. "
                "Fix that key, or try its values as a grid with -m."
            )

    def _composed(self, words: list[str]) -> DictConfig:
        try:
            return self.loader.load_sweep_config(self.cfg, words)
        except (HydraException, OmegaConfBaseException) as error:
            raise UnsoundWordsError(words, error) from error

    def _search(self, folder: Path) -> Source:
        from imagier.nodes import target_of
        from imagier.sweeps.search import Search

        cfg = self._composed(self.fixed)
        choices = cfg.hydra.runtime.choices
        keys = [dimension.key for dimension in self.dimensions]
        start = {key: word(choices.get(key, OmegaConf.select(cfg, key.lstrip("+")))) for key in keys}
        task = target_of(cfg.task, "task")
        return Search(self.cfg, folder, self.fixed, self.dimensions, start, task.mode)

    def _at_once(self, total: int) -> int:
        """Return the number of trials to give to the launcher together."""
        at_once = self._wanted()
        if self.settings:
            return min(at_once, self.settings.at_once)
        return total if at_once > 1 else 1  # a parallel launcher takes the whole grid

    def _wanted(self) -> int:
        settings = self.cfg.hydra.launcher
        wanted: int = settings.get("n_jobs") or settings.get("array_parallelism") or 1
        return wanted if wanted > 0 else os.cpu_count() or 1

    def _launch(self, job: TrialJob) -> int:
        """Run a batch of trials; return the exit code of one that was told to stop, else 0.

        If a process is killed, joblib ends the others too, and trials that had not begun are launched again. Jobs on a
        cluster are independent: one that is killed or preempted ends neither the others nor the sweep.

        Raises:
            ConfigError: the launcher cannot start a trial.
        """
        with open_dict(self.cfg):
            self.cfg.hydra.sweep.dir = str(job.folder)  # submitit keeps its logs there
        context = HydraContext(config_loader=self.loader, callbacks=Callbacks(self.cfg))
        launcher = Plugins.instance().instantiate_launcher(context, job, self.cfg)
        words = [[*self.fixed, *typed(record.values)] for record in job.batch]
        here, away = type(launcher).__name__ == "JoblibLauncher", hasattr(launcher, "_EXECUTOR")  # joblib's; submitit's
        jobs: list[Any] = []
        if here:  # an idle process would end at a signal, and joblib all others with it
            launcher.joblib["n_jobs"] = min(self._wanted(), len(job.batch))  # type: ignore[attr-defined]
        try:
            with _handing_on(job.folder) if here else _kept(jobs) if away else contextlib.nullcontext():
                codes = [returned.return_value for returned in launcher.launch(words, initial_job_idx=0)]
            return told_to_stop(job.folder) if away else max(codes)
        except Exception as error:  # joblib and submitit raise their own types for a dead worker
            for other in jobs:  # submitit raises for the first dead job while others wait or train
                other.wait()
            begun, code = read_records(job.folder), told_to_stop(job.folder)
            if not code and not any(record.number in begun for record in job.batch):
                raise ConfigError(f"{type(launcher).__name__} cannot start a trial: {error}") from error
            left = tuple(record for record in job.batch if here and record.number not in begun)
            for record in [begun.get(record.number, record) for record in job.batch if record not in left]:
                if record.state == "running":
                    record.state = "stopped" if code else "failed"
                    record.note = f"its process ended: {' '.join(str(error).split())}"
                    record.write(job.folder)
            if code:
                return code
            return self._launch(replace(job, batch=left, ended=_ended(job.folder))) if left else 0


def _ended(folder: Path) -> int:
    return sum(record.state in ENDED for record in read_records(folder).values())


def _without_hydra(cfg: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])


def _handing_on(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Forward a stop signal to the worker processes while the block runs: each saves, and none begins another trial."""

    def hand_on(number: int, frame: FrameType | None) -> None:
        tell_to_stop(folder, number)
        for worker in multiprocessing.active_children():
            worker.terminate()  # SIGTERM; with a signal from the terminal, they take both as one

    return answered_by(hand_on)


@contextlib.contextmanager
def _kept(jobs: list[Any]) -> Iterator[None]:
    """Collect the jobs that submitit starts while the block runs, since Hydra's launcher does not expose them."""
    from submitit import AutoExecutor

    begin = AutoExecutor.map_array

    def begin_and_keep(executor: Any, *given: Any) -> list[Any]:
        jobs.extend(begin(executor, *given))
        return jobs

    AutoExecutor.map_array = begin_and_keep  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        AutoExecutor.map_array = begin  # type: ignore[method-assign]


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lock a sweep for one process at a time. The lock ends with the process, however that ends.

    Raises:
        ConfigError: another process holds the lock, or the folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"sweep.folder={folder} cannot be created ({error}); name another folder.") from error
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise ConfigError(
                f"{folder} is in use by another process running this sweep; wait for it, or name this one with "
                "sweep.name=..."
            ) from error
        yield
