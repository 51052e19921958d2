"""Training curves: metrics.csv read back, and drawn as small multiples over epochs."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from imagier.training.pictures import wording
from imagier.training.pictures.canvas import ACCENT, FAINT, MUTED, draw

_AT_THE_END = ("lr", "images_per_second", "data_wait_share")  # panels that come last
_COLORS = {"train": MUTED, "val": ACCENT, "noisy": "#d97706"}
_LABELS = {"train": "training", "val": "validation"}
_CHECKS = ("misestimates", "estimate_error")  # checks of a codec's size estimates; only the results show them
_NOISY = "_noisy"  # suffix of scores of the noisy images themselves, before denoising


@dataclass(frozen=True)
class History:
    """What a run logged, in the order of its steps.

    step:    int64 [N], the last optimiser step so far, counted from 0.
    epoch:   float64 [N], epochs completed at that step: 2.5 is the middle of the third.
    columns: metric name -> float64 [N]; NaN where a row has no finite value.
    """

    step: np.ndarray
    epoch: np.ndarray
    columns: dict[str, np.ndarray]

    def series(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return epochs and values of one metric where it was logged; of rows at the same epoch the last one counts."""
        values = self.columns[name]
        logged = {float(self.epoch[row]): float(values[row]) for row in np.flatnonzero(np.isfinite(values))}
        return np.array(list(logged)), np.array(list(logged.values()))

    def epoch_after(self, step: int) -> float:
        """Return the number of epochs completed after `step` optimiser steps, interpolated."""
        return float(np.interp(step - 1, self.step, self.epoch))


def read_history(path: Path) -> History:
    """Read metrics.csv: columns epoch (from 0), step, time and metrics; cells may be empty; without a file, no rows."""
    if not path.exists():
        return History(np.zeros(0, np.int64), np.zeros(0), {})
    with path.open(newline="", encoding="utf-8") as file:
        whole = [line for line in file if line.endswith("\n")]  # a run in progress may be writing another
    rows = [{name: _number(cell) for name, cell in row.items() if name} for row in csv.DictReader(whole)]
    rows = [row for row in rows if np.isfinite([row.get("epoch", np.nan), row.get("step", np.nan)]).all()]
    names = [name for name in (rows[0] if rows else {}) if name not in ("epoch", "step", "time")]
    # Final scores are not part of training: their row would seem to begin another epoch.
    names = [name for name in names if not name.startswith(("test/", "best/"))]
    rows = [row for row in rows if np.isfinite([row[name] for name in names]).any()]
    rows.sort(key=lambda row: row["step"])
    step = np.array([row["step"] for row in rows], np.int64)
    epoch = np.array([row["epoch"] for row in rows], np.int64)
    columns = {name: np.array([row[name] for row in rows]) for name in names}
    columns = {name: values for name, values in columns.items() if np.isfinite(values).any()}
    return History(step, _completed(epoch, step), columns)


def draw_curves(history: History, best_step: int | None = None) -> np.ndarray | None:
    """Draw a panel per metric, training with validation, the best step marked; uint8 [H, W, 3] or None if empty."""
    panels = _panels(list(history.columns))
    if not panels:
        return None
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    best = None if best_step is None else history.epoch_after(best_step)

    def paint(figure: Figure) -> None:
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for axis, (metric, names) in zip(axes, panels.items(), strict=False):
            _paint_panel(axis, metric, names, history, best)
        for axis in axes[len(panels) :]:
            axis.set_visible(False)

    return draw(10.4 * columns / 3, 2.5 * rows, paint)


def _number(cell: str | None) -> float:
    try:
        number = float(cell or "nan")
    except ValueError:
        return np.nan
    return number if np.isfinite(number) else np.nan


def _completed(epoch: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Return the epochs completed at each row, taking an epoch's last logged step as its end."""
    completed = np.zeros(len(epoch))
    start = 0
    for number in np.unique(epoch):
        rows = epoch == number
        end = int(step[rows].max())
        share = (step[rows] - start) / (end - start) if end > start else 1.0
        completed[rows] = number + np.clip(share, 0, 1)
        start = end
    return completed


def _panels(names: list[str]) -> dict[str, dict[str, str]]:
    """Group columns into panels: metric -> {split or name of a parameter group: column}, without single classes."""
    panels: dict[str, dict[str, str]] = {}
    for name in names:
        split, _, metric = name.partition("/")
        if split in _LABELS and metric.endswith(_NOISY):
            panels.setdefault(metric.removesuffix(_NOISY), {})["noisy"] = name
        elif split in _LABELS and "/" not in metric and metric not in _CHECKS:
            panels.setdefault(metric, {})[split] = name
        elif split == "lr" or name.startswith("lr-"):
            panels.setdefault("lr", {})[name[3:]] = name
        elif not metric:
            panels.setdefault(name, {})[""] = name
    order = sorted(panels, key=lambda metric: (metric in _AT_THE_END, metric != "loss"))
    return {metric: dict(sorted(panels[metric].items())) for metric in order}


def _paint_panel(axis: Axes, metric: str, names: dict[str, str], history: History, best: float | None) -> None:
    everything = []
    for label, name in names.items():
        epochs, values = history.series(name)
        everything.append(values)
        color = _COLORS.get(label, ACCENT if len(names) == 1 else None)
        _paint_line(axis, epochs, values, color, _LABELS.get(label, label))
        if label == "val" and best is not None:
            nearest = int(np.abs(epochs - best).argmin())
            late = best > history.epoch.max() / 2
            axis.plot(epochs[nearest], values[nearest], "o", color=ACCENT, markersize=5, zorder=4)
            text = axis.annotate(
                wording.value(metric, values[nearest]), (epochs[nearest], values[nearest]), (-5 if late else 5, 6),
                textcoords="offset points", color=ACCENT, fontsize=8, fontweight="bold", zorder=5,
                ha="right" if late else "left",
            )  # fmt: skip
            text.set_path_effects([withStroke(linewidth=3, foreground="white")])
    if best is not None:
        axis.axvline(best, color=FAINT, linewidth=0.8, linestyle=(0, (3, 3)), zorder=1)
    numbers = np.concatenate(everything)
    scale_axis(axis, metric, numbers)
    axis.set_title(wording.title(metric))
    axis.set_xlabel("epochs")
    axis.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=bool(history.epoch.max() > 2)))
    axis.set_xlim(0, 1.03 * history.epoch.max())
    axis.margins(y=0.14)
    if metric in ("images_per_second", "data_wait_share"):
        axis.set_ylim(bottom=0)  # otherwise the jitter of a steady rate would fill the panel
    axis.grid(axis="y")
    if len(names) > 1:
        axis.legend(fontsize=8)


def scale_axis(axis: Axes, metric: str, numbers: np.ndarray) -> None:
    """Label shares as percentages, and give a loss with a wide range a logarithmic scale."""
    if metric == "loss" and numbers.min() > 0 and numbers.max() > 30 * numbers.min():
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
    elif wording.is_share(metric):
        axis.yaxis.set_major_formatter(FuncFormatter(wording.axis_percent))


def _paint_line(axis: Axes, epochs: np.ndarray, values: np.ndarray, color: str | None, label: str) -> None:
    if len(values) <= 100:
        axis.plot(epochs, values, ".-" if len(values) <= 40 else "-", color=color, linewidth=1.6, label=label)
        return
    # Many steps form a cloud; their running mean is the curve.
    (cloud,) = axis.plot(epochs, values, color=color, linewidth=0.5, alpha=0.3)
    width = max(5, len(values) // 50)
    mean = np.convolve(values, np.ones(width) / width, "valid")
    axis.plot(epochs[width - 1 :], mean, color=cloud.get_color(), linewidth=1.6, label=label)
