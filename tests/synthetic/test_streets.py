from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagier.randomness import generator
from imagier.synthetic.stage import Stage
from imagier.synthetic.street_ground import Street
from imagier.synthetic.street_light import draw_light
from imagier.synthetic.street_vehicles import Vehicle
from imagier.synthetic.streets import _traffic, generate, scene

CATEGORIES = {
    "flat": {7, 8}, "construction": {11, 12, 13}, "object": {17, 19, 20}, "nature": {21, 22}, "sky": {23},
    "human": {24, 25}, "vehicle": {26, 27, 28, 32, 33},
}  # fmt: skip
VOID = {1, 3, 4}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streets")
    generate(folder, train=5, val=12, test=2)
    return folder


def labels(root: Path, split: str) -> list[np.ndarray]:
    return [np.array(Image.open(path)) for path in sorted((root / "gtFine" / split).rglob("*.png"))]


def test_names_pair_as_cityscapes_publishes_them(root: Path) -> None:
    for split, count in (("train", 5), ("val", 12), ("test", 2)):
        pictures = sorted((root / "leftImg8bit" / split).glob("*/*_leftImg8bit.png"))
        assert len(pictures) == count
        for path in pictures:
            city, sequence, frame, _ = path.name.split("_")
            assert city == path.parent.name
            assert (len(sequence), len(frame)) == (6, 6)
            mask = root / "gtFine" / split / city / path.name.replace("leftImg8bit", "gtFine_labelIds")
            with Image.open(path) as picture, Image.open(mask) as label:
                assert (picture.mode, label.mode) == ("RGB", "L")
                assert picture.size == label.size == (192, 96)


def test_splits_share_no_city(root: Path) -> None:
    cities = [{path.name for path in (root / "gtFine" / split).iterdir()} for split in ("train", "val", "test")]
    assert len(set.union(*cities)) == sum(map(len, cities))


def test_official_table_knows_every_label_and_evaluates_the_categories(root: Path) -> None:
    from cityscapesscripts.helpers.labels import id2label as table

    met = {int(value) for label in labels(root, "val") for value in np.unique(label)}
    for value in met:
        wanted = "void" if value in VOID else next(name for name, ids in CATEGORIES.items() if value in ids)
        assert table[value].category == wanted
        assert table[value].ignoreInEval == (value in VOID)


def test_most_scenes_hold_every_category_and_some_void(root: Path) -> None:
    scenes = labels(root, "val")
    for ids in (*CATEGORIES.values(), VOID):
        assert sum(bool(np.isin(label, list(ids)).any()) for label in scenes) >= 0.8 * len(scenes)
    shares = {name: np.mean([np.isin(label, list(ids)).mean() for label in scenes]) for name, ids in CATEGORIES.items()}
    assert min(shares.values()) > 0.01
    assert max(shares.values()) < 0.5


def test_a_scene_depends_on_seed_split_and_index_alone(root: Path, tmp_path: Path) -> None:
    generate(tmp_path / "same", train=2, val=0, test=1)
    generate(tmp_path / "other", train=2, val=0, test=1, seed=1)
    for path in (tmp_path / "same").rglob("*.png"):
        name = path.relative_to(tmp_path / "same")
        assert path.read_bytes() == (root / name).read_bytes()
        assert path.read_bytes() != (tmp_path / "other" / name).read_bytes()


def test_a_vehicle_crosses_at_its_distance_whoever_waits_there(monkeypatch: pytest.MonkeyPatch) -> None:
    crossings: list[float] = []
    monkeypatch.setattr(Vehicle, "cross", lambda self, stage, rng, x, z: crossings.append(z))
    for index in range(12):
        rng = generator("crossing", index)
        stage = Stage((30, 60), 50, (30, 13), 1.5, draw_light(rng))
        street = replace(Street.draw_lots(rng), crossing=20.0, crossing_width=9.0)
        for distance, draw in _traffic(stage, street, rng):
            met = len(crossings)
            draw()
            assert crossings[met:] in ([], [distance])
    assert len(crossings) > 3
    assert all(21.5 <= z <= 27.5 for z in crossings)  # behind the people, who wait in front of the crossing


def test_every_ground_pixel_lies_below_every_horizon() -> None:
    for index in range(4):
        _, label = scene(generator("test", index), (96, 192))
        assert not np.isin(label[: int(96 * 0.37)], [7, 8, 22]).any()
        assert not (label[int(96 * 0.52) :] == 23).any()


def test_other_sizes() -> None:
    picture, label = scene(generator("test", 9), (50, 130))
    assert picture.shape == (50, 130, 3)
    assert label.shape == (50, 130)
    assert picture.std() > 10
