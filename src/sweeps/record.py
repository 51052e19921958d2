"""What is kept of a trial: SWEEP/trials/NUMBER.json, and trial.json in the folder of its run."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from imagier.files import write_text
from imagier.keys import leaves
from imagier.measures import changes_measure

ENDED = ("done", "pruned", "failed")  # these count; a trial that was stopped is tried again


@dataclass
class Record:
    """A trial.

    number:  from 1.
    values:  of the keys that vary, as typed.
    state:   running, done, pruned, failed (see `note`) or stopped (from outside).
    score:   of the best checkpoint when done, the last one seen when pruned.
    monitor: name of the score.
    mode:    max or min, the better direction.
    epochs:  trained and validated.
    seconds: from start to end.
    run:     folder of its run.
    note:    why it ended early.
    subject: a digest of what its configuration measures and on what; see `subject_of`.
    """

    number: int
    values: dict[str, str]
    state: str = "running"
    score: float | None = None
    monitor: str = ""
    mode: str = "max"
    epochs: int = 0
    seconds: float = 0.0
    run: str | None = None
    note: str = ""
    subject: str = ""

    @property
    def gain(self) -> float:
        """The score, turned so that more is better."""
        assert self.score is not None
        return self.score if self.mode == "max" else -self.score

    @property
    def measure(self) -> tuple[str, ...]:
        """What the score is and of what: scores of different measures cannot be compared."""
        return self.monitor, self.subject, *self.apart

    @property
    def apart(self) -> tuple[str, ...]:
        """Its words that say what is measured."""
        return tuple(f"{key}={value}" for key, value in self.values.items() if changes_measure(key, self.monitor))

    def write(self, folder: Path) -> None:
        """Write it into the sweep's folder, and into the run's where there is one."""
        text = json.dumps(asdict(self) | {"sweep": str(folder)}, indent=2) + "\n"
        write_text(folder / "trials" / f"{self.number:03d}.json", text)
        if self.run is not None:
            write_text(Path(self.run) / "trial.json", text)


def read_records(folder: Path) -> dict[int, Record]:
    """The trials of a sweep so far, by number."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in (folder / "trials").glob("*.json")]
    records = [Record(**{key: value for key, value in one.items() if key != "sweep"}) for one in found]
    return {record.number: record for record in sorted(records, key=lambda record: record.number)}


def subject_of(config: Any, monitor: str) -> str:
    """A digest of all settings that change what is measured, those that an experiment's file makes among them."""
    assert isinstance(config, Mapping)
    settings = {key: value for key, value in leaves(config) if changes_measure(key, monitor)}
    return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=8).hexdigest()


def ranked(records: list[Record]) -> list[Record]:
    """The trials that have a score, best first, those cut short after those that are done; then the others."""
    order = ("done", "pruned")
    scored = [record for record in records if record.state in order and record.score is not None]
    scored.sort(key=lambda record: (order.index(record.state), record.measure, -record.gain, record.number))
    return scored + [record for record in records if record not in scored]
