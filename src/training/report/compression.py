"""The sections of task `compress`: pictures beside what is read from their files, and other codecs' files."""

from collections.abc import Sequence

import numpy as np

from imagier.metrics.bd_rate import bd_rate
from imagier.training.pictures import Comparison, Curve, rate_chart, wording
from imagier.training.report.exhibits import first_batch_section, samples_section
from imagier.training.report.summary import SPLIT_NAMES, Section, Summary, Table

_SCORES = ("bpp", "bpp_estimate", "psnr", "ssim", "ms_ssim")  # of each rate


def compress_sections(summary: Summary) -> list[Section]:
    """Samples beside JPEG, rate-distortion curves, scores by rate, data."""
    caption = (
        "Every row is one validation picture at the middle rate, with the part where it has most to lose enlarged "
        "three times: those of the best PSNR, some from the middle, and those of the worst. The JPEG is the best one "
        "that takes no more bytes than the net's file. Exact pixels are in pictures/samples.png."
    )
    return [
        *samples_section(summary, caption),
        *_comparison(summary.comparison),
        *_rates(summary),
        *first_batch_section(summary),
    ]


def _comparison(comparison: Comparison | None) -> list[Section]:
    if comparison is None:
        return []
    net, *rivals = comparison.curves
    one = "picture" if comparison.pictures == 1 else f"{comparison.pictures} pictures"
    return [
        Section(
            "rate_distortion",
            "Rate and distortion",
            f"Means over the first {one} of the validation split that MS-SSIM can measure, for all codecs the same, by "
            "the bytes of real files and what is read from them; the formats as Pillow writes them. MS-SSIM in "
            "decibels is -10 log10(1 - MS-SSIM). The table gives the BD-rate, the mean difference in bits where two "
            "curves reach the same quality, in decibels: less than zero is smaller. A dash: there is no such quality.",
            rate_chart(comparison.curves),
            f"Curves of PSNR and MS-SSIM over bits per pixel for {', '.join(one.name for one in comparison.curves)}",
            table=difference_table(comparison.curves),
            verdicts=_verdicts(net, rivals[0], f"first {one}"),
        )
    ]


def difference_table(curves: Sequence[Curve]) -> Table:
    """The BD-rates of the first curve against every other, and of these against the first of them."""
    net, *rivals = curves
    pairs = [(net, rival) for rival in rivals] + [(rival, rivals[0]) for rival in rivals[1:]]
    return Table(
        ["bits at equal quality", "by PSNR", "by MS-SSIM"],
        [[f"{one.name} against {other.name}", *_differences(one, other)] for one, other in pairs],
    )


def _verdicts(net: Curve, rival: Curve, of: str) -> list[tuple[str, str]]:
    beside = _differences(net, rival)[0]
    return [
        *([(f"Bits beside {rival.name}'s, by PSNR", beside)] if beside != wording.DASH else []),
        (f"Bits per pixel, {of}", _range(net.bpp, "{:.2f}")),
        (f"PSNR, {of}", _range(net.quality["psnr"], "{:.1f}") + " dB"),
    ]


def _range(values: np.ndarray, form: str) -> str:
    return " to ".join(dict.fromkeys(form.format(end) for end in (values.min(), values.max())))


def _differences(one: Curve, anchor: Curve) -> list[str]:
    return [
        wording.difference(bd_rate(anchor.bpp, anchor.decibels(name), one.bpp, one.decibels(name)))
        for name in ("psnr", "ms_ssim")
    ]


def _rates(summary: Summary) -> list[Section]:
    split = summary.final_split
    scores = summary.results.get(split, {})
    trade_offs = [name.partition("/")[2] for name in scores if name.startswith("psnr/")]
    if not trade_offs:
        return []  # of the one rate, the table of results tells all
    columns = [name for name in _SCORES if any(f"{name}/{trade_off}" in scores for trade_off in trade_offs)]
    rows = [
        [trade_off, *(wording.value(name, scores.get(f"{name}/{trade_off}")) for name in columns)]
        for trade_off in sorted(trade_offs, key=float)
    ]
    return [
        Section(
            "rates",
            "Rates",
            f"Means over the {SPLIT_NAMES[split]} split at each of the net's rates, named by its lambda: what a "
            "squared error costs in bits. Bits per pixel are those of real files, the estimate is the net's own. The "
            "results above are means over the rates.",
            table=Table(["lambda", *map(wording.title, columns)], rows),
        )
    ]
