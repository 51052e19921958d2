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
        self._columns: list[str] = []  # of the file
        self._written = 0  # rows in the file
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
        """Add the rows that the file lacks; where one has a new column, write all of them, whole or not at all.

        Lightning asks for it after every row, so that a table which was written anew each time would cost the square of
        a run's length.
        """
        fresh = self.rows[self._written :]
        new = {name for row in fresh for name in row} - set(self._columns)
        done, self._written = self._written, 0  # whatever a full disk leaves is written anew
        if new or not done or not self.path.is_file():
            self._columns = list(dict.fromkeys([*FIRST_COLUMNS, *sorted(new.union(self._columns))]))
            write_text(self.path, self._lines(self.rows, header=True))
        elif fresh:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(self._lines(fresh))
        self._written = len(self.rows)

    def _lines(self, rows: list[dict[str, Any]], header: bool = False) -> str:
        text = io.StringIO()
        table = csv.DictWriter(text, self._columns, lineterminator="\n")
        if header:
            table.writeheader()
        table.writerows(rows)
        return text.getvalue()

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
    """Read metrics.csv back: a list of rows holding the cells that are not empty, as floats.

    A last line without an end, which a loss of power may leave, is no row.
    """
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        whole = [line for line in file if line.endswith("\n")]
    return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(whole)]
