"""Metadata of checkpoints, so that every command needs the checkpoint alone."""

import logging
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from imagier.version import __version__

log = logging.getLogger(__name__)


class Provenance(Callback):
    """Writes version, configuration, facts, W&B id and data fingerprint into every checkpoint.

    Args:
        config: resolved configuration, plain.
        facts: facts of the data, plain (`Facts.to_dict`).
        wandb_id: W&B's id of the run.
        batch_size: samples per batch; may differ from the checkpoint's in a resumed run.
        samples: training samples per epoch; may differ as well.
        fingerprint: fingerprint of the data.
    """

    def __init__(
        self,
        config: dict[str, Any],
        facts: dict[str, Any],
        wandb_id: str,
        *,
        batch_size: int,
        samples: int,
        fingerprint: str,
    ) -> None:
        self.config, self.facts, self.wandb_id = config, facts, wandb_id
        self.batch_size, self.samples, self.fingerprint = batch_size, samples, fingerprint

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the key `imagier`."""
        checkpoint["imagier"] = {
            "version": __version__,
            "config": self.config,
            "facts": self.facts,
            "wandb_id": self.wandb_id,
            "data_fingerprint": self.fingerprint,
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Warn about changed data; if they or the batch size changed in mid-epoch, recount the epoch's batches.

        The loader continues after the same number of samples (`Loader.load_state_dict`), but Lightning counts batches.
        """
        said = checkpoint["imagier"]
        if said["data_fingerprint"] != self.fingerprint:
            log.warning(
                "the data differ from those of the checkpoint: the run continues, but its result will not equal an "
                "uninterrupted one"
            )
        loops = checkpoint["loops"]["fit_loop"]
        states = loops["state_dict"].get("combined_loader") or []
        if not states or _epoch_is_over(loops):
            return
        state = states[0]
        if (said["config"]["data"]["batch_size"], state["size"]) == (self.batch_size, self.samples):
            return
        state["samples"] = min(state["samples"], max(0, self.samples - self.batch_size))  # leave at least one batch
        left = (self.samples - state["samples"]) // self.batch_size
        done = self.samples // self.batch_size - left
        progress = loops["epoch_loop.batch_progress"]
        progress["current"] = {"ready": done, "started": done, "processed": done, "completed": done - 1}


def _epoch_is_over(loops: dict[str, Any]) -> bool:
    epochs = loops["epoch_progress"]["current"]
    return bool(epochs["processed"] == epochs["started"])
