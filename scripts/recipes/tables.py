"""Markdown tables of the recipes' results."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from imagier.training.leaderboard.statistics import paired

WHOLE = "nothing"  # `left_out` of a row with all ingredients
_HEAD = """\
| experiment | scored by | at least | aim | validation | minutes, start to report | machine | baseline |
|---|---|---|---|---|---|---|---|
"""
_SHORT = """\
| experiment | learns | measured by | validation | minutes, start to report | machine |
|---|---|---|---|---|---|
"""
_COMPARED = """\
| experiment | words | scored by | validation | minutes, start to report | machine |
|---|---|---|---|---|---|
"""
_LEAVES = """\
| experiment | scored by | leaves | photographs | gap | machine |
|---|---|---|---|---|---|
"""
SHARES = ("accuracy", "iou", "bd_rate/JPEG")  # shown in percent


def tables(out: Path, recipes: Mapping[str, Any]) -> str:
    """Return all tables from the JSON files in `out`: recipes, ablations, comparisons, and training on leaves."""
    kept = {name: _read(out / f"{name}.json") for name in recipes}
    parts = []
    for gpu, on in ((False, "two cores"), (True, "one GPU")):
        rows = [
            _recipe_row(name, recipes[name], of_one_machine, out)
            for name in kept
            if name.endswith("_gpu" if gpu else "_cpu")
            for of_one_machine in _by_machine(kept[name].get("train", []))
        ]
        if rows:
            parts.append(f"On {on}:\n\n{_HEAD}{''.join(rows)}")
    for name, recipe in recipes.items():
        for rows in _by_machine(kept[name].get("ablate", [])):
            trained = _there(kept[name].get("train", []), rows)
            if _has_whole(rows, trained):
                parts.append(_ablation(name, recipe["score"], rows, trained))
    compared = _compared_rows(recipes, {name: rows["compare"] for name, rows in kept.items() if "compare" in rows})
    if compared:
        parts.append(f"\nSide by side, each with the same words:\n\n{_COMPARED}{''.join(compared)}")
    taught = "".join(
        _leaves_row(name, recipes[name]["score"], rows, every.get("train", []))
        for name, every in kept.items()
        for rows in _by_machine(every.get("leaves", []))
    )
    if taught:
        parts.append(f"Trained on the embedded leaves alone, measured on the photographs:\n\n{_LEAVES}{taught}")
    return "\n".join(parts)


def short_table(out: Path, recipes: Mapping[str, Any]) -> str:
    """Return one summary table of all recipes with results: a row each, with the results of its machines in turn."""
    kept = {name: _read(out / f"{name}.json").get("train", []) for name in recipes if name.endswith(("_cpu", "_gpu"))}
    return _SHORT + "".join(_short_row(name, recipes[name], trained) for name, trained in kept.items() if trained)


def _short_row(name: str, recipe: Mapping[str, Any], trained: Sequence[Mapping[str, Any]]) -> str:
    by_machine = _by_machine(trained)
    cells = [
        f"`{_said(name, trained[0])}`",
        recipe["learns"],
        _named(recipe["score"]),
        "; ".join(_scores(rows, recipe["score"]) for rows in by_machine),
        "; ".join(map(_minutes, by_machine)),
        "; ".join(map(_machines, by_machine)),
    ]
    return f"| {' | '.join(cells)} |\n"


def _by_machine(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Group rows by machine: within a time budget, machines train for different numbers of steps."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["machine"], []).append(row)
    return list(found.values())


def _there(trained: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the rows of `trained` on the machines of `rows`."""
    machines = {row["machine"] for row in rows}
    return [row for row in trained if row["machine"] in machines]


def _has_whole(rows: Sequence[Mapping[str, Any]], trained: Sequence[Mapping[str, Any]]) -> bool:
    """Whether an ablation has a reference: its own run of the whole recipe, or the recipe with the same settings."""
    if any(row["left_out"] == WHOLE for row in rows):
        return True
    return bool(rows and trained) and all(row.get("words", []) == words_of(trained[0]) for row in rows)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}


def _recipe_row(name: str, recipe: Mapping[str, Any], trained: Sequence[Mapping[str, Any]], out: Path) -> str:
    """One machine's row of a recipe, with the baseline's result on that machine, or else on another, which it names."""
    score = recipe["score"]
    baseline = _read(out / f"{recipe['baseline']}.json").get("train") if "baseline" in recipe else None
    here = [row for row in baseline or () if row["machine"] == trained[0]["machine"]]
    baseline = here or (_by_machine(baseline)[-1] if baseline else None)
    beside = ""
    if baseline:
        said = _said(recipe["baseline"], baseline[0])
        # A codec with a single rate has no BD-rate: show its point instead.
        told = [score] if baseline[0]["score"].get(score) is not None else ["psnr", "bpp"]
        beside = f"`{said}`: {' at '.join(_scores(baseline, one) for one in told)} in {_minutes(baseline)} minutes"
        beside += "" if here else f" on {_machines(baseline)}"
        beside += _difference(trained, baseline, score)
    bounds = [_shown(recipe.get(key), score) for key in ("target", "aim")]
    cells = [
        f"`{_said(name, trained[0])}`",
        score,
        *bounds,
        _scores(trained, score),
        _minutes(trained),
        _machines(trained),
        beside,
    ]
    return f"| {' | '.join(cells)} |\n"


def _difference(ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]], score: str) -> str:
    """Paired difference ours - theirs over the seeds that both have, as in `imagier leaderboard`.

    "" if the rows are of several machines or too few for an interval.
    """
    if len({row["machine"] for row in [*ours, *theirs]}) > 1:
        return ""
    known = ([row for row in rows if row["score"].get(score) is not None] for rows in (ours, theirs))
    by_seed = ({row["seed"]: row["score"][score] for row in rows} for rows in known)
    found = paired(*by_seed)
    if found.interval is None or found.deviation is None or found.p is None:
        return ""
    low, high = (_number(end, score, sign=True) for end in found.interval)
    spread = f"{_number(found.mean, score, sign=True)} ± {_number(found.deviation, score)}"
    points = " points" if score in SHARES else ""
    chance = "p < 0.001" if found.p < 0.001 else f"p {found.p:.2g}"
    return f"; from there, over {found.count} seeds, {spread}{points}, 95 % interval {low} to {high}, {chance}"


def words_of(row: Mapping[str, Any]) -> list[str]:
    """Return the settings of a row's command, without the experiment, data.root and the seed."""
    usual = ("experiment=", "data.root=", "seed=")
    return [word for word in shlex.split(row["command"])[2:] if not word.startswith(usual)]


def _compared_rows(recipes: Mapping[str, Any], kept: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """One row per experiment, machine and set of settings; rows with the same settings are adjacent."""
    by_words: dict[str, dict[tuple[str, str], list[Mapping[str, Any]]]] = {}
    for name, rows in kept.items():
        for row in rows:
            place = name, row["machine"]
            by_words.setdefault(shlex.join(words_of(row)), {}).setdefault(place, []).append(row)
    return [
        f"| `{name}` | `{words}` | {score} | {_scores(rows, score)} | {_minutes(rows)} | {_machines(rows)} |\n"
        for words, together in by_words.items()
        for (name, _), rows in together.items()
        for score in [recipes[name]["score"]]
    ]


def _leaves_row(name: str, score: str, rows: Sequence[Mapping[str, Any]], trained: Sequence[Mapping[str, Any]]) -> str:
    """Scores of training on leaves and on photographs; "" if one is missing.

    The run on photographs has the same settings; it may be the recipe itself.
    """
    leaves = [row for row in rows if row["left_out"] == WHOLE and _values([row], score)]
    said = [word for word in words_of(leaves[0]) if word != "data=leaves"] if leaves else []
    alike = [row for row in _there(trained, rows) if words_of(row) == said]
    photographs = [row for row in rows if row["left_out"] != WHOLE and _values([row], score)] or alike
    if not leaves or not photographs:
        return ""
    gap = _shown(mean(_values(leaves, score)) - mean(_values(photographs, score)), score, sign=True)
    cells = [
        f"`{_said(name, photographs[0])}`",
        score,
        _scores(leaves, score),
        _scores(photographs, score),
        gap,
        _machines([*leaves, *photographs]),
    ]
    return f"| {' | '.join(cells)} |\n"


def _ablation(name: str, score: str, rows: Sequence[Mapping[str, Any]], trained: Sequence[Mapping[str, Any]]) -> str:
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_name.setdefault(row["left_out"], []).append(row)
    wholes = by_name.pop(WHOLE, None) or trained  # the recipe's own runs, if the ablation has no whole one
    said, whole = _said(name, wholes[0]), _values(wholes, score)
    lines = [f"\n`{said}`, on {_machines(wholes)}:\n\n| left out | by | {score} | change |\n|---|---|---|---|\n"]
    lines.append(f"| {WHOLE} | | {_scores(wholes, score)} | |\n")
    for left_out, some in by_name.items():
        values = _values(some, score)
        change = _shown(mean(values) - mean(whole), score, sign=True) if values and whole else ""
        by = shlex.join(word for word in words_of(some[0]) if word not in words_of(wholes[0]))
        lines.append(f"| {left_out} | `{by}` | {_scores(some, score)} | {change} |\n")
    return "".join(lines)


def _named(score: str) -> str:
    names = {"iou": "mean IoU", "psnr/25": "PSNR at sigma 25", "mse": "MSE", "bd_rate/JPEG": "BD-rate against JPEG"}
    return names.get(score, score)


def _said(name: str, row: Mapping[str, Any]) -> str:
    """An experiment's name and the settings added to it, quoted for a shell."""
    return shlex.join([name, *words_of(row)])


def _values(rows: Sequence[Mapping[str, Any]], score: str) -> list[float]:
    """Return the scores of the rows that have one: a codec far worse than JPEG has no BD-rate."""
    return [row["score"][score] for row in rows if row["score"].get(score) is not None]


def _minutes(rows: Sequence[Mapping[str, Any]]) -> str:
    return f"{mean(row['seconds'] for row in rows) / 60:.1f}"


def _machines(rows: Sequence[Mapping[str, Any]]) -> str:
    """Names of the processors or GPUs, without (R) and the suffix Processor."""
    names = {row["machine"].replace("(R)", "").removesuffix(" Processor") for row in rows}
    return ", ".join(sorted(names))


def _scores(rows: Sequence[Mapping[str, Any]], score: str) -> str:
    values = _values(rows, score)
    if not values:
        return "-"
    spread = f" ± {_shown(stdev(values), score)} ({len(values)} seeds)" if len(values) > 1 else ""
    return _shown(mean(values), score) + spread


def _shown(value: float | str | None, score: str, *, sign: bool = False) -> str:
    """Format a score, or with `sign` a difference of scores; differences of percentages are in points."""
    if value is None or isinstance(value, str):
        return value or ""
    unit = " bits a pixel" if score == "bpp" else " dB" if score.startswith("psnr") else ""
    if score in SHARES:
        unit = " points" if sign else " %"
    return _number(value, score, sign=sign) + unit


def _number(value: float, score: str, *, sign: bool = False) -> str:
    plus = "+" if sign else ""
    if score == "mse":
        return f"{value:{plus}.{5 if sign else 4}f}"
    return f"{value * (100 if score in SHARES else 1):{plus}.2f}"
