from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagier import synthetic
from imagier.datamodules.folder import cut
from imagier.datamodules.palette import distinct_colors
from imagier.datamodules.photos import Photos
from imagier.errors import ConfigError, DataError

SPLITS = ("train", "val", "test")


def _picture(path: Path, size: tuple[int, int] = (8, 6), color: tuple[int, int, int] = (9, 80, 200)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)


def _classes(folder: Path, names: Iterable[str] = ("cat", "dog"), count: int = 20) -> Path:
    for number, name in enumerate(names):
        for index in range(count):
            _picture(folder / name / f"{index:03d}.png", color=(number, index, 0))
    return folder


def _open(root: Path, **options: Any) -> Photos:
    data = Photos(name="photos", cache=root.parent / "cache", root=root, **options)
    data.prepare_data()
    data.setup()
    return data


def _ids(data: Photos) -> dict[str, set[str]]:
    return {split: set(data.sources[split].ids) for split in SPLITS}


def test_each_picture_arrives_once_with_the_class_of_its_folder(tmp_path: Path) -> None:
    data = _open(_classes(tmp_path / "set"))
    assert data.facts.classes == ("cat", "dog")
    seen = set()
    for split in SPLITS:
        source = data.sources[split]
        for index, name in enumerate(source.ids):
            image, label = source.read(index)
            assert image.shape == (6, 8, 3)
            assert image[0, 0].tolist() == [label, int(Path(name).stem), 0]
            assert data.facts.classes[label] == name.split("/")[0]
            seen.add(name)
    assert len(seen) == sum(len(data.sources[split]) for split in SPLITS) == 40
    batch = next(iter(data.val_dataloader()))
    assert batch["image"].shape[1:] == (3, 6, 8)
    assert batch["target"].dim() == 1


def test_nothing_changes_sides_when_files_are_added(tmp_path: Path) -> None:
    root = _classes(tmp_path / "set", count=40)
    before = _ids(_open(root))
    _classes(root, count=80)
    _classes(root, names=["ant"], count=40)
    after = _ids(_open(root))
    assert all(before[split] < after[split] for split in SPLITS)


def test_shares_are_kept_and_the_cut_is_golden() -> None:
    parts = cut([f"cat/{index:05d}.jpg" for index in range(5000)], (0.7, 0.1, 0.2))
    shares = [parts.count(split) / 5000 for split in SPLITS]
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.02)
    # Golden values: moving images between the splits would make scores incomparable with those of older versions.
    assert "".join(part[:2] for part in parts[:12]) == "trtrvatrtrtrtrtrtrtrtrtr"
    # The same name in the Unicode forms of Linux and of macOS.
    names = [f"caf\u00e9/{index}.jpg" for index in range(50)]
    assert cut(names, (0.5, 0.2, 0.3)) == cut([name.replace("\u00e9", "e\u0301") for name in names], (0.5, 0.2, 0.3))


def test_some_classes_and_so_many_pictures_of_each(tmp_path: Path) -> None:
    root = _classes(tmp_path / "set", names=["ant", "bee", "cat", "dog"], count=40)
    whole, part = _open(root), _open(root, classes=["dog", "bee"], per_class=5)
    assert part.facts.classes == ("bee", "dog")
    of_train = [name for name in whole.sources["train"].ids if name.startswith(("bee", "dog"))]
    first = {label: [name for name in of_train if name.startswith(label)][:5] for label in ("bee", "dog")}
    assert set(part.sources["train"].ids) == {*first["bee"], *first["dog"]}
    assert set(part.sources["val"].ids) == {name for name in whole.sources["val"].ids if name[:3] in ("bee", "dog")}
    with pytest.raises(
        ConfigError, match=r"has no class beee, which data.classes contains; it has ant, bee, cat, dog. Did"
    ):
        _open(root, classes=["beee", "dog"])
    with pytest.raises(DataError, match=r"has only the class 'bee' of data.classes; .* Add to data.classes"):
        _open(root, classes=["bee"])
    with pytest.raises(ConfigError, match=r"data.labels=false has none"):
        _open(root, labels=False, per_class=5)


def test_without_a_share_for_test_validation_takes_its_place_and_that_is_said(tmp_path: Path) -> None:
    data = _open(_classes(tmp_path / "set"), split=[0.8, 0.2, 0.0])
    assert data.sources["test"].ids == data.sources["val"].ids
    assert len(data.sources["train"]) + len(data.sources["val"]) == 40
    assert any("the validation split is used as the test split" in note for note in data.notes)


@pytest.mark.parametrize("count", range(3, 12))
def test_small_sets_leave_no_split_empty(count: int) -> None:
    for draw in range(20):
        parts = cut([f"{draw}/{index}" for index in range(count)], (0.7, 0.1, 0.2))
        assert set(parts) == set(SPLITS)
    assert set(cut(["a", "b"], (0.1, 0.45, 0.45))) == {"train"}
    assert "val" not in cut([str(index) for index in range(200)], (0.8, 0.0, 0.2))


@pytest.mark.parametrize(("val", "test"), [("val", "test"), ("valid", "Test"), ("validation", "testing")])
def test_folders_of_their_own(tmp_path: Path, val: str, test: str) -> None:
    root = tmp_path / "set"
    for name, count in (("train", 5), (val, 3), (test, 2)):
        _classes(root / name, count=count)
    _picture(root / "cover.png")
    data = _open(root)
    assert [len(data.sources[split]) for split in SPLITS] == [10, 6, 4]
    assert f"{val}/dog/002.png" in data.sources["val"].ids
    assert data.facts.classes == ("cat", "dog")


def test_what_has_no_folder_is_cut_from_training(tmp_path: Path) -> None:
    root = tmp_path / "set"
    _classes(root / "train", count=100)
    _classes(root / "val", count=10)
    data = _open(root)
    sizes = {split: len(data.sources[split]) for split in SPLITS}
    assert sizes["val"] == 20
    assert sizes["train"] + sizes["test"] == 200
    assert 20 <= sizes["test"] <= 60
    assert all(name.startswith("train/") for name in data.sources["test"].ids)


def test_train_may_be_a_class(tmp_path: Path) -> None:
    data = _open(_classes(tmp_path / "set", names=["bus", "car", "train"], count=5))
    assert data.facts.classes == ("bus", "car", "train")


@pytest.mark.parametrize(("names", "told"), [("cat dog test", ["test"]), ("bus train", ["train"]), ("cat dog", [])])
def test_a_class_that_bears_the_name_of_a_split_is_told(tmp_path: Path, names: str, told: list[str]) -> None:
    data = _open(_classes(tmp_path / "set", names=names.split(), count=5))
    assert data.facts.classes == tuple(names.split())
    assert [note.partition(" is used as a class")[0] for note in data.notes] == [
        f"data=photos: the folder {name}" for name in told
    ]


def test_what_lies_beside_the_folders_of_splits_is_told(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for name in ("train", "val"):
        _classes(root / name, count=10)
    assert _open(root).notes == []
    for number in range(10):
        _picture(root / f"{number}.PNG")
    (root / "train" / "readme.txt").touch()
    _picture(root / ".hidden.png")
    _classes(root / "more")
    data = _open(root)
    assert sum(len(data.sources[split]) for split in SPLITS) == 40
    assert data.notes == [
        "data=photos: skipped files that are not images: 1 x .txt.",
        "data=photos: skipped entries next to train and val: 10 x .png, more/.",
    ]


def test_a_net_may_be_asked_about_pictures_that_lack_a_class(tmp_path: Path) -> None:
    root = _classes(tmp_path / "set", names=["cat", "dog"], count=10)
    known = ("ant", "cat", "dog")
    data = _open(root, known=known)
    assert data.facts.classes == known
    assert data.findings.class_counts("train", 3)[0] == 0
    assert data.sources["val"].read(0)[1] in (1, 2)
    assert _open(root, known=("ant", "cat")).facts.classes == ("cat", "dog")  # not the known ones: refused later


def test_the_first_samples_are_a_mixture(tmp_path: Path) -> None:
    data = _open(_classes(tmp_path / "set", count=40), limit=16)
    assert len(data.sources["train"]) == 16
    labels = [name.split("/")[0] for name in data.sources["train"].ids]
    assert data.class_counts().tolist() == [labels.count(name) for name in data.facts.classes]  # used for class weights
    assert 0 < labels.count(data.facts.classes[0]) < 16
    assert sum(data.findings.sizes("train").values()) == 16


def test_nested_hidden_and_foreign_files_and_links(tmp_path: Path) -> None:
    root = _classes(tmp_path / "set", count=5)
    _picture(root / "cat" / "2024" / "may" / "deep.PNG")
    _picture(root / "cat" / ".hidden.png")
    _picture(root / ".trash" / "old.png")
    (root / "cat" / "notes.txt").write_text("no picture")
    (root / "cat" / "Thumbs.db").write_text("no picture")
    (root / "dog" / "README").write_text("no picture")
    elsewhere = tmp_path / "elsewhere"
    _picture(elsewhere / "linked.png")
    (root / "dog" / "more").symlink_to(elsewhere)
    (root / "dog" / "loop").symlink_to(root)
    for one, other in (("cat", "dog"), ("dog", "cat")):
        (root / one / f"{other}s").symlink_to(root / other)
    data = _open(root)
    names = set().union(*_ids(data).values())
    assert len(names) == 12 + 12  # each class's once more as the other's, by the links to one another
    assert {"cat/2024/may/deep.PNG", "dog/more/linked.png"} < names
    assert data.facts.classes == ("cat", "dog")
    assert data.ignored == {".txt": 2, ".db": 2, "": 2}


def test_size_auto(tmp_path: Path) -> None:
    root = _classes(tmp_path / "set")
    assert _open(root).facts.size == (6, 8)
    _picture(root / "cat" / "wide.png", size=(300, 100))
    data = _open(root)
    assert data.facts.size == (224, 224)
    assert next(iter(data.train_dataloader()))["image"].shape[2:] == (224, 224)
    data = _open(root, size=[10, 12])
    assert data.facts.size == (10, 12)
    assert next(iter(data.test_dataloader()))["image"].shape[2:] == (10, 12)
    assert _open(root, labels=False).facts.size is None


def test_without_labels_the_picture_is_its_own_target(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for index in range(12):
        _picture(root / f"{index}.png", color=(index, 0, 0))
    data = _open(root, labels=False, channels=1)
    assert (data.facts.classes, data.facts.channels, data.facts.size) == ((), 1, (6, 8))
    image, target = data.sources["train"].read(0)
    assert image.shape == (6, 8, 1)
    assert target is image
    assert sum(len(data.sources[split]) for split in SPLITS) == 12


def test_photographs_of_several_sizes_train_on_crops_and_are_measured_whole(tmp_path: Path) -> None:
    import albumentations

    for number in range(30):
        _picture(tmp_path / f"{number}.png", (20 + number, 30 - number // 2))
    crops = [albumentations.RandomCrop(height=8, width=8)]
    data = _open(tmp_path, labels=False, batch_size=8, augment=crops, repeat=3)
    count = len(data.sources["train"])
    batches = list(data.loader("train", shuffle=True))
    assert len(batches) == 3 * count // 8
    assert {tuple(batch["image"].shape[1:]) for batch in batches} == {(3, 8, 8)}
    seen = sorted(int(index) for batch in batches for index in batch["index"])
    assert len(set(seen)) == len(seen)
    assert max(seen) >= 2 * count  # the third pass
    whole = [tuple(batch["image"].shape) for batch in data.loader("val")]
    assert len(whole) == len(data.sources["val"]) > 1
    assert {shape[0] for shape in whole} == {1}
    assert len(set(whole)) > 1


def test_augmenting_first_cuts_from_pictures_as_they_are(tmp_path: Path) -> None:
    import albumentations

    for number in range(12):  # black and white columns, grey at half the size
        path = tmp_path / "set" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.tile(np.array([0, 255], np.uint8), (20, 8)).repeat(3).reshape(20, 16, 3)).save(path)
    crop = [albumentations.RandomCrop(height=10, width=8)]
    options: dict[str, Any] = {"labels": False, "size": (10, 8), "batch_size": 4, "augment": crop}
    for shown, expected in ((True, {0, 255}), (False, {128})):
        data = _open(tmp_path / "set", augment_first=shown, **options)
        batches = list(data.loader("train", shuffle=True))
        assert {tuple(batch["image"].shape) for batch in batches} == {(4, 3, 10, 8)}
        assert {int(value) for batch in batches for value in batch["image"].unique()} == expected
        assert {int(value) for batch in data.loader("val") for value in batch["image"].unique()} == {128}


def test_grey(tmp_path: Path) -> None:
    facts = _open(_classes(tmp_path / "set"), channels=1).facts
    assert len(facts.mean) == len(facts.std) == facts.channels == 1


def test_the_embedded_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "ensure", lambda name, cache: _classes(cache / name), raising=False)
    data = Photos(name="materials", cache=tmp_path, embedded="materials")
    data.prepare_data()
    data.setup()
    assert data.facts.name == "materials"
    with pytest.raises(ConfigError, match=r"data=materials is generated .* Remove data\.root"):
        Photos(name="materials", cache=tmp_path, embedded="materials", root=tmp_path).prepare_data()


def test_a_new_class_in_one_split_renumbers_the_others(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for split in SPLITS:
        _classes(root / split, count=4)
    _open(root)
    _classes(root / "train", names=["ant"], count=4)
    data = _open(root)
    assert data.findings.class_counts("val", 3).tolist() == [0, 4, 4]


def test_a_set_is_the_same_by_any_path_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _classes(tmp_path / "set")
    whole = _open(root).findings
    for place, said in ((root, "."), (tmp_path, "set"), (root / "cat", ".."), (root, f"{root}/cat/..")):
        monkeypatch.chdir(place)
        data = Photos(name="photos", cache=tmp_path / "cache", root=said)
        data.setup()
        assert data.findings == whole, said


def test_colors_are_distinct_and_do_not_depend_on_the_count() -> None:
    colors = distinct_colors(1000)
    assert len(set(colors)) == 1000
    assert distinct_colors(7) == colors[:7]
    first = np.array(colors[:12], dtype=float)
    distances = np.linalg.norm(first[:, None] - first[None], axis=-1) + 1e9 * np.eye(12)
    assert distances.min() > 40
