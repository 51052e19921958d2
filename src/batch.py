"""The batch that flows from a data module to a network, and the facts that a data module states about its data.

Shapes are written with one letter per dimension, here and in the names of tensors:
B batch, C channels, H height, W width, K classes, N samples or pixels.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict

if TYPE_CHECKING:  # torch takes seconds to import, and code that only reads and draws needs no tensors
    from torch import Tensor

Split = Literal["train", "val", "test", "all"]  # the last only after `ImageData.join`
SPLITS: tuple[Split, ...] = ("train", "val", "test")


class Batch(TypedDict):
    """One batch. Images stay uint8 until the network's first layer, so that every interface shares one normalisation.

    image:  uint8 [B, C, H, W], RGB or grey, 0 to 255.
    target: segment: uint8 [B, H, W] class indices, `Facts.ignore_index` where unlabelled;
            classify: int64 [B]; denoise and compress: the image itself; custom data sets may also use float32 [B].
    index:  int64 [B], always on the CPU, the sample's position in its split; when an epoch passes over the split
            several times (`data.repeat`), plus the split's size for every earlier pass.
    id:     B strings, the sample's name for reports and error messages.
    features: float32 [B, F], cached outputs of the network's frozen part; absent where none are cached.
    """

    image: "Tensor"
    target: "Tensor"
    index: "Tensor"
    id: list[str]
    features: NotRequired["Tensor"]


@dataclass(frozen=True)
class Facts:
    """What a data module states once; networks, losses, metrics and plots are built from it.

    name:         name of the data set, as in `data=NAME`.
    channels:     3 for RGB, 1 for grey.
    size:         (height, width) of every image in a batch, or None if sizes differ.
    mean, std:    per channel, of image / 255, over the training split; used by the network's first layer.
    classes:      names in index order; empty without labels.
    colors:       one RGB triple per class, 0 to 255, for masks and charts.
    ignore_index: the mask value that losses and metrics ignore, or None.
    """

    name: str
    channels: int
    size: tuple[int, int] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...] = ()
    colors: tuple[tuple[int, int, int], ...] = ()
    ignore_index: int | None = None

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 without labels."""
        return len(self.classes)

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as plain lists, numbers and strings, for checkpoints and JSON."""
        return {key: _plain(value) for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Facts":
        """Invert `to_dict`."""
        return cls(**{key: frozen(value) for key, value in plain.items()})


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def frozen(value: Any) -> Any:
    """Return `value` with its lists turned into tuples, as `Facts` and a bundle's description hold them."""
    if isinstance(value, Mapping):
        return {key: frozen(item) for key, item in value.items()}
    return tuple(frozen(item) for item in value) if isinstance(value, list | tuple) else value
