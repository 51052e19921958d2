"""Reads every sample once before training: finds broken files, image sizes and class frequencies.

Findings are cached in `cache/examined/` under a fingerprint of the source and of its files' names, sizes and times, so
that a second run only asks the file system whether anything changed.
"""

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from imagier.datamodules.fingerprint import State, digest, state_of
from imagier.datamodules.keeping import Keep
from imagier.datamodules.loader import Source
from imagier.datamodules.looking import WHOLE, Tally
from imagier.datamodules.survey import survey
from imagier.errors import DataError
from imagier.files import write_text

if TYPE_CHECKING:
    from imagier.batch import Split

log = logging.getLogger(__name__)

_FORMAT = 1  # increment when what is written, or the meaning of what was read, changes
_SHOWN = 5
_MOST_RAISED = 10  # the largest ratio of two weights


class Problem(NamedTuple):
    """A sample that cannot be used: its split, its id, and the error message."""

    split: str
    id: str
    sentence: str


@dataclass(kw_only=True)
class Examined(Tally):
    """Findings of one source: its number of samples, the state of its files, and the tally of all samples.

    kept: file that caches them; None for a source without files.
    """

    size: int
    state: State
    kept: Path | None = None

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with any file."""
        return self.state.fingerprint

    def to_json(self) -> str:
        """Serialise all but error messages: bad samples are read again, as files may be moved or mended by then."""
        return json.dumps(
            {
                "counts": sorted(self.counts.items()),
                "shares": sorted(self.shares.items()),
                "present": sorted(self.present.items()),
                "sizes": sorted((*size, count) for size, count in self.sizes.items()),
                "bad": sorted(self.bad),
            }
        )

    def load_json(self, text: str) -> list[int]:
        """Restore what `to_json` wrote; return the positions of bad samples, which must be read again."""
        plain = json.loads(text)
        counts, shares, present = (Counter(dict(plain[name])) for name in ("counts", "shares", "present"))
        sizes = Counter({(height, width): count for height, width, count in plain["sizes"]})
        bad = list(plain["bad"])
        self.counts, self.shares, self.present, self.sizes = counts, shares, present, sizes  # all, or none if damaged
        return bad


@dataclass(frozen=True)
class Findings:
    """What an examination found, per split."""

    splits: dict["Split", Examined]
    problems: tuple[Problem, ...]

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with any file of any split."""
        return digest(examined.fingerprint for examined in self.splits.values())

    def good(self, split: "Split") -> list[int]:
        """Return the positions of the usable samples of `split`, in order."""
        examined = self.splits[split]
        return [position for position in range(examined.size) if position not in examined.bad]

    def class_counts(self, split: "Split", num_classes: int) -> np.ndarray:
        """Count the pixels (masks) or samples (class indices) of each class: int64 [K]."""
        return _array(self.splits[split].counts, num_classes)

    def class_shares(self, split: "Split", num_classes: int) -> np.ndarray:
        """Sum each class's fraction of every sample: float64 [K]. All samples weigh the same, whatever their size."""
        return _array(self.splits[split].shares, num_classes) / WHOLE

    def class_presence(self, split: "Split", num_classes: int) -> np.ndarray:
        """Count the samples in which each class occurs: int64 [K]."""
        return _array(self.splits[split].present, num_classes)

    def sizes(self, split: "Split") -> dict[tuple[int, int], int]:
        """Count the samples of each (height, width) before resizing, the most frequent first."""
        return dict(self.splits[split].sizes.most_common())

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain lists, numbers and strings, for reports."""
        return {
            "fingerprint": self.fingerprint,
            "splits": {
                split: {
                    "samples": examined.size,
                    "unreadable": len(examined.bad),
                    "sizes": [[*size, count] for size, count in self.sizes(split).items()],
                }
                for split, examined in self.splits.items()
            },
            "problems": [problem._asdict() for problem in self.problems],
        }


def examine(
    sources: Mapping["Split", Source], cache: Path, on_error: Literal["raise", "skip"], keep: Keep | None = None
) -> Findings:
    """Examine every split: read all samples if anything changed since the last time, else only those that were bad.

    A source may have `files()`, the paths it reads, without which nothing is cached between runs; and `in_memory`,
    true if reading costs nothing. Its attributes that are text or numbers, or lists, tuples and dictionaries of these,
    count as settings that affect reading. `read` is called from several threads or processes.

    Args:
        sources: one per split.
        cache: folder that holds `examined/`.
        on_error: with "raise", unreadable samples are an error; with "skip", they are left out.
        keep: stores decoded samples, so that training need not decode them again; if they are not stored yet, every
            sample is read.

    Raises:
        DataError: samples are bad (gives their number and the first few), or a split has no usable sample.
    """
    return settled(
        {split: _examine_source(split, source, cache, keep) for split, source in sources.items()}, sources, on_error
    )


def among_the_first(limit: int, findings: Findings, sources: Mapping["Split", Source], cache: Path) -> Findings:
    """Return the findings with counts and sizes of only the first `limit` usable samples of each split."""
    splits = {}
    for split, examined in findings.splits.items():
        positions, splits[split] = findings.good(split), examined
        if limit < len(positions):
            splits[split] = _first(split, positions[:limit], examined, sources, cache)
    return replace(findings, splits=splits)


def _first(
    split: "Split", positions: list[int], examined: Examined, sources: Mapping["Split", Source], cache: Path
) -> Examined:
    first = replace(examined, counts=Counter(), shares=Counter(), present=Counter(), sizes=Counter())
    kept = cache / "examined" / f"{examined.fingerprint}-first-{len(positions)}.json"
    if kept.is_file() and list(_remembered(first, kept)) == sorted(examined.bad):
        return first
    found = survey(split, sources[split], positions)
    first = replace(examined, counts=found.counts, shares=found.shares, present=found.present, sizes=found.sizes)
    if hasattr(sources[split], "files"):
        with suppress(OSError):  # the next run reads them again
            write_text(kept, first.to_json())
    return first


def settled(
    splits: dict["Split", Examined], sources: Mapping["Split", Source], on_error: Literal["raise", "skip"]
) -> Findings:
    """Combine the findings of all splits. Raises DataError as `examine` does."""
    first: dict[tuple[str, str], Problem] = {}  # a split that stands in for another has the same problems
    for split, examined in splits.items():
        for position, sentence in examined.bad.items():
            name = sources[split].ids[position]
            first.setdefault((name, sentence), Problem(split, name, sentence))
    problems = tuple(first.values())
    if problems and on_error == "raise":
        sizes = {examined.fingerprint: examined.size for examined in splits.values()}
        raise DataError(_complaint(problems, sum(sizes.values())))
    for split, examined in splits.items():
        if len(examined.bad) == examined.size:
            because = f", because {next(iter(examined.bad.values()))}" if examined.size else ""
            raise DataError(f"the split '{split}' has no readable sample among its {examined.size}{because}")
    return Findings(splits, problems)


def class_weights(amounts: np.ndarray) -> np.ndarray:
    """Return loss weights that favour rare classes: the inverse square root of a class's share, float64 [K].

    The root is milder than the inverse share, which overweights classes of a few pixels. Over the classes that occur,
    no weight is more than ten times the smallest, and the mean is 1. A class that never occurs gets 1, which no target
    uses.

    Args:
        amounts: how much there is of each class, in pixels, samples or shares of samples: [K].
    """
    weights = np.ones(len(amounts))
    present = amounts > 0
    if present.any():
        raised = (amounts.max() / amounts[present]) ** 0.5
        capped = np.minimum(raised, _MOST_RAISED)
        weights[present] = capped / capped.mean()
    return weights


def _examine_source(split: "Split", source: Source, cache: Path, keep: "Keep | None") -> Examined:
    files = list(source.files()) if hasattr(source, "files") else []
    state = state_of(_FORMAT, source, files)
    kept = cache / "examined" / f"{state.fingerprint}.json" if files else None
    examined = Examined(size=len(source), state=state, kept=kept)
    remaining: Sequence[int] = range(len(source))
    if kept and kept.is_file():
        remaining = _remembered(examined, kept)
    writer = keep.writer(split, source, state) if keep and files else None
    known = len(remaining) < len(source)
    found = survey(split, source, range(len(source)), writer, may_stop=known) if writer else None
    if found is None or (known and writer and writer.abandoned):  # such as a full disk: cached findings still hold
        found = survey(split, source, remaining)
    else:
        examined, remaining = Examined(size=len(source), state=state, kept=kept), range(len(source))
    examined.merge(found)
    if kept and len(examined.bad) != len(remaining):
        try:
            write_text(kept, examined.to_json())
        except OSError as error:
            log.warning(
                "data.cache=%s cannot store the results of the data check (%s), so the next run reads every file again",
                cache,
                error,
            )
    return examined


def _remembered(examined: Examined, kept: Path) -> Sequence[int]:
    """Load cached findings into `examined`; return the positions still to be read: all, if the file is damaged."""
    try:
        return examined.load_json(kept.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return range(examined.size)


def _array(counts: Counter[int], num_classes: int) -> np.ndarray:
    return np.array([counts[index] for index in range(num_classes)], dtype=np.int64)


def _complaint(problems: Sequence[Problem], total: int) -> str:
    lines = [f"  {problem.split} {problem.id}: {problem.sentence}" for problem in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        lines.append(f"  and {len(problems) - _SHOWN} more")
    samples = "sample" if len(problems) == 1 else "samples"
    return (
        f"{len(problems)} {samples} of {total} cannot be read. Fix or remove them, skip them with data.on_error=skip, "
        "or list them all with `imagier doctor` and the same data settings:\n" + "\n".join(lines)
    )
