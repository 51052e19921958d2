"""A source of a sweep's trials: Optuna, which proposes values based on the results of earlier trials."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from imagier.errors import ConfigError
from imagier.nodes import call
from imagier.randomness import derive_seed
from imagier.sweeps.journal import STUDY, open_journal, optional
from imagier.sweeps.record import ENDED, Record, read_records
from imagier.sweeps.words import Dimension, Values, word

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


class Search:
    """A study on disk, which continues where an earlier session ended, even if that was killed.

    Trials that ended in an earlier session count, and those that were running are proposed again. Proposals depend only
    on the seed and the trials that have ended, so a sweep whose trials run one after another proposes the same values
    with and without interruptions.

    Args:
        cfg: a trial's configuration, with the settings of the sweep in `sweep`.
        folder: folder of the sweep.
        fixed: words that all trials share.
        dimensions: keys that vary.
        start: values of the first trial, used if the dimensions contain them all.
        mode: max or min, the better direction of the score.

    Raises:
        ConfigError: the folder holds a study of other words, nothing varies, a range cannot be searched, or Optuna is
            not installed.
    """

    def __init__(
        self,
        cfg: DictConfig,
        folder: Path,
        fixed: Sequence[str],
        dimensions: Sequence[Dimension],
        start: Values,
        mode: str,
    ) -> None:
        if not dimensions:
            raise ConfigError(
                "nothing to search: every key is fixed by the command line; remove one, or add key=interval(1e-4,1e-2)."
            )
        with optional("sweep=optuna"):
            import optuna
        self._settings, self._seed, self._folder = cfg.sweep, cfg.seed, folder
        self._distributions = {dimension.key: _distribution(dimension) for dimension in dimensions}
        self._sampler(0)  # checks it, like the pruner, before anything is written
        call(self._settings.pruner, "sweep.pruner", {})
        path = folder / "study.journal"
        storage = open_journal(path)
        self._state = optuna.trial.TrialState
        self._study = optuna.create_study(
            study_name=STUDY,
            storage=storage,
            direction="maximize" if mode == "max" else "minimize",
            load_if_exists=True,
        )
        self._records = read_records(folder)
        self.total: int = self._settings.trials
        self.pruning: dict[str, Any] | None = {
            "_target_": "imagier.sweeps.pruning.Pruning",
            "journal": str(path),
            "pruner": OmegaConf.to_container(self._settings.pruner, resolve=True),
        }
        self._same_sweep(sorted([*fixed, *(dimension.line for dimension in dimensions)]))
        self._take_up()
        if not self._study.get_trials(deepcopy=False) and all(one.holds(start.get(one.key)) for one in dimensions):
            self._study.enqueue_trial({one.key: one.number(start[one.key]) for one in dimensions})

    def ask(self, count: int) -> list[Record]:
        """Propose trials, at most `count`."""
        asked: list[Record] = []
        ended = sum(record.state in ENDED for record in self._records.values())
        for index in range(ended, min(ended + count, self.total)):
            self._study.sampler = self._sampler(index)
            trial = self._study.ask(self._distributions)
            values = {key: word(trial.params[key]) for key in self._distributions}
            asked.append(Record(trial.number + 1, values))
        return asked

    def _sampler(self, index: int) -> Any:
        seed = derive_seed("sweep", self._seed, index) % 2**32
        return call(self._settings.sampler, "sweep.sampler", {"seed": seed})

    def tell(self, record: Record) -> None:
        """Record a trial that has ended."""
        self._records[record.number] = record
        if record.state == "done":
            self._study.tell(record.number - 1, record.score)
        elif record.state in ENDED:
            state = self._state.PRUNED if record.state == "pruned" else self._state.FAIL
            self._study.tell(record.number - 1, state=state)

    def _same_sweep(self, words: list[str]) -> None:
        known = self._study.user_attrs.get("words", words)
        if known != words and self._study.get_trials(deepcopy=False):
            gone, new = (" ".join(sorted(set(one) - set(other))) for one, other in ((known, words), (words, known)))
            raise ConfigError(
                f"{self._folder} contains a sweep with other settings ({gone or 'none'} instead of {new or 'none'}), "
                "whose trials cannot be compared with these; name this one with sweep.name=..."
            )
        self._study.set_user_attr("words", words)

    def _take_up(self) -> None:
        """Settle the trials that were running when the last session ended."""
        for trial in self._study.get_trials(states=[self._state.RUNNING]):
            record = self._records.get(trial.number + 1)
            if record is not None and record.state in ENDED:
                self.tell(record)
                continue
            self._study.enqueue_trial(trial.params)
            self._study.tell(trial.number, state=self._state.FAIL)
            if record is not None:
                record.state, record.note = "stopped", "the sweep was stopped while it ran; its values are tried again"
                record.write(self._folder)


def _distribution(dimension: Dimension) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not dimension.ordered:
        return CategoricalDistribution(dimension.values)
    kind = IntDistribution if dimension.whole else FloatDistribution
    first, last = dimension.number(dimension.values[0]), dimension.number(dimension.values[-1])
    settings: dict[str, Any] = {"log": True} if dimension.log else {}
    if not dimension.interval and len(dimension.values) > 1 and not dimension.log:
        # Not of floats: 0.4 - 0.3 is more than 0.1, and the last value would be out of reach.
        settings["step"] = dimension.number(str(Decimal(dimension.values[1]) - Decimal(dimension.values[0])))
    try:
        return kind(first, last, **settings)
    except ValueError as error:
        raise ConfigError(f"{dimension.key} cannot be searched: {error}") from error
