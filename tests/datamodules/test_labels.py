import numpy as np
import pytest

from imagier.datamodules.labels import LABELS, UNKNOWN, find_label_set
from imagier.errors import ConfigError


def test_the_table_is_that_of_cityscapesscripts() -> None:
    from cityscapesscripts.helpers.labels import labels as official

    ours = [(row.name, row.id, row.train_id, row.category, row.ignored, row.color) for row in LABELS]
    assert ours == [(row.name, row.id, row.trainId, row.category, row.ignoreInEval, row.color) for row in official]


def test_train_has_the_nineteen_classes_of_the_benchmark() -> None:
    labels = find_label_set("train")
    kept = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    assert labels.table[kept].tolist() == list(range(19))
    assert set(labels.table[[*sorted(set(range(34)) - set(kept)), 255]]) == {255}
    assert (labels.classes[0], labels.classes[16], labels.classes[18]) == ("road", "train", "bicycle")
    assert labels.colors[13] == (0, 0, 142)


def test_category_leaves_out_what_the_benchmark_leaves_out() -> None:
    labels = find_label_set("category")
    assert labels.classes == ("flat", "construction", "object", "nature", "sky", "human", "vehicle")
    flat, construction, thing, nature, sky, human, vehicle = range(7)
    expected = [255] * 7 + [flat, flat, 255, 255] + [construction] * 3 + [255] * 3 + [thing, 255, thing, thing]
    expected += [nature, nature, sky, human, human, vehicle, vehicle, vehicle, 255, 255, vehicle, vehicle, vehicle]
    assert labels.table[:34].tolist() == expected
    assert labels.table[255] == 255


def test_category8_counts_every_label() -> None:
    labels = find_label_set("category8")
    expected = [0] * 7 + [1] * 4 + [2] * 6 + [3] * 4 + [4] * 2 + [5] + [6] * 2 + [7] * 8
    assert labels.table[:34].tolist() == expected
    assert labels.table[255] == 7  # -1, the licence plate
    assert (labels.classes[0], labels.ignore_index) == ("void", None)


@pytest.mark.parametrize("name", ["train", "category", "category8"])
def test_values_without_a_label_stand_out(name: str) -> None:
    labels = find_label_set(name)
    assert np.flatnonzero(labels.table == UNKNOWN).tolist() == list(range(34, 255))
    assert len(labels.classes) == len(labels.colors) == len(set(labels.table) - {UNKNOWN, labels.ignore_index})


def test_a_misspelt_label_set_is_recognised() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'category'"):
        find_label_set("categroy")
