"""`imagier cache`."""

import sys
from pathlib import Path

import pytest

from imagier import cli
from imagier.datamodules.photos import Photos


@pytest.fixture
def cache(materials_root: Path, tmp_path: Path) -> Path:
    data = Photos(name="mine", root=materials_root, cache=tmp_path / "cache")
    data.setup()
    (tmp_path / "cache" / "decoded" / ".abc.elsewhere.1").mkdir()
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
    assert "unfinished" in listed
    decoded = sorted(path for path in (cache / "decoded").iterdir() if not path.name.startswith("."))
    assert len(decoded) == 3
    assert "cleared 1 of" in say(cache, f"clear={decoded[0].name}", **tell)
    assert not decoded[0].exists()
    assert decoded[1].exists()
    left = decoded[1].with_name(f".cleared.{decoded[1].name}")  # by a clearing that was interrupted
    left.mkdir()
    (left / "pixels").touch()
    assert "cleared 2 of" in say(cache, f"clear={decoded[1].name},{decoded[2].name}", **tell)
    left.mkdir()
    assert "cleared 2 of" in say(cache, "clear=decoded", **tell)  # the unfinished one, and what is left
    assert list((cache / "decoded").iterdir()) == []
    assert list((cache / "examined").iterdir())
    assert "cleared 0 of" in say(cache, "clear=decoded,features", **tell)
    say(cache, "clear=all", **tell)
    assert "holds nothing" in say(cache, **tell)


def test_a_name_of_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["imagier", "cache", f"paths.cache={cache}", "clear=decodet"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "Did you mean 'decoded'?" in capsys.readouterr().err
