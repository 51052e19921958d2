"""The cache of decoded samples when files, disks and processes fail."""

import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from imagier import files
from imagier.batch import SPLITS
from imagier.datamodules import decoded as format_of_decoded
from imagier.datamodules import keeping, survey
from imagier.datamodules.decoded import PixelFile, Stored, Writer
from imagier.datamodules.photos import Photos
from tests.datamodules.test_decoded import batches, equal, folders, kept, photographs, ready


@pytest.mark.parametrize("damage", ["cut", "gone", "index", "about"])
def test_a_damaged_folder_is_written_again(tmp_path: Path, damage: str) -> None:
    root = photographs(tmp_path / "set")
    whole = batches(ready(Photos, root))
    for folder in (tmp_path / "cache" / "decoded").iterdir():
        match damage:
            case "cut":
                os.truncate(folder / "pixels", 100)
            case "gone":
                (folder / "pixels").unlink()
            case "index":
                os.truncate(folder / "index.npy", 150)
            case "about":
                (folder / "about.json").write_text("{")
    again = ready(Photos, root)
    assert kept(again)
    assert equal(batches(again), whole)


def test_a_full_disk_costs_only_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("imagier"), "propagate", True)
    root = photographs(tmp_path / "set")
    whole = batches(ready(Photos, root, decode_once=False))
    append = PixelFile.append

    def full(file: PixelFile, samples: Any) -> Stored:
        if file.path.stat().st_size:
            raise OSError(28, "No space left on device")
        return append(file, samples)

    monkeypatch.setattr(PixelFile, "append", full)
    data = ready(Photos, root)
    assert equal(batches(data), whole)
    assert folders(root) == []
    assert "No space left on device" in caplog.text
    assert "data.decode_once=false" in caplog.text


@pytest.mark.parametrize("method", ["finish", "add"])
def test_a_disk_that_fills_at_any_moment_costs_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    root = photographs(tmp_path / "set")

    def full(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Writer, method, full)
    assert len(batches(ready(Photos, root))) == 9
    assert folders(root) == []


def test_auto_leaves_half_of_the_free_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = photographs(tmp_path / "set")
    usage = shutil.disk_usage(tmp_path)._replace(free=12 * 24 * 30 * 3 + 5)
    monkeypatch.setattr(keeping.shutil, "disk_usage", lambda path: usage)
    assert not kept(ready(Photos, root))
    assert kept(ready(Photos, root, decode_once=True))


def test_a_set_without_room_in_the_cache_is_not_read_whole_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = photographs(tmp_path / "set")
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(keeping.shutil, "disk_usage", lambda path: usage)
    first = ready(Photos, root).findings
    read = []
    look = survey.look_closely
    monkeypatch.setattr(survey, "look_closely", lambda *given: read.append(given) or look(*given))
    assert ready(Photos, root).findings == first
    assert len(read) == len(SPLITS)  # one sample per split, to check whether there is room now


@pytest.mark.parametrize("place", ["cache", "cache/decoded", "cache/examined"])
@pytest.mark.parametrize("once", [True, False])
def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, place: str, once: bool) -> None:
    root = photographs(tmp_path / "set")
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("a file where the folder should be")
    assert len(batches(ready(Photos, root, decode_once=once))) == 9


def test_a_damaged_examination_is_made_again(tmp_path: Path) -> None:
    root = photographs(tmp_path / "set")
    whole = ready(Photos, root).findings
    for text in ("", "{", '{"counts": 3}'):
        for path in (tmp_path / "cache" / "examined").iterdir():
            path.write_text(text)
        assert ready(Photos, root).findings == whole


def test_unreadable_samples_are_left_out_and_looked_at_again(tmp_path: Path) -> None:
    root = photographs(tmp_path / "set")
    broken = root / "train" / "cats" / "4.png"
    broken.write_bytes(b"")
    first, later = (ready(Photos, root, on_error="skip") for _ in range(2))
    assert kept(later)
    assert [problem.id for problem in later.findings.problems] == ["train/cats/4.png"]
    assert equal(batches(later), batches(first))
    assert equal(batches(later), batches(ready(Photos, root, on_error="skip", decode_once=False)))


def _setup(root: Path) -> None:
    ready(Photos, root)


def test_two_processes_that_write_at_once(tmp_path: Path) -> None:
    root = photographs(tmp_path / "set", count=60)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_setup, args=(root,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert len(folders(root)) == 3
    assert equal(batches(ready(Photos, root)), batches(ready(Photos, root, decode_once=False)))


SLOWLY = """
import sys, time
from pathlib import Path
from imagier.datamodules.decoded import Writer
from imagier.datamodules.photos import Photos
add = Writer.add
def slowly(writer, stored):
    add(writer, stored)
    print("one", flush=True)
    time.sleep(0.5)
Writer.add = slowly
Photos(name="set", root=sys.argv[1], cache=sys.argv[2]).setup()
"""


def test_a_process_that_dies_while_writing_leaves_no_half_folder(tmp_path: Path) -> None:
    root = photographs(tmp_path / "set")
    words = [sys.executable, "-c", SLOWLY, str(root), str(tmp_path / "cache")]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    (left,) = folders(root)
    assert left.startswith(".")
    data = ready(Photos, root)
    assert equal(batches(data), batches(ready(Photos, root, decode_once=False)))
    assert left not in folders(root)
    assert len(folders(root)) == 3


def test_what_another_machine_is_writing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.socket, "gethostname", lambda: "node7")
    monkeypatch.setattr(files, "is_alive", lambda process: False)
    root = photographs(tmp_path / "set")
    ready(Photos, root)
    left = [f".0123456789abcdef-24x30-2.{tail}" for tail in ("node7.5", "node7.cluster.5", "my.node7.5", "node7.5.old")]
    for name in left:
        (tmp_path / "cache" / "decoded" / name).mkdir()
    (root / "train" / "cats" / "0.png").unlink()
    ready(Photos, root)
    assert [name for name in left if name not in folders(root)] == left[:1]


def test_a_folder_of_another_user_is_read_and_what_passes_removes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any, **options: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    root = photographs(tmp_path / "set")
    ready(Photos, root)
    monkeypatch.setattr(format_of_decoded.os, "utime", refuse)
    assert kept(ready(Photos, root))
    before = folders(root)
    monkeypatch.setattr(format_of_decoded.mmap, "mmap", refuse)  # as if too many files were open
    folder = tmp_path / "cache" / format_of_decoded.FOLDER / before[0]
    assert format_of_decoded.open_decoded(ready(Photos, root, decode_once=False).sources["val"], folder) is None
    assert folders(root) == before
