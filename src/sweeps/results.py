"""Results of a sweep: trials.txt, trials.csv, trials.png, and the command that trains the best trial longer."""

import csv
import io
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from imagier.deploy.results import save_pixels
from imagier.errors import TrainingError
from imagier.files import write_text
from imagier.sweeps.picture import draw_trials
from imagier.sweeps.record import Record, ranked, read_records
from imagier.sweeps.words import Dimension, typed
from imagier.training.pictures.wording import DASH, duration
from imagier.training.schedule import prolonged

WIDTH = 160  # characters of the table outside a terminal
LONGER = 4  # length of the proposed run, in trials


def write_results(folder: Path, dimensions: Sequence[Dimension]) -> None:
    """Write table and plot of the trials so far."""
    records = ranked(list(read_records(folder).values()))
    write_text(folder / "trials.txt", _text(records, WIDTH))
    write_text(folder / "trials.csv", _csv(records))
    picture = draw_trials(records, dimensions)
    save_pixels(picture, folder / "trials.png")


def show_results(folder: Path, fixed: Sequence[str], dimensions: Sequence[Dimension]) -> list[Record]:
    """Print the table and how to train the best trial longer; return the trials as `ranked`.

    Raises:
        TrainingError: no trial finished with a score.
    """
    records = ranked(list(read_records(folder).values()))
    write_results(folder, dimensions)
    print(f"\n{_text(records, None if sys.stdout.isatty() else WIDTH)}")
    print(f"table: {folder / 'trials.csv'}\nplot: {folder / 'trials.png'}")
    if not records or records[0].state != "done":
        note = next((record.note for record in records if record.note), "")
        raise TrainingError(f"no trial of {folder} finished with a score. First note: {note}")
    bests = best_of_each_measure(records)
    for best in bests:
        apart = best.apart or [word for word in typed(best.values) if len(bests) > 1 and word.startswith("experiment=")]
        of = f" of {' '.join(apart)}" if apart else ""
        print(f"best{of}: trial {best.number}, {best.monitor} {best.score:.4g}, {best.run}")
        print(f"train it longer: {longer(best, fixed) or 'not possible, as its run folder is gone'}")
    return records


def longer(best: Record, fixed: Sequence[str]) -> str | None:
    """Return the command that trains a trial longer and measures the test split; None if its run folder is gone."""
    assert best.run is not None
    config = Path(best.run) / "config.yaml"
    if not config.is_file():
        return None
    trained = OmegaConf.load(config)
    assert isinstance(trained, DictConfig)
    length = prolonged(trained.trainer, LONGER)
    anew = ["test", "report", *(word.partition("=")[0] for word in length)]
    words = [word for word in [*fixed, *typed(best.values)] if word.partition("=")[0] not in anew]
    return shlex.join(["imagier", "train", *words, *length])


def best_of_each_measure(records: Sequence[Record]) -> list[Record]:
    """Return the best finished trial of each measure, of `ranked` trials."""
    done = [record for record in records if record.state == "done"]
    return list({record.measure: record for record in reversed(done)}.values())[::-1]


def _text(records: Sequence[Record], width: int | None) -> str:
    monitors = {record.monitor for record in records if record.score is not None}
    table = Table(show_edge=False)
    table.add_column("trial", justify="right")
    table.add_column("/".join(sorted(monitors)) or "score", justify="right")
    keys = list(dict.fromkeys(key for record in records for key in record.values))
    names = [key.rpartition(".")[2] for key in keys]
    for key, name in zip(keys, names, strict=True):
        table.add_column(name if names.count(name) == 1 else key, justify="right", overflow="fold")
    for name in ("epochs", "time"):
        table.add_column(name, justify="right")
    table.add_column("state")
    for record in records:
        score = DASH if record.score is None else f"{record.score:.4f}"
        values = [record.values.get(key, DASH) for key in keys]
        took = duration(record.seconds) if record.seconds else DASH
        table.add_row(str(record.number), score, *values, str(record.epochs or DASH), took, record.state)
    text = io.StringIO()
    Console(file=text, width=width, markup=False, highlight=False).print(table)
    notes = [
        f"trial {record.number} {record.state}: {record.note}\n"
        for record in records
        if record.note and record.state != "pruned"
    ]
    return text.getvalue() + "".join(notes)


def _csv(records: Sequence[Record]) -> str:
    keys = list(dict.fromkeys(key for record in records for key in record.values))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["trial", "state", "monitor", "score", *keys, "epochs", "seconds", "run", "note"])
    for record in records:
        values = [record.values.get(key, "") for key in keys]
        first = [record.number, record.state, record.monitor, record.score]
        rows.writerow([*first, *values, record.epochs, record.seconds, record.run, record.note])
    return text.getvalue()
