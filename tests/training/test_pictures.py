from pathlib import Path

import numpy as np
import pytest

from imagier.batch import Facts
from imagier.training.pictures import (
    Sample,
    batch_grid,
    class_bars,
    class_colors,
    confusion_chart,
    draw_curves,
    read_history,
    sample_grid,
    wording,
)
from imagier.training.pictures.masks import error_map, mask_overlay
from imagier.training.pictures.mosaic import Row, Tile, fit, mosaic
from imagier.training.pictures.samples import _label_tile

FACTS = Facts(
    name="tiny",
    channels=3,
    size=None,
    mean=(0.5, 0.5, 0.5),
    std=(0.2, 0.2, 0.2),
    classes=("road", "sky", "$5 note"),
    colors=((128, 64, 128), (70, 130, 180), (220, 220, 0)),
    ignore_index=255,
)
RED = (230, 25, 40)


def is_picture(picture: np.ndarray) -> bool:
    return picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3 and picture.std() > 0


def shows(picture: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool((picture == color).all(2).any())


def test_overlay_blends_exact_colours() -> None:
    image = np.full((8, 8, 3), 100, np.uint8)
    mask = np.kron(np.array([[0, 1], [2, 255]], np.uint8), np.ones((4, 4), np.uint8))
    opaque = mask_overlay(image, mask, FACTS, alpha=1)
    assert [tuple(opaque[place].tolist()) for place in ((0, 0), (0, 7), (7, 0))] == list(FACTS.colors)
    half = mask_overlay(image, mask, FACTS, alpha=0.5)
    assert half[0, 0].tolist() == [114, 82, 114]
    assert half[0, 2].tolist() == [114, 82, 114]
    assert half[0, 3].tolist() == list(FACTS.colors[0])  # the class border is opaque
    assert half[0, 4].tolist() == list(FACTS.colors[1])
    assert len(set(half[7, 7].tolist())) == 1  # ignored is grey
    assert half[7, 7, 0] < 100  # and darker than the picture
    assert (mask_overlay(image, mask, FACTS, alpha=0) == image).all()
    assert (image == 100).all()


@pytest.mark.parametrize("stray", [3, 254, -1])
def test_overlay_hatches_what_is_no_class(stray: int) -> None:
    mask = np.full((16, 16), stray, np.int64)
    painted = mask_overlay(np.zeros((16, 16, 1), np.uint8), mask, FACTS, alpha=1)
    assert {tuple(pixel) for pixel in painted.reshape(-1, 3).tolist()} == {(0, 0, 0), (70, 70, 70)}


def test_ignored_class_index_is_hatched_too() -> None:
    facts = Facts("void", 1, None, (0.5,), (0.2,), ("road", "void"), ((1, 2, 3), (4, 5, 6)), ignore_index=1)
    painted = mask_overlay(np.zeros((16, 16, 1), np.uint8), np.ones((16, 16), np.uint8), facts, alpha=1)
    assert not shows(painted, (4, 5, 6))


def test_errors_are_red_where_truth_counts() -> None:
    truth = np.array([[0, 0, 255]], np.uint8)
    said = np.array([[0, 1, 1]], np.uint8)
    errors = error_map(np.full((1, 3, 3), 90, np.uint8), truth, said, FACTS)
    assert [tuple(pixel) == RED for pixel in errors[0].tolist()] == [False, True, False]


def test_colours_are_invented_when_the_data_has_none() -> None:
    facts = Facts("many", 1, None, (0.5,), (0.2,), tuple(f"class {index}" for index in range(40)))
    colors = class_colors(facts)
    assert len(set(colors)) == 40
    assert colors[:10] == class_colors(Facts("few", 1, None, (0.5,), (0.2,), facts.classes[:10]))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((28, 28, 1), (84, 84)), ((1024, 2048, 3), (50, 100)), ((99, 37, 3), (99, 37)), ((1, 3000, 3), (1, 100))],
)
def test_fit(shape: tuple[int, ...], expected: tuple[int, int]) -> None:
    assert fit(np.zeros(shape, np.uint8), 100, 100).shape == (*expected, shape[2])


def test_shrunk_masks_hold_no_new_classes() -> None:
    mask = np.random.default_rng(0).choice(np.array([0, 2, 255], np.uint8), (333, 517))
    assert set(np.unique(fit(mask, 60, 60, smooth=False))) <= {0, 2, 255}


@pytest.mark.parametrize("shape", [(7, 5, 1), (97, 131, 3), (1024, 2048, 3)])
def test_mask_grid(shape: tuple[int, int, int]) -> None:
    draws = np.random.default_rng(0)
    image = draws.integers(0, 256, shape, dtype=np.uint8)
    truth = draws.choice(np.array([0, 1, 255], np.uint8), shape[:2])
    samples = [Sample("a", image, truth, np.zeros(shape[:2], np.int64), {"iou": float("nan")})] * 2
    grid = sample_grid(samples, FACTS)
    assert is_picture(grid)
    assert grid.shape[1] < 1700
    assert shows(grid, RED)
    assert shows(grid, FACTS.colors[1])  # in the legend
    assert not shows(grid, FACTS.colors[2])  # absent classes are not listed
    assert is_picture(batch_grid(samples, FACTS))


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (375, 500, 3)])
def test_label_grid_frames_mistakes(shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    right = Sample("a/b.png", image, 1, 1, {"probability": 0.9})
    wrong = Sample("a very long name\nof two lines " * 4, image, np.int64(1), np.int64(2), {"probability": 0.4})  # type: ignore[arg-type]
    alarm = (200, 30, 30)
    assert shows(sample_grid([right, wrong], FACTS), alarm)
    calm = sample_grid([right] * 9, FACTS)
    assert not shows(calm, alarm)
    assert calm.shape[0] > sample_grid([right] * 7, FACTS).shape[0]  # a second row
    assert is_picture(batch_grid([Sample("a", image, 0)], FACTS))


def test_mosaic_keeps_pixels_exactly() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    sheet = mosaic([Row([Tile(picture), Tile(picture)], "title")], ("left", "right"), [("red", RED)])
    windows = np.lib.stride_tricks.sliding_window_view(sheet, picture.shape)[:, :, 0]
    assert (windows == picture).all((2, 3, 4)).sum() == 2


def test_confusion_with_absent_classes_and_any_number_of_them() -> None:
    for count in (2, 19, 60):
        confusion = np.eye(count, dtype=np.int64) * 10
        confusion[0] = 0
        assert is_picture(confusion_chart(confusion, [f"class {index}" for index in range(count)]))


def test_bars_with_nothing_measured() -> None:
    assert is_picture(class_bars(FACTS, np.full(3, np.nan), {"val": np.array([0.5, np.nan, 0.1])}, mean=True))
    many = Facts("many", 1, None, (0.5,), (0.2,), tuple(f"class {index}" for index in range(100)))
    assert class_bars(many, np.linspace(0, 1, 100)).shape[0] < 2000


HEADER = "epoch,step,time,train/loss,val/loss,val/iou,val/iou/road,lr,images_per_second,test/loss\n"


def history(folder: Path, *rows: str):
    (folder / "metrics.csv").write_text(HEADER + "\n".join(rows) + "\n")
    return read_history(folder / "metrics.csv")


def test_a_line_that_is_being_written_is_no_row(tmp_path: Path) -> None:
    whole = history(tmp_path, "0,1,1,0.5,0.048,0.4,,,,")
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("1,3,2,0.25,0.0")
    assert read_history(tmp_path / "metrics.csv").series("val/loss")[1] == whole.series("val/loss")[1] == [0.048]


def test_history_counts_epochs_and_forgets_the_test(tmp_path: Path) -> None:
    read = history(
        tmp_path,
        "0,5,1,2.0,,,,0.1,99,",
        "0,10,2,1.0,,,,0.1,99,",
        "0,10,2,,1.5,0.4,0.4,,,",
        "1,15,3,0.5,,,,0.1,inf,",
        "1,20,4,nan,1.2,0.6,0.6,,,",
        "2,20,5,,,,,,,0.9",
    )
    assert read.series("train/loss")[0].tolist() == [0.5, 1, 1.5]
    assert read.series("val/loss")[0].tolist() == [1, 2]
    assert read.series("val/iou")[1].tolist() == [0.4, 0.6]
    assert read.epoch_after(16) == 1.5  # steps are counted from 0
    assert read.epoch_after(21) == 2
    assert "test/loss" not in read.columns
    assert is_picture(draw_curves(read, best_step=21))


@pytest.mark.parametrize(
    "rows", [["0,1,1,2.0,,,,,,"], ["0,0,1,,nan,0.4,,,,"], ["0,1,1,1e-9,0,0,0,0,0,", "0,2,1,1,,,,,,"]]
)
def test_curves_of_hardly_anything(tmp_path: Path, rows: list[str]) -> None:
    assert is_picture(draw_curves(history(tmp_path, *rows), best_step=1))


def test_no_curves_without_rows(tmp_path: Path) -> None:
    assert draw_curves(history(tmp_path)) is None
    assert draw_curves(read_history(tmp_path / "missing.csv")) is None


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.7236, "72.4 %"),
        (1, "100.0 %"),
        (0.9996, "99.96 %"),
        (0.00004, "<0.01 %"),
        (0.99999, ">99.99 %"),
        (float("nan"), wording.DASH),
    ],
)
def test_percentages(share: float, text: str) -> None:
    assert wording.percent(share) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (999, "999"), (1234, "1.2k"), (999_999, "1.0M"), (31_000_000, "31M")]
)
def test_amounts(count: int, text: str) -> None:
    assert wording.amount(count) == text


def test_of_fractions_both_are_told_and_neither_is_wrong() -> None:
    number = Facts(name="tiny", channels=3, size=None, mean=(0.5,) * 3, std=(0.2,) * 3)
    sample = Sample("one", np.zeros((8, 8, 3), np.uint8), 0.7341, 0.4128)
    tile = _label_tile(sample, number)
    assert tile.lines == ("0.4128", "truth: 0.7341", "one")
    assert not tile.wrong
    assert _label_tile(Sample("one", sample.image, 1, 2), FACTS).wrong
