"""Plots a sweep: scores in the order of trials, and against the values of each key."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from imagier.sweeps.record import Record
from imagier.sweeps.words import Dimension
from imagier.training.pictures import wording
from imagier.training.pictures.canvas import ACCENT, ALARM, FAINT, INK, MUTED, draw, shorten


def draw_trials(records: Sequence[Record], dimensions: Sequence[Dimension]) -> np.ndarray:
    """Plot scores by trial number, with the best so far, and by the values of each key: uint8 [H, W, 3]."""
    columns = len(dimensions) if len(dimensions) in (1, 2, 4) else 3
    rows = -(-len(dimensions) // columns)

    def paint(figure: Figure) -> None:
        grid = figure.add_gridspec(1 + rows, columns, height_ratios=[1.25] + [1.0] * rows)
        first = figure.add_subplot(grid[0, :])
        _paint_order(first, records)
        for index, dimension in enumerate(dimensions):
            axis = figure.add_subplot(grid[1 + index // columns, index % columns], sharey=first)
            _paint_dimension(axis, records, dimension)

    return draw(10.4, 3.0 + 2.5 * rows, paint)


def _paint_order(axis: Axes, records: Sequence[Record]) -> None:
    _paint_points(axis, records, {record.number: record.number for record in records})
    done = sorted((record for record in records if record.state == "done"), key=lambda record: record.number)
    if done and len({record.measure for record in records if record.score is not None}) == 1:
        gains = np.maximum.accumulate([record.gain for record in done])
        best = gains if done[0].mode == "max" else -gains
        last = max(record.number for record in records)
        numbers = [*(record.number for record in done), last]
        axis.step(numbers, [*best, best[-1]], where="post", color=ACCENT, linewidth=1.2, label="best so far", zorder=2)
    for record in records:
        if record.score is None and record.state != "running":
            axis.plot(
                record.number, 0.04, marker="x", color=ALARM if record.state == "failed" else MUTED, markersize=6,
                transform=axis.get_xaxis_transform(), linestyle="none", label=record.state,
            )  # fmt: skip
    labels = dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))  # each state once
    if labels:
        axis.legend(
            labels.values(), labels.keys(), fontsize=8, loc="lower right", ncols=len(labels), bbox_to_anchor=(1, 1)
        )
    monitors = dict.fromkeys(record.monitor.removeprefix("val/") for record in records if record.score is not None)
    axis.set_title(" / ".join(wording.title(monitor) for monitor in monitors) or "No scores")
    if monitors and all(map(wording.is_share, monitors)):
        axis.yaxis.set_major_formatter(FuncFormatter(wording.axis_percent))
    axis.set_xlabel("trial")
    axis.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    axis.grid(axis="y")


def _paint_dimension(axis: Axes, records: Sequence[Record], dimension: Dimension) -> None:
    said = {record.number: record.values[dimension.key] for record in records}
    numbers = _numbers(said) if said or dimension.interval else None
    if numbers is None:
        names = list(dict.fromkeys([*(() if dimension.interval else dimension.values), *said.values()]))
        _paint_points(axis, records, {number: names.index(value) for number, value in said.items()})
        axis.set_xticks(range(len(names)), [shorten(name, 14) for name in names], color=INK)
        axis.set_xlim(-0.5, len(names) - 0.5)
    else:
        _paint_points(axis, records, numbers)
        ends = [dimension.number(end) for end in dimension.values] if dimension.interval else []
        places = np.array([*numbers.values(), *ends])
        # Invisible points at the ends make the axis show the whole interval.
        axis.plot(ends, [0.5] * len(ends), transform=axis.get_xaxis_transform(), linestyle="none")
        if dimension.log or (places.min() > 0 and places.max() >= 10 * places.min()):
            axis.set_xscale("log")
            axis.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
            axis.xaxis.set_minor_formatter(NullFormatter())
        else:
            axis.xaxis.set_major_locator(MaxNLocator(5, integer=dimension.whole))
    axis.set_title(shorten(dimension.key, 34))
    axis.grid(axis="y")


def _numbers(said: dict[int, str]) -> dict[int, float] | None:
    try:
        return {number: float(value) for number, value in said.items()}
    except ValueError:
        return None


def _paint_points(axis: Axes, records: Sequence[Record], places: dict[int, float] | dict[int, int]) -> None:
    best = next((record for record in records if record.state == "done"), None)
    for record in records:
        if record.score is None:
            continue
        done = record.state == "done"
        axis.plot(
            places[record.number], record.score, "o", markersize=8 if record is best else 6, zorder=4 if done else 3,
            color=ACCENT if record is best else MUTED, markerfacecolor=None if done else "white",
            label="best" if record is best else record.state,
        )  # fmt: skip
        if record is best:
            axis.annotate(
                f"{record.number}", (places[record.number], record.score), (0, 7), textcoords="offset points",
                ha="center", color=ACCENT, fontsize=8, fontweight="bold",
            )  # fmt: skip
    axis.margins(0.08, 0.16)
    axis.tick_params(labelcolor=FAINT)
