"""Boards as tables of text, for both terminal and page."""

import math
from collections.abc import Sequence

import numpy as np

from imagier.training.leaderboard.runs import Unfinished
from imagier.training.leaderboard.settings import Board, Setting
from imagier.training.leaderboard.statistics import CONFIDENCE, Paired, Spread, paired, spread
from imagier.training.pictures import wording
from imagier.training.report import Table
from imagier.training.report.summary import SPLIT_NAMES

COMPARED = (
    "Differences over the seeds that both settings share; two-sided paired t-test, not corrected for multiple "
    "comparisons. If an interval contains 0, it is open which setting is better."
)
_PARTS = {"denoise": "at each noise level", "compress": "at each lambda"}


def caption(board: Board) -> str:
    """Return a sentence on how to read the numbers of a board."""
    known = f"; data fingerprint {board.fingerprint}" if board.fingerprint else ""
    return (
        f"Scores of the selected checkpoint on the {SPLIT_NAMES[board.split]} split, as mean ± standard deviation "
        f"over seeds; lowest and best validation values over all epochs{known}."
    )


def main_table(board: Board) -> Table:
    """Return a row per setting, the best first: scores, extremes of validation during training, and cost."""
    measured = [metric for metric in board.metrics if "/" not in metric]
    rows = [[setting.name, *_scores(setting, measured), *_way(setting, measured)] for setting in board.settings]
    extremes = ["Lowest loss, val", *(["Best accuracy, val"] if "accuracy" in measured else [])]
    titles = [wording.title(metric) for metric in measured]
    return Table(["Model", *titles, *extremes, "Trained parameters", "Epochs", "Time", "Seeds"], rows)


def _scores(setting: Setting, measured: Sequence[str]) -> list[str]:
    return [written(metric, setting.spread(metric)) for metric in measured]


def _way(setting: Setting, measured: Sequence[str]) -> list[str]:
    """Return the cells about training: extremes of its curves, and its cost."""
    wanted = [("loss", "min"), *([("accuracy", "max")] if "accuracy" in measured else [])]
    ended = [run.ended for run in setting.runs]
    return [
        *(written(name, spread(run.extreme(f"val/{name}", mode) for run in setting.runs)) for name, mode in wanted),
        wording.amount(ended[0].parameters),
        f"{np.mean([each.epochs for each in ended]):.3g}",
        wording.duration(float(np.mean([each.seconds for each in ended]))),
        f"{len(ended)}",
    ]


def parts_of(board: Board) -> dict[str, list[str]]:
    """Return the scores that have parts, such as the IoU per class: kind -> names, {"iou": ["iou/road", ...]}."""
    kinds: dict[str, list[str]] = {}
    for metric in board.metrics:
        if "/" in metric:
            kinds.setdefault(metric.partition("/")[0], []).append(metric)
    return kinds


def parts_table(settings: Sequence[Setting], names: Sequence[str]) -> Table:
    """Return a row per part of a score, a column per setting."""
    rows = [[name.partition("/")[2], *(_scores(setting, [name])[0] for setting in settings)] for name in names]
    return Table(["", *(setting.name for setting in settings)], rows)


def parts_title(board: Board, kind: str) -> str:
    """Return the heading for the parts of a score."""
    return f"{wording.title(kind)} {_PARTS.get(board.task, 'per class')}"


def comparison_table(board: Board) -> Table | None:
    """Return every other setting compared with the best over shared seeds; None for a single setting."""
    if len(board.settings) < 2:
        return None
    best, *others = board.settings
    rows = []
    for setting in others:
        found = paired(setting.scores(board.metric), best.scores(board.metric))
        difference = Spread(found.mean, found.deviation, found.count)
        rows.append([setting.name, written(board.metric, difference, change=True), *_chance(board, found)])
    headers = [f"Against {best.name}", wording.title(board.metric), f"{CONFIDENCE:.0%} interval", "p", "Shared seeds"]
    return Table(headers, rows)


def _chance(board: Board, found: Paired) -> list[str]:
    if found.interval is None or found.p is None:
        why = {0: "no shared seeds", 1: "a single seed allows no test"}
        return [why.get(found.count, "identical for every seed"), wording.DASH, f"{found.count}"]
    low, high = (_fixed(board.metric, bound, found.deviation, "+") for bound in found.interval)
    return [f"{low} to {high}", "<0.001" if found.p < 0.001 else f"{found.p:.3f}", f"{found.count}"]


def runs_table(board: Board) -> Table:
    """Return a row per run, the best setting first: its folder, seed, score and cost."""
    rows = [
        [
            setting.name,
            str(run.folder),
            f"{run.seed}",
            wording.value(board.metric, run.score(board.metric)),
            wording.DASH if run.ended.best_epoch is None else f"{run.ended.best_epoch + 1}",
            f"{run.ended.epochs:g}",
            wording.duration(run.ended.seconds),
        ]
        for setting in board.settings
        for run in setting.runs
    ]
    headers = ["Model", "Folder", "Seed", wording.title(board.metric), "Best epoch", "Epochs", "Time"]
    return Table(headers, rows, words=2)


def unfinished_table(unfinished: Sequence[Unfinished]) -> Table:
    """Return a row per unfinished run, the newest first: what is missing, and how far it got."""
    rows = []
    for run in reversed(unfinished):
        epochs = f"{run.history.epoch.max():.3g}" if len(run.history.epoch) else "0"
        loss = wording.value("loss", run.extreme("val/loss", "min"))
        rows.append([str(run.folder), run.why, f"{run.seed}", epochs, loss])
    return Table(["Unfinished", "Why", "Seed", "Epochs", "Lowest loss, val"], rows, words=2)


def written(metric: str, found: Spread, *, change: bool = False) -> str:
    """Return a mean with its deviation, both to the deviation's second digit; a `change` is signed."""
    if not math.isfinite(found.mean):
        return wording.DASH
    if found.deviation is None and not change:
        return wording.value(metric, found.mean)
    text = _fixed(metric, found.mean, found.deviation, "+" if change else "")
    if found.deviation is not None:
        text += f" ± {_fixed(metric, found.deviation, found.deviation)}"
    unit = wording.value(metric, found.mean).partition(" ")[2]
    return f"{text} {'points' if change and wording.is_share(metric) else unit}".rstrip()


def _fixed(metric: str, number: float, deviation: float | None, sign: str = "") -> str:
    """Return a number to its deviation's second digit; without a deviation, shares in 0.01 %, others in four digits."""
    scale, digits = (100, "2f") if wording.is_share(metric) else (1, "4g")
    if deviation:
        places = 1 - math.floor(math.log10(scale * deviation))
        digits = f"{min(max(places, 1 if scale == 100 else 0), 8)}f"
    return f"{scale * number:{sign}.{digits}}"
