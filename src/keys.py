"""Settings within settings, by their dotted keys."""

from collections.abc import Iterator, Mapping
from typing import Any


def leaves(node: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every dotted key that holds no keys itself, be it an empty mapping, and its value."""
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def at(node: Mapping[str, Any], key: str) -> Any:
    """What a dotted key holds, or None where there is no such key."""
    place: Any = node
    for part in key.split("."):
        place = place.get(part) if isinstance(place, Mapping) else None
    return place


def within(key: str, places: tuple[str, ...]) -> bool:
    """Whether a dotted key is one of `places`, or lies within one."""
    return any(key == place or key.startswith(f"{place}.") for place in places)


def is_said(key: str) -> bool:
    """Whether the sentence itself gives `key`, which otherwise has the value of a file in conf/."""
    from hydra.core.hydra_config import HydraConfig

    words = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return any(word.lstrip("+").partition("=")[0] == key for word in words)
