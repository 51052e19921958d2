"""Report sections of task `compress`: originals and decoded images, and the comparison with other codecs."""

from collections.abc import Sequence

import numpy as np

from imagier.metrics.bd_rate import bd_rate
from imagier.training.pictures import Comparison, Curve, rate_chart, wording
from imagier.training.report.exhibits import first_batch_section, samples_section
from imagier.training.report.summary import SPLIT_NAMES, Section, Summary, Table

_SCORES = ("bpp", "bpp_estimate", "psnr", "ssim", "ms_ssim")  # per rate


def compress_sections(summary: Summary) -> list[Section]:
    """Return sections on samples beside JPEG, rate-distortion curves, scores per rate and the first batch."""
    caption = (
        "Each row is one validation image at the middle rate, with its most detailed region magnified three "
        "times: the images with the best PSNR, some from the middle, and those with the worst. The JPEG is the best "
        "one that is no larger than the network's file. Exact pixels are in pictures/samples.png."
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
    one = "image" if comparison.pictures == 1 else f"{comparison.pictures} images"
    return [
        Section(
            "rate_distortion",
            "Rate and distortion",
            f"Means over the first {one} of the validation split large enough for MS-SSIM, the same for all codecs, "
            "from real files and the decoded images; other formats as written by Pillow. MS-SSIM in decibels is -10 "
            "log10(1 - MS-SSIM). The table gives the BD-rate, the mean difference in bits where two curves reach the "
            "same quality: negative means smaller files. A dash: the curves share no quality.",
            rate_chart(comparison.curves),
            f"Curves of PSNR and MS-SSIM over bits per pixel for {', '.join(one.name for one in comparison.curves)}",
            table=difference_table(comparison.curves),
            verdicts=_verdicts(net, rivals[0], f"first {one}"),
        )
    ]


def difference_table(curves: Sequence[Curve]) -> Table:
    """Return the BD-rates of the first curve against each rival, and of the other rivals against the first rival."""
    net, *rivals = curves
    pairs = [(net, rival) for rival in rivals] + [(rival, rivals[0]) for rival in rivals[1:]]
    return Table(
        ["bits at equal quality", "by PSNR", "by MS-SSIM"],
        [[f"{one.name} against {other.name}", *_differences(one, other)] for one, other in pairs],
    )


def _verdicts(net: Curve, rival: Curve, of: str) -> list[tuple[str, str]]:
    beside = _differences(net, rival)[0]
    return [
        *([(f"Bits relative to {rival.name}, by PSNR", beside)] if beside != wording.DASH else []),
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
        return []  # with a single rate, the table of results has all scores
    columns = [name for name in _SCORES if any(f"{name}/{trade_off}" in scores for trade_off in trade_offs)]
    rows = [
        [trade_off, *(wording.value(name, scores.get(f"{name}/{trade_off}")) for name in columns)]
        for trade_off in sorted(trade_offs, key=float)
    ]
    return [
        Section(
            "rates",
            "Rates",
            f"Means over the {SPLIT_NAMES[split]} split at each rate of the network, named by its lambda: the weight "
            "of the squared error against bits. Bits per pixel are those of real files, the estimate is the network's "
            "own. The results above are means over all rates.",
            table=Table(["lambda", *map(wording.title, columns)], rows),
        )
    ]
