"""Plots of a board, each uint8 [H, W, 3]: scores with their deviations, parts of the score, training curves."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from imagier.training.leaderboard.settings import Board, Setting
from imagier.training.leaderboard.tables import written
from imagier.training.pictures import wording
from imagier.training.pictures.canvas import FAINT, INK, draw, shorten
from imagier.training.pictures.curves import scale_axis

MOST_PARTS = 40
MOST = 10  # settings that colours can tell apart; the best are shown
_COLORS = [colormaps["tab10"](index) for index in range(MOST)]
_NAME = 44  # characters


def draw_scores(board: Board) -> np.ndarray:
    """Draw the main score of each setting: its mean as a bar, its deviation as a line, every seed as a dot.

    Only scores that are fractions have bars, since decibels and losses have no natural baseline.
    """
    settings = board.settings[:MOST]
    spreads = [setting.spread(board.metric) for setting in settings]
    share = wording.is_share(board.metric)

    def paint(figure: Figure) -> None:
        axis = figure.subplots()
        for place, (setting, found) in enumerate(zip(settings, spreads, strict=True)):
            if share:
                axis.barh(place, np.nan_to_num(found.mean), height=0.62, color=_COLORS[place], alpha=0.55, zorder=2)
            axis.errorbar(
                found.mean, place, xerr=found.deviation, fmt="|", markersize=16, color=_COLORS[place], ecolor=INK,
                elinewidth=1.4, markeredgewidth=2.4, zorder=3,
            )  # fmt: skip
            seeds = list(setting.scores(board.metric).values())
            axis.plot(
                seeds, [place] * len(seeds), "o", color="white", markeredgecolor=INK, markersize=4, linestyle="none",
                zorder=4,
            )  # fmt: skip
        _name_rows(axis, [setting.name for setting in settings])
        right = axis.secondary_yaxis("right")
        right.set_yticks(range(len(settings)), [written(board.metric, found) for found in spreads], color=INK)
        right.tick_params(length=0)
        right.spines["right"].set_visible(False)
        if share:
            axis.set_xlim(left=0)
        _name_scores(axis, board.metric, wording.title(board.metric), board.split)

    return draw(8.6, 0.85 + 0.36 * len(settings), paint)


def draw_parts(board: Board, names: Sequence[str]) -> np.ndarray:
    """Draw parts of a score, such as "iou/road": a row per part, a dot per setting, with deviations.

    Of more than 40 parts, those with the first setting's 20 highest and 20 lowest values are drawn.
    """
    settings = board.settings[:MOST]
    kind = names[0].partition("/")[0]
    if len(names) > MOST_PARTS:  # the table has them all
        told = {name: settings[0].spread(name).mean for name in names}
        order = sorted((name for name in names if np.isfinite(told[name])), key=lambda name: -told[name])
        first, rest = order[: MOST_PARTS // 2], order[MOST_PARTS // 2 :]
        names = [*first, *rest[-MOST_PARTS // 2 :]] or names[:MOST_PARTS]
    height = 0.66 * min(1, len(settings) / 4)

    def paint(figure: Figure) -> None:
        axis = figure.subplots()
        offsets = np.linspace(-height / 2, height / 2, len(settings)) if len(settings) > 1 else [0.0]
        for setting, offset, color in zip(settings, offsets, _COLORS, strict=False):
            spreads = [setting.spread(name) for name in names]
            axis.errorbar(
                [found.mean for found in spreads], np.arange(len(names)) + offset,
                xerr=[found.deviation or 0.0 for found in spreads], fmt="o", color=color, markersize=5,
                elinewidth=1.4, label=shorten(setting.name, _NAME),
            )  # fmt: skip
        _name_rows(axis, [name.partition("/")[2] for name in names])
        for row in range(0, len(names), 2):
            axis.axhspan(row - 0.5, row + 0.5, color="#f1f5f9", zorder=0)
        if wording.is_share(names[0]):
            axis.set_xlim(-0.012, 1.012)
        _name_scores(axis, kind, wording.title(kind).removeprefix("Mean "), board.split)
        _legend(figure, axis)

    return draw(8.6, 1.0 + (0.2 + 0.055 * len(settings)) * len(names) + _legend_height(settings), paint)


def draw_parallel_curves(board: Board) -> np.ndarray | None:
    """Draw training loss, validation loss and main score of every run over epochs, one colour per setting.

    Returns None if no run has any curve.
    """
    names = dict.fromkeys(["train/loss", "val/loss", f"val/{board.metric}"])
    settings = board.settings[:MOST]
    panels = [name for name in names if any(name in run.history.columns for one in settings for run in one.runs)]
    if not panels:
        return None

    def paint(figure: Figure) -> None:
        axes = figure.subplots(1, len(panels), squeeze=False).ravel()
        for axis, name in zip(axes, panels, strict=True):
            _paint_runs(axis, name, settings)
        _legend(figure, axes[0])

    return draw(10.4 * len(panels) / 3, 2.9 + _legend_height(settings), paint)


def _paint_runs(axis: Axes, name: str, settings: Sequence[Setting]) -> None:
    everything = [np.zeros(0)]
    for setting, color in zip(settings, _COLORS, strict=False):
        label = shorten(setting.name, _NAME)
        for run in setting.runs:
            if name in run.history.columns:
                epochs, values = run.history.series(name)
                everything.append(values)
                style = ".-" if len(values) <= 20 else "-"
                axis.plot(epochs, values, style, color=color, linewidth=1.3, markersize=4, alpha=0.85, label=label)
                label = "_"  # one legend entry per setting
    split, _, metric = name.partition("/")
    numbers = np.concatenate(everything)
    scale_axis(axis, metric, numbers)
    axis.set_title(f"{wording.title(metric)}, {'training' if split == 'train' else 'validation'}")
    axis.set_xlabel("epochs")
    axis.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axis.set_xlim(left=0)
    axis.grid(axis="y")


def _name_rows(axis: Axes, names: Sequence[str]) -> None:
    axis.set_yticks(range(len(names)), [shorten(name, _NAME) for name in names], color=INK)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)


def _name_scores(axis: Axes, metric: str, title: str, split: str) -> None:
    axis.set_xlabel(f"{title}, {split}", color=FAINT)
    if wording.is_share(metric):
        axis.xaxis.set_major_formatter(FuncFormatter(wording.axis_percent))
    axis.grid(axis="x")


def _legend(figure: Figure, axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=_legend_columns(labels), fontsize=8.5)


def _legend_columns(names: Sequence[str]) -> int:
    return max(1, min(4, 120 // (8 + max(map(len, names), default=0))))


def _legend_height(settings: Sequence[Setting]) -> float:
    names = [shorten(setting.name, _NAME) for setting in settings]
    return 0.22 * -(-len(names) // _legend_columns(names))
