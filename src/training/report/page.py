"""Pages as single HTML files that load nothing else: images embedded and written beside them, text escaped."""

import base64
import io
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image

from imagier.files import write_aside, write_text
from imagier.keys import leaves
from imagier.training.pictures import History, draw_curves, read_history, wording
from imagier.training.pictures.canvas import DENSITY
from imagier.training.report.sections import TASK_SECTIONS
from imagier.training.report.summary import SPLIT_NAMES, Section, Summary, Table


def write_report(run_dir: Path, summary: Summary) -> Path:
    """Write report.html and pictures/NAME.png into `run_dir`, reading its metrics.csv if there is one.

    The page embeds its images and styles and loads nothing else, so it can be mailed and read offline.

    Returns:
        The path of report.html.
    """
    history = read_history(run_dir / "metrics.csv")
    own = TASK_SECTIONS[summary.task](summary) if summary.task in TASK_SECTIONS else []
    sections = [*_curves(history, summary), *own]
    for section in sections:
        if section.picture is not None:
            _write_png(run_dir / "pictures" / f"{section.name}.png", section)
    page = template("page.html.j2").render(
        summary=summary,
        cards=[*(pair for section in sections for pair in section.verdicts), *_cards(history, summary)],
        results=_results(summary),
        data=_data_facts(summary),
        sections=sections,
        environment=[(key, str(value)) for key, value in leaves(summary.environment)],
        written=f"{datetime.now().astimezone():%Y-%m-%d %H:%M}",
    )
    write_text(run_dir / "report.html", page)
    return run_dir / "report.html"


def write_chapters(
    path: Path,
    titles: tuple[str, str],
    cards: Sequence[tuple[str, str]],
    problems: Sequence[str],
    chapters: Sequence[Sequence[Section]],
) -> Path:
    """Write a page that is not of a single run, with its images, NAME.png, beside it; see `write_report`.

    Args:
        path: path of the page.
        titles: title, and a line below it.
        cards: (label, value) pairs at the head of the page.
        problems: sentences that a reader must know.
        chapters: lists of sections; the first section names its chapter.

    Returns:
        The path of the page.
    """
    for section in (section for chapter in chapters for section in chapter):
        if section.picture is not None:
            _write_png(path.parent / f"{section.name}.png", section)
    page = template("chapters.html.j2").render(
        title=titles[0],
        subtitle=titles[1],
        written=f"{datetime.now().astimezone():%Y-%m-%d %H:%M}",
        cards=cards,
        problems=problems,
        chapters=chapters,
    )
    write_text(path, page)
    return path


def _write_png(path: Path, section: Section) -> None:
    """Write the section's image, whole or not at all."""
    write_aside(path, lambda aside: aside.write_bytes(section.png))


def template(name: str) -> jinja2.Template:
    """Return a page template from this file's folder."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"data_uri": _data_uri, "css_width": lambda picture: round(picture.shape[1] / DENSITY)}
    environment.filters |= {"css_height": lambda picture: round(picture.shape[0] / DENSITY)}
    return environment.get_template(name)


def _data_uri(section: Section) -> str:
    """Return the section's image as a data: URI; photographs as WebP, a tenth of PNG's bytes, charts as exact PNG."""
    kind, data = "png", section.png
    if section.photograph and section.picture is not None:
        buffer = io.BytesIO()
        Image.fromarray(section.picture).save(buffer, format="webp", quality=88)
        kind, data = "webp", buffer.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _curves(history: History, summary: Summary) -> list[Section]:
    picture = draw_curves(history, summary.best_step)
    if picture is None:
        return []
    caption = "The dashed line marks the selected checkpoint." if summary.best_step is not None else ""
    return [
        Section("curves", "Training", caption, picture, "Curves of loss, metrics, learning rate and speed over epochs")
    ]


def _cards(history: History, summary: Summary) -> list[tuple[str, str]]:
    """Return the headline of every task: (label, value) pairs, the main score first."""
    cards = []
    for split in ("test", "val"):
        if summary.metric in summary.results.get(split, {}):
            label = f"{wording.title(summary.metric)}, {SPLIT_NAMES[split]}"
            cards.append((label, wording.value(summary.metric, summary.results[split][summary.metric])))
    loss = summary.results.get(summary.final_split, {}).get("loss")
    if loss is not None and summary.metric != "loss":
        cards.append((f"Loss, {SPLIT_NAMES[summary.final_split]}", wording.value("loss", loss)))
    cards.append(("Trained parameters", wording.amount(summary.parameters)))
    cards.append(("Training and evaluation", wording.duration(summary.seconds)))
    if summary.best_epoch is not None:
        trained = f" of {np.ceil(history.epoch.max()):.0f}" if len(history.epoch) else ""
        cards.append(("Best epoch", f"{summary.best_epoch + 1}{trained}"))
    return [*cards, ("Machine", summary.machine)] if summary.machine else cards


def _results(summary: Summary) -> Table | None:
    """Return all metrics of all splits, except those of single classes, levels or rates, which have their own table."""
    splits = [split for split in SPLIT_NAMES if split in summary.results]
    names = dict.fromkeys(name for split in splits for name in summary.results[split] if "/" not in name)
    rows = [
        [wording.title(name), *(wording.value(name, summary.results[split].get(name)) for split in splits)]
        for name in sorted(names, key=lambda name: name != summary.metric)
    ]
    return Table(["metric", *(SPLIT_NAMES[split] for split in splits)], rows) if rows else None


def _data_facts(summary: Summary) -> list[tuple[str, str]]:
    facts = summary.facts
    size = f"{facts.size[0]} x {facts.size[1]} pixels (height x width)" if facts.size else "of several sizes"
    pairs = [("Data", facts.name), ("Images", f"{'grey' if facts.channels == 1 else 'RGB'}, {size}")]
    if facts.classes:
        pairs.append(("Classes", f"{facts.num_classes}: {', '.join(facts.classes)}"))
    if facts.ignore_index is not None:
        pairs.append(("Ignored mask value", str(facts.ignore_index)))
    if facts.classes:  # networks that output images do not normalise
        mean, std = (", ".join(f"{number:.3f}" for number in numbers) for numbers in (facts.mean, facts.std))
        pairs.append(("Mean, deviation", f"{mean}; {std}"))
    return pairs
