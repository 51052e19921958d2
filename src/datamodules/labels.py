"""Cityscapes' label table, and the sets of classes that can be learned from it.

The table is that of cityscapesScripts (`helpers/labels.py`, https://github.com/mcordts/cityscapesScripts). A mask file
`*_gtFine_labelIds.png` holds ids; a `LabelSet` says which class each id becomes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from imagier.errors import ConfigError, nearest

IGNORED = 255
LABEL_SETS = ("train", "category", "category8")
UNKNOWN = 254  # in a lookup table: a value that no label has

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Label:
    """One row of the table.

    id is what a mask file holds (-1 is stored as 255 in 8 bits); train_id is 0 to 18 for the classes of the benchmark
    and 255 or -1 for the others; ignored labels count in no benchmark score.
    """

    name: str
    id: int
    train_id: int
    category: str
    ignored: bool
    color: Color


LABELS: tuple[Label, ...] = (
    Label("unlabeled", 0, 255, "void", True, (0, 0, 0)),
    Label("ego vehicle", 1, 255, "void", True, (0, 0, 0)),
    Label("rectification border", 2, 255, "void", True, (0, 0, 0)),
    Label("out of roi", 3, 255, "void", True, (0, 0, 0)),
    Label("static", 4, 255, "void", True, (0, 0, 0)),
    Label("dynamic", 5, 255, "void", True, (111, 74, 0)),
    Label("ground", 6, 255, "void", True, (81, 0, 81)),
    Label("road", 7, 0, "flat", False, (128, 64, 128)),
    Label("sidewalk", 8, 1, "flat", False, (244, 35, 232)),
    Label("parking", 9, 255, "flat", True, (250, 170, 160)),
    Label("rail track", 10, 255, "flat", True, (230, 150, 140)),
    Label("building", 11, 2, "construction", False, (70, 70, 70)),
    Label("wall", 12, 3, "construction", False, (102, 102, 156)),
    Label("fence", 13, 4, "construction", False, (190, 153, 153)),
    Label("guard rail", 14, 255, "construction", True, (180, 165, 180)),
    Label("bridge", 15, 255, "construction", True, (150, 100, 100)),
    Label("tunnel", 16, 255, "construction", True, (150, 120, 90)),
    Label("pole", 17, 5, "object", False, (153, 153, 153)),
    Label("polegroup", 18, 255, "object", True, (153, 153, 153)),
    Label("traffic light", 19, 6, "object", False, (250, 170, 30)),
    Label("traffic sign", 20, 7, "object", False, (220, 220, 0)),
    Label("vegetation", 21, 8, "nature", False, (107, 142, 35)),
    Label("terrain", 22, 9, "nature", False, (152, 251, 152)),
    Label("sky", 23, 10, "sky", False, (70, 130, 180)),
    Label("person", 24, 11, "human", False, (220, 20, 60)),
    Label("rider", 25, 12, "human", False, (255, 0, 0)),
    Label("car", 26, 13, "vehicle", False, (0, 0, 142)),
    Label("truck", 27, 14, "vehicle", False, (0, 0, 70)),
    Label("bus", 28, 15, "vehicle", False, (0, 60, 100)),
    Label("caravan", 29, 255, "vehicle", True, (0, 0, 90)),
    Label("trailer", 30, 255, "vehicle", True, (0, 0, 110)),
    Label("train", 31, 16, "vehicle", False, (0, 80, 100)),
    Label("motorcycle", 32, 17, "vehicle", False, (0, 0, 230)),
    Label("bicycle", 33, 18, "vehicle", False, (119, 11, 32)),
    Label("license plate", -1, -1, "vehicle", True, (0, 0, 142)),
)

_CATEGORIES: dict[str, Color] = {  # in the order of their ids, each in the colour of its most common label
    "void": (0, 0, 0),
    "flat": (128, 64, 128),
    "construction": (70, 70, 70),
    "object": (153, 153, 153),
    "nature": (107, 142, 35),
    "sky": (70, 130, 180),
    "human": (220, 20, 60),
    "vehicle": (0, 0, 142),
}


@dataclass(frozen=True)
class LabelSet:
    """Maps label ids to classes.

    class_of maps every id of the table to a class index, or to `ignore_index`.
    """

    name: str
    classes: tuple[str, ...]
    colors: tuple[Color, ...]
    ignore_index: int | None
    class_of: dict[int, int]

    @cached_property
    def table(self) -> np.ndarray:
        """uint8 [256]: the class of each value a mask file can hold, `UNKNOWN` where no label has that value."""
        table = np.full(256, UNKNOWN, np.uint8)
        for label_id, index in self.class_of.items():
            table[label_id % 256] = index
        return table


def ids_of(classes: Sequence[str]) -> list[int]:
    """Return the label id of each class in a mask file; for a category, that of its most common label.

    Raises:
        ConfigError: Cityscapes has no such class.
    """
    ids = {label.name: label.id for label in LABELS} | {
        name: next(label.id for label in LABELS if (label.category, label.color) == (name, color))
        for name, color in _CATEGORIES.items()
    }
    if unknown := [name for name in classes if name not in ids]:
        raise ConfigError(f"the class {unknown[0]} has no label id in Cityscapes.{nearest(unknown[0], ids)}")
    return [ids[name] for name in classes]


def find_label_set(name: str) -> LabelSet:
    """Return the label set `name`.

    train:     the benchmark's 19 classes; all other labels are ignored.
    category:  the benchmark's 7 categories; labels that its evaluation leaves out are ignored.
    category8: void and the 7 categories, every label counted and nothing ignored.

    Raises:
        ConfigError: there is no such label set.
    """
    if name == "train":
        kept = sorted((label for label in LABELS if not label.ignored), key=lambda label: label.train_id)
        class_of = {label.id: IGNORED if label.ignored else label.train_id for label in LABELS}
        return LabelSet(
            name, tuple(label.name for label in kept), tuple(label.color for label in kept), IGNORED, class_of
        )
    everything = tuple(_CATEGORIES)
    if name == "category":
        classes = everything[1:]
        class_of = {label.id: IGNORED if label.ignored else classes.index(label.category) for label in LABELS}
        return LabelSet(name, classes, tuple(_CATEGORIES[key] for key in classes), IGNORED, class_of)
    if name == "category8":
        class_of = {label.id: everything.index(label.category) for label in LABELS}
        return LabelSet(name, everything, tuple(_CATEGORIES.values()), None, class_of)
    raise ConfigError(
        f"data.label_set={name} is not a label set.{nearest(str(name), LABEL_SETS)} Choose train (19 classes), "
        f"category (7 categories, the rest ignored) or category8 (void and the 7 categories, nothing ignored)."
    )
