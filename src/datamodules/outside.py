"""Finds samples whose targets lie outside the classes, and caches which they are."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

from imagier.batch import Facts, Split
from imagier.datamodules.examination import Examined, Findings, settled
from imagier.datamodules.fingerprint import digest
from imagier.datamodules.loader import Source
from imagier.datamodules.looking import look_at, outside
from imagier.files import write_text


def refuse_targets_outside(
    facts: Facts, findings: Findings, sources: Mapping["Split", Source], on_error: Literal["raise", "skip"]
) -> Findings:
    """Mark samples as bad if their targets are neither a class of `facts` nor ignored.

    Raises:
        DataError: as `examine` does.
    """
    allowed = {*range(facts.num_classes), facts.ignore_index}
    for split, examined in findings.splits.items():
        if not facts.num_classes or not set(examined.counts) - allowed:
            continue
        kept, good = _kept_outside(facts, examined), findings.good(split)
        known = sorted(set(good).intersection(_positions(kept)))
        for position in (*known, *good):  # the examination counts values, not who has them: read again
            if not set(examined.counts) - allowed:
                break
            if position in examined.bad:
                continue
            outcome = look_at(sources[split], position)
            if isinstance(outcome, str):  # the file has changed meanwhile
                examined.bad[position] = outcome
                continue
            if not (odd := {value for value, _ in outcome[1]} - allowed):
                continue
            examined.bad[position] = outside(facts, sources[split].ids[position], min(odd))
            examined.remove(outcome)
        found = sorted(examined.bad.keys() & set(good))
        if kept and found != known:
            with suppress(OSError):  # the next run searches all of them again
                write_text(kept, json.dumps(found))
    return settled(findings.splits, sources, on_error)


def _kept_outside(facts: Facts, examined: Examined) -> Path | None:
    """Return the file that caches the positions of samples with targets outside these classes, or None."""
    key = digest([str(facts.num_classes), str(facts.ignore_index)])
    return examined.kept and examined.kept.with_name(f"{examined.fingerprint}-outside-{key}.json")


def _positions(kept: Path | None) -> list[int]:
    """Load the cached positions: none, if the file is missing or damaged."""
    try:
        return list(map(int, json.loads(kept.read_text(encoding="utf-8")))) if kept else []
    except (OSError, ValueError, TypeError):
        return []
