"""Nested settings addressed by dotted keys."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig


def leaves(node: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and value of every leaf; an empty mapping counts as a leaf."""
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def at(node: Mapping[str, Any], key: str) -> Any:
    """Return the value of a dotted key, or None if it does not exist."""
    place: Any = node
    for part in key.split("."):
        place = place.get(part) if isinstance(place, Mapping) else None
    return place


def within(key: str, places: tuple[str, ...]) -> bool:
    """Whether a dotted key is one of `places` or lies below one."""
    return any(key == place or key.startswith(f"{place}.") for place in places)


@contextmanager
def spoken_as(cfg: "DictConfig") -> Iterator[None]:
    """Within the block, `is_said` answers for the command line of `cfg`, a configuration with Hydra's node."""
    from hydra.core.hydra_config import HydraConfig

    instance = HydraConfig.instance()
    outer = instance.cfg
    instance.set_config(cfg)
    try:
        yield
    finally:
        instance.cfg = outer


def is_said(key: str) -> bool:
    """Whether the command line sets `key`; otherwise its value comes from a file in conf/."""
    from hydra.core.hydra_config import HydraConfig

    words = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return any(word.lstrip("+").partition("=")[0] == key for word in words)
