"""imagier: from a folder of images to a trained, measured and reported model.

Importing this package imports neither torch nor Lightning, so a command that only prints its configuration is fast.
"""

from typing import TYPE_CHECKING, Any

from imagier.version import __version__

if TYPE_CHECKING:
    from imagier.opening import load

__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from imagier.opening import load

        return load
    raise AttributeError(f"module 'imagier' has no attribute '{name}'")
