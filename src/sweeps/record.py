"""Records of trials: SWEEP/trials/NUMBER.json, and trial.json in the folder of a trial's run."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from imagier.files import write_text
from imagier.keys import leaves
from imagier.measures import changes_measure

ENDED = ("done", "pruned", "failed")  # these count; a stopped trial is tried again


@dataclass
class Record:
    """A trial.

    number:  from 1.
    values:  values of the keys that vary, as typed.
    state:   running, done, pruned, failed (see `note`) or stopped (from outside).
    score:   that of the best checkpoint if done, the last one if pruned.
    monitor: name of the score.
    mode:    max or min, the better direction.
    epochs:  epochs trained until the last validation.
    seconds: duration.
    run:     folder of its run.
    note:    why it ended early.
    subject: digest of what its score measures, and on what data; see `subject_of`.
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
        """The score, negated if lower is better."""
        assert self.score is not None
        return self.score if self.mode == "max" else -self.score

    @property
    def measure(self) -> tuple[str, ...]:
        """What the score measures, and on what: only scores of the same measure can be compared."""
        return self.monitor, self.subject, *self.apart

    @property
    def apart(self) -> tuple[str, ...]:
        """Its varied words that change what is measured."""
        return tuple(f"{key}={value}" for key, value in self.values.items() if changes_measure(key, self.monitor))

    def write(self, folder: Path) -> None:
        """Write the record to the sweep's folder and, if the trial has one, to its run's folder."""
        text = json.dumps(asdict(self) | {"sweep": str(folder)}, indent=2) + "\n"
        write_text(folder / "trials" / f"{self.number:03d}.json", text)
        if self.run is not None:
            write_text(Path(self.run) / "trial.json", text)


def read_records(folder: Path) -> dict[int, Record]:
    """Read the trials of a sweep so far, by number."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in (folder / "trials").glob("*.json")]
    records = [Record(**{key: value for key, value in one.items() if key != "sweep"}) for one in found]
    return {record.number: record for record in sorted(records, key=lambda record: record.number)}


def subject_of(config: Any, monitor: str) -> str:
    """Hash all settings that change what is measured, including those of an experiment file."""
    assert isinstance(config, Mapping)
    settings = {key: value for key, value in leaves(config) if changes_measure(key, monitor)}
    return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=8).hexdigest()


def ranked(records: list[Record]) -> list[Record]:
    """Sort trials: finished ones, then pruned ones, each by measure and best first; then those without a score."""
    order = ("done", "pruned")
    scored = [record for record in records if record.state in order and record.score is not None]
    scored.sort(key=lambda record: (order.index(record.state), record.measure, -record.gain, record.number))
    return scored + [record for record in records if record not in scored]
