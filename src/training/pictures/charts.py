"""Charts about classes: bars in their colours, and the confusion matrix."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from imagier.batch import Facts
from imagier.datamodules.palette import Color, distinct_colors
from imagier.training.pictures import wording
from imagier.training.pictures.canvas import ALARM, FAINT, INK, draw, shorten

MOST_BARS = 40
MOST_LABELS = 35


def class_colors(facts: Facts) -> Sequence[Color]:
    """Return each class's colour: those of the facts, or distinct ones if the facts have too few."""
    enough = len(facts.colors) >= facts.num_classes
    return facts.colors[: facts.num_classes] if enough else distinct_colors(facts.num_classes)


def class_bars(
    facts: Facts,
    values: np.ndarray,
    marks: Mapping[str, np.ndarray] | None = None,
    *,
    xlabel: str = "",
    mean: bool = False,
) -> np.ndarray:
    """Draw one horizontal bar per class in its colour, highest first.

    Args:
        facts: names and colours of the K classes.
        values: float [K], shares from 0 to 1; NaN means an absent class, shown as a dash.
        marks: name -> float [K], up to three more series, each drawn with its own marker.
        xlabel: label of the value axis.
        mean: whether to draw a line at the mean of the present classes.

    Returns:
        uint8 [H, W, 3]. Of more than 40 classes only the first and last 20 in this order are shown.
    """
    order = np.argsort(np.where(np.isfinite(values), -values, np.inf), kind="stable")
    if len(order) > MOST_BARS:
        order = np.concatenate([order[: MOST_BARS // 2], order[-MOST_BARS // 2 :]])
        xlabel += f"; the first and last {MOST_BARS // 2} of {len(values)} classes"

    def paint(figure: Figure) -> None:
        axis = figure.subplots()
        _paint_bars(axis, facts, values, order)
        longest = np.nanmax([np.nan_to_num(row[order]).max(initial=0) for row in (values, *(marks or {}).values())])
        axis.set_xlim(0, 1.02 if longest > 0.5 else max(1.05 * longest, 0.01))
        for (label, others), shape in zip((marks or {}).items(), "Dos", strict=False):
            axis.plot(
                others[order], np.arange(len(order)), shape, color="white", markeredgecolor=INK, markersize=4.5,
                label=label, linestyle="none", zorder=3,
            )  # fmt: skip
        if mean and np.isfinite(values).any():
            average = float(np.nanmean(values))
            axis.axvline(average, color=ALARM, linewidth=1.2, label=f"mean {wording.percent(average)}", zorder=1)
        axis.set_xlabel(xlabel)
        if axis.get_legend_handles_labels()[0]:
            figure.legend(loc="outside upper left", ncols=4, fontsize=8.5)

    return draw(5.9, 0.9 + 0.24 * len(order), paint)


def _paint_bars(axis: Axes, facts: Facts, values: np.ndarray, order: np.ndarray) -> None:
    colors = np.array(class_colors(facts)) / 255
    places = np.arange(len(order))
    shown = np.nan_to_num(values[order])
    axis.barh(places, shown, height=0.7, color=colors[order], edgecolor="#00000055", linewidth=0.6, zorder=2)
    axis.set_yticks(places, [shorten(facts.classes[index], 24) for index in order], color=INK)
    axis.set_ylim(len(order) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    right = axis.secondary_yaxis("right")  # the numbers in their own column, clear of bars and markers
    right.set_yticks(places, [wording.percent(values[index]) for index in order], color=INK, fontsize=8)
    right.tick_params(length=0)
    right.spines["right"].set_visible(False)
    axis.xaxis.set_major_formatter(FuncFormatter(wording.axis_percent))
    axis.grid(axis="x")


def confusion_chart(confusion_KK: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Draw a confusion matrix, each row normalised to the total of its true class.

    Args:
        confusion_KK: int64 [K, K], rows truth, columns prediction.
        names: names of the K classes.

    Returns:
        uint8 [H, W, 3]. Up to 35 classes are named and their shares written out, up to 12 with counts. A class without
        truth has a hatched row.
    """
    count = len(confusion_KK)
    totals = confusion_KK.sum(1, keepdims=True)
    shares = np.divide(confusion_KK, totals, out=np.full(confusion_KK.shape, np.nan), where=totals > 0)
    side = max(1.8, 0.48 * count) if count <= 12 else min(8.2, 0.26 * count)

    def paint(figure: Figure) -> None:
        axis = figure.subplots()
        axis.set_facecolor("#f3f4f6")
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        for row in np.flatnonzero(totals == 0):
            axis.axhspan(row - 0.5, row + 0.5, facecolor="none", edgecolor="#9ca3af", hatch="////", linewidth=0)
        if count <= MOST_LABELS:
            _name_cells(axis, [shorten(name, 20) for name in names])
            _write_cells(axis, confusion_KK, shares)
        else:
            axis.set_xticks([])
            axis.set_yticks([])
        axis.spines[:].set_visible(False)
        axis.set_xlabel("predicted", color=FAINT)
        axis.set_ylabel("truth", color=FAINT)

    return draw(side + 1.75, side + 1.2, paint)


def _name_cells(axis: Axes, names: Sequence[str]) -> None:
    places = np.arange(len(names))
    axis.set_yticks(places, names, color=INK)
    turn = 90 if len(names) > 12 else 40
    axis.set_xticks(
        places,
        names,
        color=INK,
        rotation=turn,
        ha="center" if turn == 90 else "right",
        rotation_mode="anchor" if turn != 90 else "default",
    )
    axis.tick_params(length=0)
    axis.set_xticks(places[1:] - 0.5, minor=True)
    axis.set_yticks(places[1:] - 0.5, minor=True)
    axis.grid(which="minor", color="white", linewidth=1)
    axis.tick_params(which="minor", length=0)


def _write_cells(axis: Axes, confusion_KK: np.ndarray, shares: np.ndarray) -> None:
    few = len(shares) <= 12
    for row, column in zip(*np.nonzero(np.nan_to_num(shares) >= (0 if few else 0.005)), strict=True):
        share = shares[row, column]
        if confusion_KK[row, column] == 0:
            continue
        percent = f"{100 * share:.0f}" if share >= 0.005 else "<1"
        text = f"{percent} %\n{wording.amount(confusion_KK[row, column])}" if few else percent
        size = 7.5 if few else 6.5
        color = "white" if share > 0.55 else INK if row == column or share > 0.02 else FAINT
        axis.text(
            column, row, text, ha="center", va="center", fontsize=size, color=color, linespacing=1.3
        ).set_in_layout(False)
