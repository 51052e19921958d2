"""Report sections per task: the images and tables that show how well its networks perform."""

from collections.abc import Callable, Mapping

import numpy as np

from imagier.batch import Facts
from imagier.training.pictures import class_bars, class_colors, confusion_chart, wording
from imagier.training.report.compression import compress_sections
from imagier.training.report.exhibits import first_batch_section, samples_section
from imagier.training.report.restoration import denoise_sections
from imagier.training.report.summary import SPLIT_NAMES, Section, Summary, Table

_MOST_PAIRS = 12


def segment_sections(summary: Summary) -> list[Section]:
    """Return sections on masks beside truth, IoU per class, confusion of pixels, class balance and the first batch."""
    grid = samples_section(
        summary, "Each row is one validation image. Red pixels are wrong, hatched pixels are ignored."
    )
    return [*grid, *_class_sections(summary, "IoU", "pixels", intersection_over_union), *_data(summary, "pixels")]


def classify_sections(summary: Summary) -> list[Section]:
    """Return sections on labelled images, accuracy per class, confusion, class balance and the first batch."""
    grid = samples_section(
        summary, "Validation images with the predicted class and its probability; mistakes are framed in red."
    )
    return [*grid, *_class_sections(summary, "accuracy", "samples", recall), *_data(summary, "samples")]


TASK_SECTIONS: dict[str, Callable[[Summary], list[Section]]] = {
    "segment": segment_sections,
    "classify": classify_sections,
    "denoise": denoise_sections,
    "compress": compress_sections,
}


def intersection_over_union(confusion_KK: np.ndarray) -> np.ndarray:
    """Return the IoU of each class, float64 [K]; NaN for a class in neither truth nor prediction."""
    hits = np.diagonal(confusion_KK)
    return _ratio(hits, confusion_KK.sum(0) + confusion_KK.sum(1) - hits)


def recall(confusion_KK: np.ndarray) -> np.ndarray:
    """Return the share of each class's truth that was found, float64 [K]; NaN for a class without truth."""
    return _ratio(np.diagonal(confusion_KK), confusion_KK.sum(1))


def precision(confusion_KK: np.ndarray) -> np.ndarray:
    """Return the share of each class's predictions that are right, float64 [K]; NaN for a class never predicted."""
    return _ratio(np.diagonal(confusion_KK), confusion_KK.sum(0))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def _class_sections(
    summary: Summary, score: str, unit: str, measure: Callable[[np.ndarray], np.ndarray]
) -> list[Section]:
    """Return bars, table, confusion matrix and most confused pairs of the final split; the bars mark the others."""
    final = summary.final_split
    if final not in summary.confusion:
        return []
    facts = summary.facts
    confusion_KK = summary.confusion[final]
    scores = {SPLIT_NAMES[split]: measure(counts) for split, counts in summary.confusion.items()}
    others = {name: values for name, values in scores.items() if name != SPLIT_NAMES[final]}
    marks = "".join(f" The mark is the {name} value." for name in others)
    return [
        Section(
            "classes",
            f"{score[0].upper()}{score[1:]} per class",
            f"Bars show the {SPLIT_NAMES[final]} split.{marks} A dash means that the class does not occur.",
            class_bars(facts, scores[SPLIT_NAMES[final]], others, xlabel=f"{score}, {SPLIT_NAMES[final]}", mean=True),
            f"Bars of {score} for {facts.num_classes} classes; the numbers are in the table",
            table=_class_table(facts, scores, confusion_KK, score, unit),
        ),
        Section(
            "confusion",
            "Confusion",
            f"Each row is a true class and sums to 100 %: the predictions for it on the {SPLIT_NAMES[final]} split. "
            "The table lists the most frequent mistakes.",
            confusion_chart(confusion_KK, facts.classes),
            f"Confusion matrix of {facts.num_classes} classes, rows true classes, columns predictions",
            table=_confused_pairs(confusion_KK, facts, unit),
        ),
    ]


def _class_table(
    facts: Facts, scores: Mapping[str, np.ndarray], confusion_KK: np.ndarray, score: str, unit: str
) -> Table:
    columns = [*scores.values(), precision(confusion_KK)]
    rows = [
        [name, *(wording.percent(values[index]) for values in columns), f"{confusion_KK[index].sum():,}"]
        for index, name in enumerate(facts.classes)
    ]
    headers = ["class", *(f"{score}, {'val' if name == 'validation' else name}" for name in scores), "precision", unit]
    return Table(headers, rows, class_colors(facts))


def _confused_pairs(confusion_KK: np.ndarray, facts: Facts, unit: str) -> Table | None:
    """Return the most frequent mistakes, sorted; None if there are none."""
    mistakes_KK = confusion_KK.copy()
    np.fill_diagonal(mistakes_KK, 0)
    commonest = np.argsort(-mistakes_KK, axis=None, kind="stable")[:_MOST_PAIRS]
    rows = []
    for truth, said in zip(*np.unravel_index(commonest, mistakes_KK.shape), strict=True):
        if count := mistakes_KK[truth, said]:
            share = wording.percent(count / confusion_KK[truth].sum())
            rows.append([facts.classes[truth], facts.classes[said], f"{count:,}", share])
    return Table(("truth", "predicted as", unit, "share of true class"), rows, words=2) if rows else None


def _data(summary: Summary, unit: str) -> list[Section]:
    sections = []
    if summary.class_counts:
        shares = {SPLIT_NAMES[split]: _share(counts) for split, counts in summary.class_counts.items()}
        first, *rest = shares
        picture = class_bars(
            summary.facts, shares[first], {name: shares[name] for name in rest}, xlabel=f"share of {unit}, {first}"
        )
        caption = f"Share of {unit} of each class. Bars show the {first} split, marks the others."
        sections.append(Section("balance", "Class balance", caption, picture, f"Bars of the share of {unit} per class"))
    return [*sections, *first_batch_section(summary)]


def _share(counts: np.ndarray) -> np.ndarray:
    return _ratio(counts, np.full(len(counts), counts.sum()))
