import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagier.batch import Facts, Split
from imagier.datamodules.examination import Findings, class_weights, examine
from imagier.datamodules.outside import refuse_targets_outside
from imagier.errors import DataError

FILLS = {"train": [0, 0, 1, 2, 255, 9], "val": [1, 2], "test": [0]}


class MaskFiles:
    """Samples from text files with one number each: a mask of that value. The value 9 cannot be read."""

    def __init__(self, folder: Path) -> None:
        self.names = {"classes": ["a", "b"]}
        self.paths = sorted(folder.iterdir())
        self.ids = [path.stem for path in self.paths]
        self.reads: list[str] = []

    def __len__(self) -> int:
        return len(self.paths)

    def files(self) -> Iterator[Path]:
        yield from self.paths

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        self.reads.append(self.ids[index])
        value = int(self.paths[index].read_text())
        if value == 9:
            raise DataError(f"{self.paths[index].name} holds 9.")
        shape = (4, 5 + value % 2)
        return np.zeros((*shape, 3), np.uint8), np.full(shape, value, np.uint8)


class Labelled:
    """Samples in memory with class indices."""

    in_memory = True
    ids = ("a", "b", "c")

    def __len__(self) -> int:
        return 3

    def read(self, index: int) -> tuple[np.ndarray, int]:
        return np.zeros((2, 2, 1), np.uint8), (1, 1, 0)[index]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split, values in FILLS.items():
        (tmp_path / "set" / split).mkdir(parents=True)
        for number, value in enumerate(values):
            (tmp_path / "set" / split / f"{split}{number}.txt").write_text(str(value))
    return tmp_path / "set"


def sources(folder: Path) -> dict[Split, MaskFiles]:
    return {split: MaskFiles(folder / split) for split in ("train", "val", "test")}


def reads(of: dict[Split, MaskFiles]) -> list[str]:
    return sorted(name for source in of.values() for name in source.reads)


def test_counts_sizes_and_good_samples(folder: Path, tmp_path: Path) -> None:
    findings = examine(sources(folder), tmp_path / "cache", "skip")
    assert findings.good("train") == [0, 1, 2, 3, 4]
    assert findings.class_counts("train", 3).tolist() == [40, 24, 20]
    assert findings.class_counts("train", 3).dtype == np.int64
    assert findings.class_presence("train", 3).tolist() == [2, 1, 1]
    assert findings.sizes("train") == {(4, 5): 3, (4, 6): 2}
    assert [(*problem,) for problem in findings.problems] == [("train", "train5", "train5.txt holds 9.")]
    assert findings.to_dict()["splits"]["train"] == {"samples": 6, "unreadable": 1, "sizes": [[4, 5, 3], [4, 6, 2]]}


def test_a_second_run_reads_only_what_was_bad(folder: Path, tmp_path: Path) -> None:
    first = examine(sources(folder), tmp_path / "cache", "skip")
    again = sources(folder)
    second = examine(again, tmp_path / "cache", "skip")
    assert reads(again) == ["train5"]
    assert second == first


@pytest.mark.parametrize("change", ["content", "time", "added", "removed", "renamed"])
def test_a_changed_file_is_noticed(folder: Path, tmp_path: Path, change: str) -> None:
    first = examine(sources(folder), tmp_path / "cache", "skip")
    path = folder / "train" / "train0.txt"
    if change == "content":
        path.write_text("255")
    elif change == "time":
        os.utime(path, ns=(1, 1))
    elif change == "added":
        (folder / "train" / "train6.txt").write_text("1")
    elif change == "removed":
        path.unlink()
    else:
        path.rename(path.with_name("train00.txt"))
    again = sources(folder)
    second = examine(again, tmp_path / "cache", "skip")
    assert second.fingerprint != first.fingerprint
    assert len(again["train"].reads) == len(again["train"])
    assert again["val"].reads == []


def test_with_another_setting_reads_the_same_files_anew(folder: Path, tmp_path: Path) -> None:
    examine(sources(folder), tmp_path / "cache", "skip")
    again = sources(folder)
    again["val"].names = {"classes": ["b", "a"]}
    examine(again, tmp_path / "cache", "skip")
    assert sorted(again["val"].reads) == ["val0", "val1"]


def test_a_moved_set_keeps_its_fingerprint_and_names_its_new_place(folder: Path, tmp_path: Path) -> None:
    first = examine(sources(folder), tmp_path / "cache", "skip")
    moved = folder.rename(tmp_path / "elsewhere")
    again = sources(moved)
    assert examine(again, tmp_path / "cache", "skip").fingerprint == first.fingerprint
    assert reads(again) == ["train5"]


def test_targets_outside_the_classes_are_looked_for_once(folder: Path, tmp_path: Path) -> None:
    def looked(*classes: str, ignored: int | None = 255) -> tuple[list[str], Findings]:
        facts = Facts("own", 3, None, (0.5,) * 3, (0.5,) * 3, classes, ((0, 0, 0),) * len(classes), ignored)
        again = sources(folder)
        findings = examine(again, tmp_path / "cache", "skip")
        for source in again.values():
            source.reads.clear()
        found = refuse_targets_outside(facts, findings, again, "skip")
        return reads(again), found

    first, found = looked("a", "b")
    assert len(first) > 2
    assert [problem.id for problem in found.problems] == ["train5", "train3", "val1"]
    assert found.class_counts("train", 3).tolist() == [40, 24, 0]
    assert looked("a", "b") == (["train3", "val1"], found)
    assert [problem.id for problem in looked("a", "b", "c", ignored=None)[1].problems] == ["train5", "train4"]
    for path in (tmp_path / "cache" / "examined").glob("*-outside-*"):
        path.write_text("[77, 0")
    assert looked("a", "b") == (first, found)


def test_a_sample_that_became_readable_is_counted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examine(sources(folder), tmp_path / "cache", "skip")
    monkeypatch.setattr(
        MaskFiles, "read", lambda self, index: (np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.uint8))
    )
    for _ in range(2):  # the second time from the cache
        findings = examine(sources(folder), tmp_path / "cache", "raise")
        assert findings.class_counts("train", 3).tolist() == [60, 24, 20]
        assert findings.problems == ()


def test_errors_state_how_many_which_and_the_cure(folder: Path, tmp_path: Path) -> None:
    for number in range(10, 17):
        (folder / "val" / f"val{number}.txt").write_text("9")
    with pytest.raises(DataError) as caught:
        examine(sources(folder), tmp_path / "cache", "raise")
    sentence = str(caught.value)
    assert sentence.startswith("8 samples of 16 cannot be read")
    assert "data.on_error=skip" in sentence
    assert "imagier doctor" in sentence
    assert sentence.count("holds 9.") == 5
    assert sentence.endswith("and 3 more")


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_split_without_a_readable_sample_stops(folder: Path, tmp_path: Path, on_error: Any) -> None:
    (folder / "test" / "test0.txt").write_text("9")
    (folder / "train" / "train5.txt").unlink()
    with pytest.raises(DataError, match=r"test0\.txt holds 9"):
        examine(sources(folder), tmp_path / "cache", on_error)


def test_a_split_that_stands_in_for_another_is_read_and_reported_once(folder: Path, tmp_path: Path) -> None:
    (folder / "val" / "val9.txt").write_text("9")
    splits = {"val": MaskFiles(folder / "val"), "test": MaskFiles(folder / "val")}
    findings = examine(splits, tmp_path / "cache", "skip")
    assert splits["test"].reads == ["val9"]
    assert [problem.split for problem in findings.problems] == ["val"]
    assert findings.class_counts("test", 3).tolist() == findings.class_counts("val", 3).tolist()


def test_sets_in_memory_are_counted_and_leave_no_file(tmp_path: Path) -> None:
    findings = examine({"train": Labelled()}, tmp_path / "cache", "raise")
    assert findings.class_counts("train", 2).tolist() == [1, 2]
    assert not (tmp_path / "cache").exists()


class Unequal:
    """One large mask, mostly of class 0, and nine small ones, mostly of class 1."""

    in_memory = True
    ids = tuple("0123456789")

    def __len__(self) -> int:
        return 10

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        mask = np.full((10, 10) if index else (100, 100), index > 0, np.uint8)
        mask[: len(mask) // 10] = index == 0
        return np.zeros((*mask.shape, 3), np.uint8), mask


def test_a_class_is_as_common_as_its_share_of_pictures_that_become_of_one_size(tmp_path: Path) -> None:
    findings = examine({"train": Unequal()}, tmp_path, "raise")
    assert findings.class_counts("train", 2).tolist() == [9000 + 9 * 10, 1000 + 9 * 90]
    shares = findings.class_shares("train", 2)
    assert shares == pytest.approx([0.9 + 9 * 0.1, 0.1 + 9 * 0.9])
    assert np.allclose(class_weights(shares), class_weights(np.array([1.8, 8.2])))


def test_weights_follow_the_root_of_rarity() -> None:
    weights = class_weights(np.array([400, 100, 25]))
    assert np.allclose(weights, np.array([1, 2, 4]) / (7 / 3))


def test_weights_are_capped_and_average_one_over_what_occurs() -> None:
    weights = class_weights(np.array([10**9, 10**6, 1, 0, 10**9]))
    assert weights.max() / weights.min() == pytest.approx(10)
    assert weights[3] == 1
    assert weights[[0, 1, 2, 4]].mean() == pytest.approx(1)
    assert class_weights(np.zeros(3)).tolist() == [1, 1, 1]
    assert np.allclose(class_weights(np.array([7, 7, 7])), 1)
