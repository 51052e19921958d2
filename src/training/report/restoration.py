"""Report sections of task `denoise`: noisy, denoised and clean images, and scores per noise level."""

import numpy as np

from imagier.training.pictures import level_chart, wording
from imagier.training.report.exhibits import first_batch_section, samples_section
from imagier.training.report.summary import SPLIT_NAMES, Section, Summary, Table

_SCORES = ("psnr_noisy", "psnr", "ssim", "mse")  # per level


def denoise_sections(summary: Summary) -> list[Section]:
    """Return sections on samples before and after, scores per noise level and the first batch."""
    caption = (
        "Each row is one validation image, with its most detailed region magnified three times: the images that "
        "gained most, some from the middle, and those that gained least. Exact pixels are in pictures/samples.png."
    )
    first = first_batch_section(summary, "The first training samples, after augmentation and before noise is added.")
    return [*samples_section(summary, caption), *_levels(summary), *first]


def _levels(summary: Summary) -> list[Section]:
    split = summary.final_split
    scores = summary.results.get(split, {})
    levels = sorted(float(name.partition("/")[2]) for name in scores if name.startswith("psnr/"))
    if not levels:
        return []
    columns = {name: np.array([scores.get(f"{name}/{level:g}", np.nan) for level in levels]) for name in _SCORES}
    measured = {name: values for name, values in columns.items() if np.isfinite(values).any()}
    rows = [
        [f"{level:g}", *(wording.value(name, values[row]) for name, values in measured.items())]
        for row, level in enumerate(levels)
    ]
    headers = {"psnr_noisy": "PSNR, noisy", "psnr": "PSNR, denoised", "ssim": "SSIM", "mse": "MSE"}
    return [
        Section(
            "levels",
            "Noise levels",
            f"Means over the {SPLIT_NAMES[split]} split, with the same noise for each image in every run. The level "
            "is the standard deviation of the noise on the scale 0 to 255; the MSE is computed on pixel values 0 to "
            "1. Noisy images are scored as they would be saved, clipped to 0 to 255. The results above are for the "
            "noise that the network was trained with.",
            level_chart(np.array(levels), measured),
            "Curves of PSNR and SSIM over the noise level; the numbers are in the table",
            table=Table(["noise level", *(headers[name] for name in measured)], rows),
        )
    ]
