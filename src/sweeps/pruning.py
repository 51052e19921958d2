"""Ends trials that fall behind the others."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_lightning import Callback, LightningModule, Trainer

from imagier.sweeps.journal import STUDY, open_journal

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

log = logging.getLogger(__name__)


class Pruned(Exception):  # noqa: N818 - nothing went wrong
    """The trial is not worth continuing; holds its last score, and the number of epochs trained."""

    def __init__(self, score: float, epochs: int) -> None:
        super().__init__(f"after epoch {epochs}")
        self.score, self.epochs = score, epochs


class GivenUp(Exception):  # noqa: N818 - nothing went wrong here
    """The sweep was killed, and a later session continues without this trial."""


class Pruning(Callback):
    """Reports the monitored score of every epoch to a study, and ends an unpromising run before the next epoch.

    By then the epoch is logged, and its checkpoint is written if it is the best or quick to write.

    Args:
        journal: file of the study.
        number: trial number from 0, as in Optuna.
        pruner: decides which runs to end.
        monitor: name of the score.
    """

    def __init__(self, journal: str, number: int, pruner: "BasePruner", monitor: str) -> None:
        storage = open_journal(Path(journal))  # says so if Optuna is not installed
        import optuna

        study = optuna.load_study(
            study_name=STUDY, storage=storage, sampler=optuna.samplers.RandomSampler(), pruner=pruner
        )
        self.trial = optuna.Trial(study, storage.get_trial_id_from_study_id_trial_number(study._study_id, number))
        self.monitor = monitor
        self._last: Pruned | None = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the score; of several validations in an epoch, the last one counts."""
        if not trainer.sanity_checking and self.monitor in trainer.callback_metrics:
            self._last = Pruned(float(trainer.callback_metrics[self.monitor]), trainer.current_epoch + 1)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the score, if the epoch has one. Raises GivenUp if a later session has settled the trial."""
        import optuna

        if self._last is None or self._last.epochs <= trainer.current_epoch:
            return
        try:
            self.trial.report(self._last.score, step=self._last.epochs)
        except optuna.exceptions.UpdateFinishedTrialError as error:
            raise GivenUp("the sweep has continued without this trial") from error

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise Pruned if the pruner says so."""
        last = self._last
        if last is not None and last.epochs == trainer.current_epoch and self.trial.should_prune():
            log.info("pruned after epoch %d: %s %.4g is behind the other trials", last.epochs, self.monitor, last.score)
            raise last
