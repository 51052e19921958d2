"""Names of run folders, and the link to the latest one."""

from pathlib import Path

import pytest

from imagier.training.run_folder import name_latest


def test_a_run_is_named_where_there_were_none(tmp_path: Path) -> None:
    run = tmp_path / "moved" / "run"
    run.mkdir(parents=True)
    name_latest(tmp_path / "runs", run)
    assert (tmp_path / "runs" / "latest").resolve() == run.resolve()


def test_a_disk_without_links_costs_a_warning_and_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("Operation not supported")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    name_latest(tmp_path / "runs", tmp_path)
    assert f"latest could not be linked to this run (Operation not supported); the run is in {tmp_path}" in caplog.text
