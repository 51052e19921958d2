"""Checks of network arguments. Each raises ConfigError with the value, the rule and how to fix it."""

from collections.abc import Iterable

from imagier.errors import ConfigError, nearest


def check_minimum(name: str, value: int, minimum: int = 1) -> None:
    """Raise ConfigError unless `value` is a whole number of at least `minimum`."""
    if not isinstance(value, int) or value < minimum:
        raise ConfigError(f"model.{name}={value} is out of range: it must be a whole number of at least {minimum}.")


def check_probability(name: str, value: float) -> None:
    """Raise ConfigError unless `value` lies in [0, 1)."""
    if not isinstance(value, int | float) or not 0 <= value < 1:
        raise ConfigError(f"model.{name}={value} is out of range: it must be at least 0 and less than 1.")


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise ConfigError unless `value` is one of `choices`, suggesting the nearest (and listing them all if few)."""
    known = sorted(choices)
    if value in known:
        return
    rule = f"it must be one of {', '.join(known)}" if len(known) <= 20 else f"it is not one of {len(known)} known names"
    raise ConfigError(f"model.{name}={value} is unknown: {rule}.{nearest(str(value), known)}")


def check_image_size(net: str, size: tuple[int, int] | None, minimum: int = 1) -> tuple[int, int]:
    """Return (height, width). Raises ConfigError if images have no common size, or a side is below `minimum`."""
    if size is None:
        raise ConfigError(
            f"{net} needs images of one size, but those of this data set differ: set data.size=[HEIGHT,WIDTH]."
        )
    height, width = size
    if min(height, width) < minimum:
        raise ConfigError(
            f"{net} got images of {height}x{width} pixels but needs at least {minimum}x{minimum}: set a larger "
            "data.size."
        )
    return height, width


def check_met_size(net: str, met: tuple[int, int], built_for: tuple[int, int]) -> None:
    """Raise ConfigError if an image's (height, width) is not the one that the network was built for."""
    if met != built_for:
        raise ConfigError(
            f"{net} was built for images of {built_for[0]}x{built_for[1]} pixels but got {met[0]}x{met[1]}: set "
            f"data.size=[{built_for[0]},{built_for[1]}]."
        )
