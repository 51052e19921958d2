"""Ending a trial that the others have left behind."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_lightning import Callback, LightningModule, Trainer

from imagier.sweeps.journal import STUDY, open_journal

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

log = logging.getLogger(__name__)


class Pruned(Exception):  # noqa: N818 - nothing went wrong
    """The trial is not worth going on with: its last score, and after how many epochs."""

    def __init__(self, score: float, epochs: int) -> None:
        super().__init__(f"after epoch {epochs}")
        self.score, self.epochs = score, epochs


class GivenUp(Exception):  # noqa: N818 - nothing went wrong here
    """The sweep was killed and has gone on without this trial."""


class Pruning(Callback):
    """Tells a study the monitored score of every epoch, and ends the run before the next one where it is hopeless.

    By then the epoch is logged, and its checkpoint is written where it is the best or quickly written.

    Args:
        journal: file of the study.
        number: of the trial, from 0, as optuna counts.
        pruner: the judge.
        monitor: name of the score.
    """

    def __init__(self, journal: str, number: int, pruner: "BasePruner", monitor: str) -> None:
        import optuna

        storage = open_journal(Path(journal))
        study = optuna.load_study(
            study_name=STUDY, storage=storage, sampler=optuna.samplers.RandomSampler(), pruner=pruner
        )
        self.trial = optuna.Trial(study, storage.get_trial_id_from_study_id_trial_number(study._study_id, number))
        self.monitor = monitor
        self._last: Pruned | None = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the score; of several validations in an epoch the last one counts."""
        if not trainer.sanity_checking and self.monitor in trainer.callback_metrics:
            self._last = Pruned(float(trainer.callback_metrics[self.monitor]), trainer.current_epoch + 1)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the score, where the epoch had one."""
        import optuna

        if self._last is None or self._last.epochs <= trainer.current_epoch:
            return
        try:
            self.trial.report(self._last.score, step=self._last.epochs)
        except optuna.exceptions.UpdateFinishedTrialError as error:
            raise GivenUp("the sweep has continued without this trial") from error

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the run where the pruner says so."""
        last = self._last
        if last is not None and last.epochs == trainer.current_epoch and self.trial.should_prune():
            log.info("pruned after epoch %d: %s %.4g is behind the other trials", last.epochs, self.monitor, last.score)
            raise last
