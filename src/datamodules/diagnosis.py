"""Formats what an examination found as text, for `imagier doctor`."""

import filecmp
from pathlib import Path

import numpy as np

from imagier.batch import SPLITS, Split
from imagier.datamodules.base import ImageData
from imagier.datamodules.folder import split_of
from imagier.datamodules.image_file import told_of
from imagier.datamodules.loader import Source

_LOOKED_AT = 20  # images


def report(data: ImageData) -> str:
    """Return tables of splits and classes, class weights to paste, and everything that looks wrong.

    Args:
        data: after `setup`; with on_error="skip", broken samples are listed instead of raised.
    """
    facts = data.facts
    size = f"{facts.size[0]} x {facts.size[1]}" if facts.size else "of several sizes"
    head = f"{facts.name}: images {size}, {facts.channels} channels, {facts.num_classes} classes"
    parts = [f"{head}, fingerprint {data.findings.fingerprint}", _splits(data)]
    if facts.num_classes:
        weights = ", ".join(f"{weight:.3g}" for weight in data.class_weights())
        alike = ", counting images of all sizes alike" if len(data.findings.sizes("train")) > 1 else ""
        parts += [
            _classes(data),
            f"To give rare classes more weight in the loss{alike}: 'task.class_weights=[{weights}]'",
        ]
    notes = [*data.notes, *doubts(data)]
    if facts.size is None and facts.classes:  # without classes, networks take images of any size
        notes.append("images differ in size; set data.size=[H,W], or crop them to one size in augment.")
    parts += [f"note: {note}" for note in notes]
    problems = data.findings.problems
    parts += [f"{problem.split} {problem.id}: {problem.sentence}" for problem in problems]
    parts.append(f"{len(problems)} unreadable; data.on_error=skip skips them." if problems else "No broken files.")
    return "\n\n".join(parts)


def _splits(data: ImageData) -> str:
    rows = [["split", "samples", "unreadable", "height x width (samples)"]]
    for split in SPLITS:
        examined, sizes = data.findings.splits[split], data.findings.sizes(split)
        listed = [f"{height} x {width} ({count})" for (height, width), count in list(sizes.items())[:3]]
        more = f" and {len(sizes) - 3} more" if len(sizes) > 3 else ""
        used, good = len(data.sources[split]), examined.size - len(examined.bad)
        samples = str(examined.size) if data.limit is None or used >= good else f"the first {used} of {examined.size}"
        rows.append([split, samples, str(len(examined.bad)), ", ".join(listed) + more])
    return _table(rows)


def _classes(data: ImageData) -> str:
    """Return a table of each class's share of a split's labelled pixels or samples, and its number of samples."""
    facts, findings = data.facts, data.findings
    header, columns = ["class"], [list(facts.classes)]
    for split in SPLITS:
        counts = findings.class_counts(split, facts.num_classes)
        share = counts / max(1, counts.sum())
        header += [split, "in samples"]
        columns.append([f"{value:.3%}" for value in share])
        columns.append([str(count) for count in findings.class_presence(split, facts.num_classes)])
    rows = [list(row) for row in zip(*columns, strict=True)]
    if facts.ignore_index is not None:
        rows.append(["(ignored)"])
        for split in SPLITS:
            counted = findings.splits[split]
            share = counted.counts[facts.ignore_index] / max(1, counted.counts.total())
            rows[-1] += [f"{share:.3%}", str(counted.present[facts.ignore_index])]
    return _table([header, *rows])


def doubts(data: ImageData) -> list[str]:
    """List what makes scores misleading: images in two splits, odd files, classes missing from validation."""
    notes = []
    facts, findings = data.facts, data.findings
    if not data.stand_ins and findings.splits["test"].fingerprint == findings.splits["val"].fingerprint:
        notes.append("the test split is the same as the validation split.")
    for split in ("val", "test"):
        notes += _leaks(data, split)
    notes += _odd_files(data.sources["train"])
    counts = {split: findings.class_counts(split, facts.num_classes) for split in SPLITS}
    untested = [facts.classes[index] for index in np.flatnonzero((counts["train"] > 0) & (counts["val"] == 0))]
    if untested:
        notes.append(f"the validation split does not contain {', '.join(untested)}; its score says nothing about it.")
    return notes


def _odd_files(source: Source) -> list[str]:
    """Describe oddities of the first images, at most two, each with one example."""
    root, told = _root(source), dict[str, str]()
    for name in source.ids[:_LOOKED_AT]:
        if odd := told_of(root / name):
            told.setdefault(odd, name)
    return [f"{name} {odd}." for odd, name in list(told.items())[:2]]


def _leaks(data: ImageData, split: Split) -> list[str]:
    """List signs that samples of `split` are also in train."""
    train, measured = data.sources["train"], data.sources[split]
    notes = []
    if equal := sorted(set(train.ids).intersection(measured.ids)):
        notes.append(
            f"{split} and train share names ({len(equal)}), such as {equal[0]}: if they are the same images, its "
            "score is too optimistic (data leakage)."
        )
    # Names that are paths start with the split's folder, and each may hold a 1.jpg: compare the files themselves.
    learnt = {_without_split(name): name for name in train.ids}
    twins = ((name, learnt.get(_without_split(name), name)) for name in measured.ids)
    root = _root(measured)
    if copies := sorted(name for name, twin in twins if twin != name and _are_equal(root / name, root / twin)):
        notes.append(
            f"{split} and train share images ({len(copies)}), such as {copies[0]}: its score is too optimistic (data "
            "leakage)."
        )
    return notes


def _without_split(name: str) -> str:
    """Remove the split's folder from a path: its first part or, as in images/val/1.png, its second."""
    parts = name.split("/")
    place = next((place for place, part in enumerate(parts[:-1][:2]) if split_of(part)), None)
    return name if place is None else "/".join(parts[:place] + parts[place + 1 :])


def _root(source: Source) -> Path:
    """Return the folder that the samples' names are relative to, if they are paths."""
    while hasattr(source, "source"):  # a subset, or a decoded copy, of another source
        source = source.source
    return Path(getattr(source, "root", None) or "")


def _are_equal(one: Path, other: Path) -> bool:
    try:
        return filecmp.cmp(one, other, shallow=False)  # files of different sizes are not read
    except OSError:  # not files
        return False


def _table(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        aligned = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *aligned]))
    return "\n".join(lines)
