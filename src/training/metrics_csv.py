"""metrics.csv: one row a moment of logging, one column a metric; the report is drawn from it."""

import csv
import io
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from imagier.files import write_text

FIRST_COLUMNS = ("epoch", "step", "time")


class MetricsCsv(Logger):
    """Writes metrics.csv with the columns epoch, step, time (seconds of training) and every metric's name.

    A resumed run keeps the rows of the steps before its checkpoint and drops those after it, which it will log again.

    Args:
        path: of the file.
        resumed_step: optimiser steps of the checkpoint that a resumed run continues, or None for a new run.
    """

    def __init__(self, path: Path, resumed_step: int | None = None) -> None:
        super().__init__()
        self.path = path
        self.rows = (
            [] if resumed_step is None else [_counted(row) for row in read_rows(path) if _stays(row, resumed_step)]
        )
        self._changed = False  # an untouched table is left as it was found
        self._began = time.monotonic() - (self.rows[-1]["time"] if self.rows else 0.0)

    @property
    def name(self) -> str:
        """As Lightning wants it."""
        return "metrics"

    @property
    def version(self) -> str:
        """As Lightning wants it."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The configuration is in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add one row."""
        seconds = round(time.monotonic() - self._began, 3)
        self._changed = True
        epoch = metrics.get("epoch", self.rows[-1]["epoch"] if self.rows else 0)  # Lightning's monitors tell none
        first = {"epoch": epoch, "step": step or 0, "time": seconds}
        self.rows.append(first | {key: value for key, value in metrics.items() if key != "epoch"})

    @rank_zero_only
    def save(self) -> None:
        """Write the rows so far, whole or not at all."""
        names = dict.fromkeys([*FIRST_COLUMNS, *sorted({name for row in self.rows for name in row})])
        text = io.StringIO()
        table = csv.DictWriter(text, list(names), lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        write_text(self.path, text.getvalue())

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left."""
        if self._changed:
            self.save()


def _counted(row: dict[str, float]) -> dict[str, float]:
    """The row as it was logged, its epoch and step whole."""
    return row | {"epoch": int(row["epoch"]), "step": int(row["step"])}


def _stays(row: dict[str, float], resumed_step: int) -> bool:
    return row["step"] < resumed_step and not any(name.startswith("best/") for name in row)


def read_rows(path: Path) -> list[dict[str, float]]:
    """Read metrics.csv back: a list of rows holding the cells that are not empty, as floats."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]
