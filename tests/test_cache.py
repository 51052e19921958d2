"""`imagier cache` lists and clears what imagier has written, and nothing else."""

import sys
from pathlib import Path

import pytest

from imagier import cli, synthetic
from imagier.datamodules.decoded import Writer, place
from imagier.datamodules.fingerprint import digest
from imagier.datamodules.photos import Photos
from imagier.files import beside, write_aside


@pytest.fixture
def cache(materials_root: Path, tmp_path: Path) -> Path:
    data = Photos(name="mine", root=materials_root, cache=tmp_path / "cache")
    data.setup()
    (tmp_path / "cache" / "decoded" / f".{digest('')}-6x8-2.else.where.1").mkdir()
    return tmp_path / "cache"


def say(cache: Path, *words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(sys, "argv", ["imagier", "cache", f"paths.cache={cache}", *words])
    cli.main()
    return capsys.readouterr().out


def test_lists_and_clears(
    cache: Path, materials_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tell = {"monkeypatch": monkeypatch, "capsys": capsys}
    listed = say(cache, **tell)
    assert "mine train" in listed
    assert str(materials_root) in listed
    assert "incomplete" in listed
    decoded = sorted(path for path in (cache / "decoded").iterdir() if not path.name.startswith("."))
    assert len(decoded) == 3
    assert "cleared 1 of" in say(cache, f"clear={decoded[0].name}", **tell)
    assert not decoded[0].exists()
    assert decoded[1].exists()
    left = decoded[1].with_name(f".cleared.{decoded[1].name}")  # left by an interrupted clearing
    left.mkdir()
    (left / "pixels").touch()
    assert "cleared 2 of" in say(cache, f"clear={decoded[1].name},{decoded[2].name}", **tell)
    left.mkdir()
    assert "cleared 2 of" in say(cache, "clear=decoded", **tell)  # the unfinished one, and the one left by the clearing
    assert list((cache / "decoded").iterdir()) == []
    assert list((cache / "examined").iterdir())
    assert "cleared 0 of" in say(cache, "clear=decoded,features", **tell)
    say(cache, "clear=all", **tell)
    assert "holds nothing" in say(cache, **tell)


def test_clears_what_it_wrote_and_nothing_that_lies_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tell = {"monkeypatch": monkeypatch, "capsys": capsys}
    theirs = [
        tmp_path / name
        for name in (
            "features/mine.csv", "features/.mine.npy", "embedded/board/1.txt", "embedded/streets-v2.zip",
            "decoded/0123456789abcdef/1.png", "decoded/.git/config", "examined/patients.json",
        )
    ]  # fmt: skip
    for path in theirs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert "holds nothing" in say(tmp_path, **tell)
    whole = place(tmp_path, digest("a"), None)
    Writer(whole.with_name(whole.name.replace("whole", "24x30")), 1, None, {}, 1)  # never finished
    (tmp_path / "decoded" / f".cleared.{whole.name}").mkdir()
    for name in (f"features/{digest('b')}.npy", f"examined/{digest('c')}-first-100000.json"):
        write_aside(tmp_path / name, lambda aside: aside.with_name(f"{aside.name[:-8]}a_dead_1").touch())
    monkeypatch.setitem(synthetic.SETS, "streets", (7, lambda folder, progress: folder.mkdir(), "nothing"))
    folder = synthetic.ensure("streets", tmp_path)
    beside(folder).mkdir()  # left by a process that died
    assert "cleared 8 of 8 entries" in say(tmp_path, "clear=all", **tell)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(theirs)


def test_a_name_of_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["imagier", "cache", f"paths.cache={cache}", "clear=decodet"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "Did you mean 'decoded'?" in capsys.readouterr().err
