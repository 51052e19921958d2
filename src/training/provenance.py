"""What a checkpoint says about itself, so that every verb needs the checkpoint alone."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from imagier.version import __version__


class Provenance(Callback):
    """Writes configuration, facts and W&B id into every checkpoint.

    Args:
        config: the resolved configuration, plain.
        facts: of the data, plain (`Facts.to_dict`).
        wandb_id: id under which W&B knows the run.
        batch_size: samples a batch; a resumed run may have another than its checkpoint.
    """

    def __init__(self, config: dict[str, Any], facts: dict[str, Any], wandb_id: str, batch_size: int) -> None:
        self.config, self.facts, self.wandb_id, self.batch_size = config, facts, wandb_id, batch_size

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the key `imagier`."""
        checkpoint["imagier"] = {
            "version": __version__,
            "config": self.config,
            "facts": self.facts,
            "wandb_id": self.wandb_id,
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Where the batch size has changed in mid-epoch, count the epoch's batches anew.

        The loader goes on after the same samples (`Loader.load_state_dict`); Lightning counts batches.
        """
        if checkpoint["imagier"]["config"]["data"]["batch_size"] == self.batch_size:
            return
        loops = checkpoint["loops"]["fit_loop"]
        states = loops["state_dict"].get("combined_loader") or []
        if not states or _epoch_is_over(loops):
            return
        state = states[0]
        state["samples"] = min(state["samples"], max(0, state["size"] - self.batch_size))  # one batch at least is left
        left = (state["size"] - state["samples"]) // self.batch_size
        done = state["size"] // self.batch_size - left
        progress = loops["epoch_loop.batch_progress"]
        progress["current"] = {"ready": done, "started": done, "processed": done, "completed": done - 1}


def _epoch_is_over(loops: dict[str, Any]) -> bool:
    epochs = loops["epoch_progress"]["current"]
    return bool(epochs["processed"] == epochs["started"])
