from functools import partial
from pathlib import Path
from typing import Any

import pytest

from imagier import synthetic
from imagier.errors import ConfigError, DataError
from imagier.synthetic import ensure, garments, leaves, materials, streets

SMALL = {
    "garments": partial(garments.generate, train=20, test=10),
    "leaves": partial(leaves.generate, count=4, size=(64, 64)),
    "materials": partial(materials.generate, per_class=2),
    "streets": partial(streets.generate, train=1, val=1, test=1),
}


@pytest.fixture(autouse=True)
def small_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {name: (version, SMALL[name], contents) for name, (version, _, contents) in synthetic.SETS.items()}
    monkeypatch.setattr(synthetic, "SETS", small)


@pytest.mark.parametrize("name", SMALL)
def test_generates_once_and_says_so_once(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ensure(name, tmp_path)
    announced = capsys.readouterr().err
    assert announced.count("Generating") == 1
    assert str(folder) in announced
    assert folder.parent == tmp_path / "embedded"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert len(before) > 3

    assert ensure(name, tmp_path) == folder
    assert capsys.readouterr() == ("", "")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert list(folder.parent.iterdir()) == [folder]
    again = ensure(name, tmp_path / "elsewhere")  # an equal set with an equal fingerprint, so that runs can be compared
    assert {path.relative_to(again): path.stat().st_mtime_ns for path in again.rglob("*") if path.is_file()} == {
        path.relative_to(folder): time for path, time in before.items() if path.is_file()
    }


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(root: Path, **_: Any) -> None:
        materials.generate(root, per_class=1)
        raise KeyboardInterrupt

    monkeypatch.setitem(synthetic.SETS, "materials", (1, interrupted, "materials"))
    with pytest.raises(KeyboardInterrupt):
        ensure("materials", tmp_path)
    assert list((tmp_path / "embedded").iterdir()) == []


def test_whoever_comes_second_uses_the_winners_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    winner = tmp_path / "embedded" / "materials-v1"

    def overtaken(root: Path, **_: Any) -> None:
        materials.generate(root, per_class=1)
        winner.mkdir()
        (winner / "theirs").touch()

    monkeypatch.setitem(synthetic.SETS, "materials", (1, overtaken, "materials"))
    assert ensure("materials", tmp_path) == winner
    assert [path.name for path in winner.iterdir()] == ["theirs"]
    assert list(winner.parent.iterdir()) == [winner]


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(DataError, match=r"could not be written to .*file.*another cache folder"):
        ensure("materials", blocked)


def test_an_unknown_name_is_met_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'strets'.*Did you mean 'streets'"):
        ensure("strets", tmp_path)
