"""What flows from a data module to a net, and what a data module knows about itself.

Shapes are written with one letter a dimension, here and in the names of tensors:
B batch, C channels, H height, W width, K classes, N samples or pixels.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict

if TYPE_CHECKING:  # takes seconds to import, and what only reads and draws needs no tensor
    from torch import Tensor

Split = Literal["train", "val", "test", "all"]  # the last only after `ImageData.join`
SPLITS: tuple[Split, ...] = ("train", "val", "test")


class Batch(TypedDict):
    """One batch. Images stay uint8 until the net's first layer, so that every surface shares one normalisation.

    image:  uint8 [B, C, H, W], RGB or grey, 0 to 255.
    target: segment: uint8 [B, H, W] class indices, `Facts.ignore_index` where unlabelled;
            classify: int64 [B]; denoise and compress: the image itself; of sets of one's own also float32 [B].
    index:  int64 [B], always on the CPU, the sample's place in its split; where an epoch goes through the split several
            times (`data.repeat`), plus its size for every time before.
    id:     B strings, the sample's name for reports and error messages.
    features: float32 [B, F], what the frozen part of the net makes of the image, where that is known already.
    """

    image: "Tensor"
    target: "Tensor"
    index: "Tensor"
    id: list[str]
    features: NotRequired["Tensor"]


@dataclass(frozen=True)
class Facts:
    """What a data module states once; nets, losses, metrics and pictures are built from it.

    name:         of the data set, as in `data=NAME`.
    channels:     3 for RGB, 1 for grey.
    size:         (height, width) of every image a batch holds, or None where images differ.
    mean, std:    per channel, of image / 255, over the training split; used by the net's first layer.
    classes:      names in the order of their indices; empty without labels.
    colors:       one RGB triple of 0 to 255 a class, for masks and charts.
    ignore_index: the mask value that counts nowhere, or None.
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
        """How many classes there are; 0 without labels."""
        return len(self.classes)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, as checkpoints and JSON hold them."""
        return {key: _plain(value) for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Facts":
        """Undo `to_dict`."""
        return cls(**{key: frozen(value) for key, value in plain.items()})


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def frozen(value: Any) -> Any:
    """The value with tuples for lists, as `Facts` and a bundle's description hold them."""
    if isinstance(value, Mapping):
        return {key: frozen(item) for key, item in value.items()}
    return tuple(frozen(item) for item in value) if isinstance(value, list | tuple) else value
