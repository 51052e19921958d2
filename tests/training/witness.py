"""A callback for tests with which every process records its samples, learning rate and loss, step by step."""

import json
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class Witness(Callback):
    """Appends a line per batch to INTO/RANK.jsonl: epoch, step, sample ids, learning rate, loss over all processes."""

    def __init__(self, into: str) -> None:
        self.folder = Path(into)
        self.folder.mkdir(exist_ok=True)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        line = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "ids": batch["id"],
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "loss": float(trainer.callback_metrics["train/step_loss"]),
        }
        with (self.folder / f"{trainer.global_rank}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")


def lines(folder: Path, rank: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{rank}.jsonl").read_text().splitlines()]
