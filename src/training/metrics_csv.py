"""metrics.csv: one row per call of the logger, one column per metric; source of the report's curves."""

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
    """Writes metrics.csv with the columns epoch, step, time (seconds since the run's start) and every metric's name.

    A resumed run keeps the rows of the steps before its checkpoint and drops later ones, which it will log again, and
    final scores. Its time continues from the last row kept.

    Args:
        path: path of the file.
        resumed_step: optimiser steps of the checkpoint that a resumed run continues; None for a new run.
    """

    def __init__(self, path: Path, resumed_step: int | None = None) -> None:
        super().__init__()
        self.path = path
        self.rows = (
            [] if resumed_step is None else [_counted(row) for row in read_rows(path) if _stays(row, resumed_step)]
        )
        self._changed = False  # without new rows the file is left as it is
        self._columns: list[str] = []  # of the file
        self._written = 0  # rows in the file
        self._began = time.monotonic() - (self.rows[-1]["time"] if self.rows else 0.0)

    @property
    def name(self) -> str:
        """Required by Lightning."""
        return "metrics"

    @property
    def version(self) -> str:
        """Required by Lightning."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Write nothing: the configuration is in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add one row."""
        seconds = round(time.monotonic() - self._began, 3)
        self._changed = True
        epoch = metrics.get("epoch", self.rows[-1]["epoch"] if self.rows else 0)  # Lightning's monitors log none
        first = {"epoch": epoch, "step": step or 0, "time": seconds}
        self.rows.append(first | {key: value for key, value in metrics.items() if key != "epoch"})

    @rank_zero_only
    def save(self) -> None:
        """Append the new rows to the file; if one has a new column, rewrite the whole file atomically.

        Lightning calls this after every row, so always rewriting would take time quadratic in the run's length.
        """
        fresh = self.rows[self._written :]
        new = {name for row in fresh for name in row} - set(self._columns)
        done, self._written = self._written, 0  # after a failed write, rewrite the whole file
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
        """Write the remaining rows."""
        if self._changed:
            self.save()


def _counted(row: dict[str, float]) -> dict[str, float]:
    """Return the row with epoch and step as integers again."""
    return row | {"epoch": int(row["epoch"]), "step": int(row["step"])}


def _stays(row: dict[str, float], resumed_step: int) -> bool:
    return row["step"] < resumed_step and not any(name.startswith("best/") for name in row)


def read_rows(path: Path) -> list[dict[str, float]]:
    """Return the rows of metrics.csv, each with its non-empty cells as floats; none if there is no file.

    An unterminated last line, which a power loss may leave, is ignored.
    """
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        whole = [line for line in file if line.endswith("\n")]
    return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(whole)]
