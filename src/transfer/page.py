"""The report on the measured transfers: CSV, tables, charts and the HTML page."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from imagier.files import write_text
from imagier.metrics.quality import MS_SSIM_LEAST
from imagier.training.pictures import Curve, rate_chart, wording
from imagier.training.pictures.canvas import ACCENT, MUTED, draw
from imagier.training.pictures.rates import RIVAL_COLORS
from imagier.training.report import Section, Table, difference_table, write_chapters
from imagier.transfer.forms import PNG
from imagier.transfer.trial import Passage

Group = list[Passage]  # all images in one form at one quality


def grouped(passages: Sequence[Passage]) -> list[Group]:
    """Group passages by form and quality, in order of first appearance."""
    groups: dict[tuple[str, int | None], Group] = {}
    for passage in passages:
        groups.setdefault((passage.form, passage.quality), []).append(passage)
    return list(groups.values())


def write_csv(path: Path, passages: Sequence[Passage]) -> None:
    """Write a CSV file with a row per image, form and quality."""
    rows = [passage.to_dict() for passage in passages]
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, rows[0], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_text(path, text.getvalue())


def write_page(path: Path, passages: Sequence[Passage], title: str) -> Path:
    """Write the page, and its charts beside it; return the page's path."""
    groups = grouped(passages)
    pictures = means_over(groups, len(groups[0]))
    scored = fully_scored(groups)
    over = means_over(scored, len(groups[0]))
    curves = _curves(scored)
    chapters = [
        [
            Section(
                "rate-distortion",
                "Size and quality",
                f"Means over {over}, from whole files and the decoded images; other formats as written by Pillow. The "
                "table gives the BD-rate, the mean difference in bits where two curves reach the same quality: "
                "negative means smaller files. A dash: the curves share no quality.",
                rate_chart(curves),
                f"Quality over bits per pixel for {', '.join(curve.name for curve in curves)}",
                table=difference_table(curves),
            ),
            Section("sizes", "All formats", f"Means over {over}.", table=size_table(scored)),
        ],
        [
            Section(
                "time",
                "Time to the decoded image",
                "Encoding, transfer and decoding in sequence; medians over the images, on this machine. Transfer is "
                "an HTTP GET from a server on this machine, from the request to the last byte, over links limited to "
                "the given rate in megabits per second, without added latency.",
                _time_chart(groups),
                "PSNR over the seconds until an image is decoded, for every link",
            ),
            Section("seconds", "All steps", "Milliseconds, medians over the images.", table=time_table(groups)),
        ],
    ]
    return write_chapters(path, (title, f"{pictures} · {len(groups)} formats"), verdicts(groups), [], chapters)


def fully_scored(groups: Sequence[Group]) -> Sequence[Group]:
    """Keep only images that have every score, so that all means are over the same ones; all if none has.

    MS-SSIM is NaN for images of less than MS_SSIM_LEAST pixels in height or width.
    """
    small = {one.picture for group in groups for one in group if math.isnan(one.ms_ssim)}
    large = [[one for one in group if one.picture not in small] for group in groups]
    return large if large[0] else groups


def means_over(groups: Sequence[Group], total: int) -> str:
    """Say over how many of the `total` images the means of these groups are."""
    pictures = f"{total} image{'s' if total > 1 else ''}"
    if len(groups[0]) == total:
        return pictures
    return f"{len(groups[0])} of {pictures}, those of at least {MS_SSIM_LEAST} pixels on each side, as MS-SSIM requires"


def size_table(groups: Sequence[Group]) -> Table:
    """Make a table with a row per form and quality: mean size and scores."""
    scores = ("bpp", "psnr", "ssim", "ms_ssim")
    rows = [
        [
            _name(group),
            f"{fmean(one.bytes for one in group):,.0f}",
            *(wording.value(score, fmean(getattr(one, score) for one in group)) for score in scores),
        ]
        for group in groups
    ]
    return Table(["format", "bytes", *map(wording.title, scores)], rows)


def time_table(groups: Sequence[Group]) -> Table:
    """Make a table with a row per form and quality: median milliseconds of each step, and in total over each link."""
    links = list(groups[0][0].links)
    headers = [
        "format",
        "encode",
        "decode",
        *(f"{link}: transfer" for link in links),
        *(f"{link}: total" for link in links),
    ]
    rows = [
        [
            _name(group),
            *(
                f"{1000 * seconds:,.1f}"
                for seconds in (
                    median(one.encode for one in group),
                    median(one.decode for one in group),
                    *(median(one.links[link] for one in group) for link in links),
                    *(_seconds(group, link) for link in links),
                )
            ),
        ]
        for group in groups
    ]
    return Table(headers, rows)


def verdicts(groups: Sequence[Group]) -> list[tuple[str, str]]:
    """For each link, find the fastest form of at least the PSNR of the codec's middle quality.

    Returns:
        (label, value) pairs: PSNR and link; form, quality and median milliseconds.
    """
    quality = [fmean(one.psnr for one in group) for group in fully_scored(groups)]  # as in the tables
    own = [mean for mean, group in zip(quality, groups, strict=True) if group[0].form == groups[0][0].form]
    least = own[len(own) // 2]
    good = [group for mean, group in zip(quality, groups, strict=True) if mean >= least]
    said = []
    for link in groups[0][0].links:
        first = min(good, key=lambda group: _seconds(group, link))
        said.append((f"fastest at {least:.1f} dB, {link}", f"{_name(first)}: {1000 * _seconds(first, link):,.0f} ms"))
    return said


def _seconds(group: Group, link: str) -> float:
    return median(one.seconds(link) for one in group)


def _name(group: Group) -> str:
    form, quality = group[0].form, group[0].quality
    return form if quality is None else f"{form} {quality}"


def _forms(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """Return the groups of every form but PNG, by name, the codec's first."""
    forms: dict[str, list[Group]] = {}
    for group in groups:
        if group[0].form != PNG.name:
            forms.setdefault(group[0].form, []).append(group)
    return forms


def _curves(groups: Sequence[Group]) -> list[Curve]:
    curves = []
    for name, own in _forms(groups).items():
        bpp, *scores = (
            np.array([fmean(getattr(one, key) for one in group) for group in own]) for key in ("bpp", "psnr", "ms_ssim")
        )
        curves.append(Curve(name, bpp, dict(zip(("psnr", "ms_ssim"), scores, strict=True))))
    return curves


def _time_chart(groups: Sequence[Group]) -> np.ndarray:
    """Draw PSNR over milliseconds, a panel per link, with lossless PNG as a vertical line: uint8 [H, W, 3]."""
    links = list(groups[0][0].links)

    def paint(figure: Figure) -> None:
        axes = figure.subplots(1, len(links), sharey=True, squeeze=False)[0]
        for axis, link in zip(axes, links, strict=True):
            _paint_link(axis, groups, link)
        axes[0].set_ylabel("PSNR (dB)")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8.5)

    return draw(2.9 * len(links) + 0.4, 3.6, paint)


def _paint_link(axis: Axes, groups: Sequence[Group], link: str) -> None:
    scored = _forms(fully_scored(groups))
    for number, (name, own) in enumerate(_forms(groups).items()):
        milliseconds = [1000 * _seconds(group, link) for group in own]
        decibels = [fmean(one.psnr for one in group) for group in scored[name]]
        color = RIVAL_COLORS[(number - 1) % len(RIVAL_COLORS)] if number else ACCENT
        axis.plot(milliseconds, decibels, "o-", color=color, label=name, markersize=3, linewidth=1.3 if number else 2.2)
    for group in groups:
        if group[0].form == PNG.name:
            axis.axvline(1000 * _seconds(group, link), color=MUTED, linestyle="--", label="PNG (lossless)")
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
    axis.set_title(link)
    axis.set_xlabel("milliseconds")
    axis.grid(axis="both")
