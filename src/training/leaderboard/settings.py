"""Grouping of runs: those that differ only by seed form a setting; settings evaluated on the same data, a board."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imagier.errors import ConfigError
from imagier.keys import at, leaves, within
from imagier.measures import FILES, VALIDATED, changes_measure
from imagier.training.leaderboard.naming import named, setting_of, short
from imagier.training.leaderboard.runs import Run
from imagier.training.leaderboard.statistics import Spread, spread

# Checks of the evaluation, not scores of the network; a run's report has them.
_CHECKS = ("mismatches", "misestimates", "estimate_error", "bpp_estimate", "psnr_noisy")


@dataclass(frozen=True)
class Setting:
    """Runs of one configuration with distinct seeds, in the order of their seeds."""

    name: str
    runs: Sequence[Run]

    def scores(self, metric: str) -> dict[int, float]:
        """Return seed -> value of a metric."""
        return {run.seed: run.score(metric) for run in self.runs}

    def spread(self, metric: str) -> Spread:
        """Return mean and deviation of a metric over the seeds."""
        return spread(self.scores(metric).values())


@dataclass(frozen=True)
class Board:
    """Settings with comparable scores: of one task, on one split of the same data, the best first.

    metric: the main score without its split, such as "iou".
    mode:   "max" or "min", whichever is better.
    aside:  what distinguishes it from other boards of the same task and data, such as "data.label_set=train".
    """

    task: str
    data: str
    split: str
    fingerprint: str
    metric: str
    mode: str
    settings: Sequence[Setting]
    aside: str = ""
    notes: Sequence[str] = ()

    @property
    def title(self) -> str:
        """The heading, such as "segment on streets, test"."""
        return f"{self.task} on {self.data}, {self.split}" + (f" ({self.aside})" if self.aside else "")

    @property
    def name(self) -> str:
        """The same for a file name, with `aside` as a short hash: "segment-streets-test"."""
        aside = f"-{hashlib.blake2b(self.aside.encode(), digest_size=4).hexdigest()}" if self.aside else ""
        return f"{self.task}-{self.data}-{self.split}{aside}"

    @property
    def runs(self) -> list[Run]:
        """The runs of all settings."""
        return [run for setting in self.settings for run in setting.runs]

    @property
    def metrics(self) -> list[str]:
        """Names of the scores, the main one first and the loss last; "iou/road" is a part of "iou"."""
        names = dict.fromkeys(name for run in self.runs for name in run.results[self.split])
        names = {name: None for name in names if name.partition("/")[0] not in _CHECKS}
        return sorted(names, key=lambda name: (name != self.metric, name == "loss"))


def make_boards(runs: Sequence[Run], seeds: int | None = None) -> list[Board]:
    """Group finished runs into boards.

    Args:
        runs: finished runs, oldest first.
        seeds: number of seeds: settings with fewer are left out. Of the others, seeds that all of them have are used
            first, so that they can be compared seed by seed, and then the lowest, whatever their scores are.

    Raises:
        ConfigError: if no setting has so many seeds.
    """
    together: dict[str, list[Run]] = {}
    for run in runs:
        together.setdefault(json.dumps(_measured(run), sort_keys=True), []).append(run)
    asides = _asides([group[-1] for group in together.values()])
    boards = [_board(group, seeds, aside) for group, aside in zip(together.values(), asides, strict=True)]
    kept = [board for board in boards if board.settings]
    if runs and not kept:
        most = max(len(setting.runs) for group in together.values() for setting in _board(group, None, "").settings)
        raise ConfigError(f"seeds={seeds}, but no setting has finished runs with more than {most} seeds; use fewer.")
    return sorted(kept, key=lambda board: board.title)


def _measured(run: Run) -> dict[str, Any]:
    """Return everything that two runs must share for their scores to be comparable."""
    limit = f"trainer.limit_{run.split}_batches"
    settings = {key: value for key, value in leaves(run.config) if changes_measure(key, run.ended.monitor)}
    return {
        "task": run.name("task"),
        "score": [run.ended.monitor, run.ended.mode],
        "split": run.split,
        "fingerprint": run.fingerprint or str(run.folder),  # unknown data equal no others
        **{key: value for key, value in settings.items() if not within(key, (VALIDATED, *FILES))},
        limit: at(run.config, limit),
    }


def _asides(runs: Sequence[Run]) -> list[str]:
    """Return what distinguishes boards of the same task, data and split, given one run of each."""
    measured = [_measured(run) for run in runs]
    asides: list[str] = []
    wholly: list[str] = []  # with every key that differs
    for own in measured:
        alike = [other for other in measured if all(own[key] == other[key] for key in ("task", "data.name", "split"))]
        differing = [key for key in own if any(own[key] != other.get(key) for other in alike)]
        said = [key for key in differing if key != "fingerprint" and not key.endswith(("._target_", ".tasks"))]
        # The name of a loss or noise stands for its settings.
        chosen = [key.removesuffix(".name") for key in said if key in ("loss.name", "noise.name")]
        said = [key for key in said if key.endswith(".name") or key.partition(".")[0] not in chosen] or differing
        asides.append(_aside(own, said))
        wholly.append(_aside(own, differing))
    bases = [(own["task"], own["data.name"], own["split"]) for own in measured]
    met = Counter(zip(bases, asides, strict=True))
    return [aside if met[base, aside] == 1 else whole for base, aside, whole in zip(bases, asides, wholly, strict=True)]


def _aside(measured: dict[str, Any], keys: Sequence[str]) -> str:
    return ", ".join(f"{key.removesuffix('.name')}={short(measured[key])}" for key in keys)


def _board(runs: Sequence[Run], seeds: int | None, aside: str) -> Board:
    by_setting: dict[str, list[Run]] = {}
    for run in runs:
        by_setting.setdefault(json.dumps(setting_of(run), sort_keys=True), []).append(run)
    groups = list(by_setting.values())
    names, same = named([group[-1] for group in groups])
    newest = [{run.seed: run for run in group} for group in groups]  # the last run of each seed counts
    shared = _shared([found for found in newest if len(found) >= (seeds or 1)])
    settings, notes, few = [], [f"All have {', '.join(same)}."] if same else [], []
    for name, group, found in zip(names, groups, newest, strict=True):
        if seeds is not None and len(found) < seeds:
            few.append(name)
            continue
        chosen = sorted(found.values(), key=lambda run: (run.seed not in shared, run.seed))[:seeds]
        settings.append(Setting(name, sorted(chosen, key=lambda run: run.seed)))
        if unused := sorted(set(found).difference(run.seed for run in chosen)):
            which = f"seed {unused[0]} is" if len(unused) == 1 else f"seeds {', '.join(map(str, unused))} are"
            notes.append(f"{name}: {which} left out, since seeds={seeds}.")
        notes += _repeated(name, group, settings[-1])
    if few:
        notes.append(f"Skipped, with fewer than {seeds} seeds: {'; '.join(few)}.")
    first = runs[-1]
    metric, mode = first.ended.monitor.removeprefix("val/"), first.ended.mode
    return Board(
        task=first.name("task"),
        data=first.name("data"),
        split=first.split,
        fingerprint=first.fingerprint,
        metric=metric,
        mode=mode,
        settings=_ranked(settings, metric, mode),
        aside=aside,
        notes=[*notes, *_cautions(settings)],
    )


def _shared(settings: Sequence[Mapping[int, Run]]) -> set[int]:
    """Return the seeds that all settings have."""
    return set(settings[0]).intersection(*settings[1:]) if settings else set()


def _repeated(name: str, group: Sequence[Run], setting: Setting) -> list[str]:
    times = Counter(run.seed for run in group)
    return [
        f"{name}: seed {run.seed} was trained {times[run.seed]} times; only the newest run counts, {run.folder}."
        for run in setting.runs
        if times[run.seed] > 1
    ]


def _ranked(settings: Sequence[Setting], metric: str, mode: str) -> list[Setting]:
    def place(setting: Setting) -> tuple[bool, float]:
        mean = setting.spread(metric).mean
        return mean != mean, mean if mode == "min" else -mean  # NaN last

    return sorted(settings, key=place)


def _cautions(settings: Sequence[Setting]) -> list[str]:
    notes = []
    machines = dict.fromkeys(run.ended.machine for setting in settings for run in setting.runs)
    if len(machines) > 1:
        notes.append(f"Times are not comparable: these runs are from several machines ({', '.join(machines)}).")
    weights = ("loss", "task.class_weights", "task.auxiliary_weight")
    losses = {json.dumps([at(setting.runs[0].config, key) for key in weights]) for setting in settings}
    if len(losses) > 1:
        notes.append("Losses are not comparable: these settings were trained with different losses.")
    return notes
