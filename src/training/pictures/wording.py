"""Formatting of metrics and amounts for people, in charts and on pages alike."""

import math

DASH = "\N{EN DASH}"  # for undefined values

_TITLES = {
    "iou": "Mean IoU",
    "lr": "Learning rate",
    "images_per_second": "Images per second",
    "data_wait_share": "Time waiting for data",
    "psnr": "PSNR",
    "psnr_noisy": "PSNR of noisy images",
    "ssim": "SSIM",
    "ms_ssim": "MS-SSIM",
    "mse": "MSE",
    "bpp": "Bits per pixel",
    "bpp_estimate": "Bits per pixel, estimated",
    "mismatches": "Files that decode to different pixels than encoded",
    "misestimates": "Files more than 1 % and 64 bytes off their estimate",
    "estimate_error": "Difference between file size and estimate",
    "f1": "F1",
}
_SHARES = {
    "iou", "accuracy", "class_accuracy", "data_wait_share", "mismatches", "misestimates",
    "f1", "precision", "recall", "dice",  # of user-defined tasks
}  # fmt: skip
_FORMATS = {
    "psnr": "{:.2f} dB",
    "psnr_noisy": "{:.2f} dB",
    "ssim": "{:.4f}",
    "ms_ssim": "{:.4f}",
    "bpp": "{:.3f}",
    "bpp_estimate": "{:.3f}",
    "estimate_error": "{:.1f} bytes",
}


def title(metric: str) -> str:
    """Return the heading of a metric: "pixel_accuracy" -> "Pixel accuracy"."""
    name, _, part = metric.partition("/")
    heading = _TITLES.get(name) or name.replace("_", " ").capitalize()
    return f"{heading} · {part}" if part else heading


def is_share(metric: str) -> bool:
    """Return whether the metric is a share from 0 to 1 that is shown as a percentage."""
    return metric.split("/")[0] in _SHARES


def value(metric: str, number: float | None) -> str:
    """Return a metric's value with its unit; a percentage for shares, a dash if undefined."""
    if number is None or not math.isfinite(number):
        return DASH
    return percent(number) if is_share(metric) else _FORMATS.get(metric.split("/")[0], "{:.4g}").format(number)


def percent(share: float) -> str:
    """Return a share as a percentage: 0.7236 -> "72.4 %"; a dash for NaN."""
    if not math.isfinite(share):
        return DASH
    # Almost all must not be rounded to 100 %, nor hardly anything to 0 %.
    if 0 < share < 0.0001:
        return "<0.01 %"
    if 0.9999 < share < 1:
        return ">99.99 %"
    digits = 1 if 0.001 <= share <= 0.999 or share in (0, 1) else 2
    return f"{100 * share:.{digits}f} %"


def difference(share: float) -> str:
    """Return a relative difference with its sign: 0.2314 -> "+23.1 %"; a true minus sign, a dash for NaN."""
    return f"{100 * share:+.1f} %".replace("-", "\N{MINUS SIGN}") if math.isfinite(share) else DASH


def axis_percent(share: float, _position: int | None = None) -> str:
    """Return a share as a short percentage, 0.125 -> "12.5 %", with the signature of an axis formatter."""
    return f"{100 * share:g} %"


def amount(number: float) -> str:
    """Return a count in at most four characters: 950, 1.2k, 34M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * size:
            scaled = number / size
            return f"{scaled:.1f}{unit}" if scaled < 9.95 else f"{scaled:.0f}{unit}"
    return f"{number:.0f}"


def duration(seconds: float) -> str:
    """Return a duration in seconds as text: 3725 -> "1 h 2 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left} min" if hours else f"{minutes} min {rest} s"
