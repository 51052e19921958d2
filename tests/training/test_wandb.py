"""W&B offline: the contents of the file that `wandb sync` would send."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from imagier.training.run import _new_wandb_id
from imagier.training.wandb_logger import wandb_logger
from tests.conftest import imagier, spoken

BLOCK, HEADER = 32 * 1024, 7  # of LevelDB's log format, which W&B's files use
WORDS = ["task=classify", "model=mlp", "model.hidden=[16]", "data=fashion_mnist", "data.batch_size=90", "test=false"]


def records(path: Path) -> Iterator[bytes]:
    """Yield the records of a W&B file: chunks in blocks of 32 KiB, each with checksum, length and type."""
    content = path.read_bytes()
    place, parts = HEADER, []
    while place + HEADER <= len(content):
        left = BLOCK - place % BLOCK
        if left < HEADER:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + HEADER])
        parts.append(content[place + HEADER : place + HEADER + length])
        place += HEADER + length
        if kind in (1, 4):  # a whole record, or its last chunk
            yield b"".join(parts)
            parts = []


def settings_of(run: Path) -> dict[str, Any]:
    """Return a run's configuration as W&B recorded it."""
    from wandb.proto import wandb_internal_pb2 as protocol

    found: dict[str, Any] = {}
    for path in sorted((run / "wandb").glob("offline-run-*/*.wandb")):
        for content in records(path):
            record = protocol.Record()
            record.ParseFromString(content)
            told = record.run.config if record.WhichOneof("record_type") == "run" else record.config
            found |= {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in told.update}
    return found


def read(run: Path) -> tuple[list[str], list[dict[str, Any]], list[str]]:
    """Return run ids, rows of history and image files of all W&B files under a run folder, oldest first."""
    from wandb.proto import wandb_internal_pb2 as protocol

    ids, rows, files = [], [], []
    for path in sorted((run / "wandb").glob("offline-run-*/*.wandb")):
        for content in records(path):
            record = protocol.Record()
            record.ParseFromString(content)
            kind = record.WhichOneof("record_type")
            if kind == "run":
                ids.append(record.run.run_id)
            elif kind == "history":
                items = record.history.item
                rows.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
        files += [str(found.name) for found in path.parent.rglob("*.png")]
    return ids, rows, files


def test_an_offline_run_holds_its_scores_and_a_resumed_one_continues_it(garments_root: Path, tmp_path: Path) -> None:
    said = imagier(*WORDS, f"data.root={garments_root}", "logger=wandb", "trainer.max_epochs=2", cwd=tmp_path)
    assert "W&B is offline" in said
    run = tmp_path / "runs" / "latest"
    ids, rows, files = read(run)
    logged = {name for row in rows for name in row}
    assert {"val/loss", "val/accuracy", "val/accuracy/Bag", "train/loss", "lr", "images_per_second"} <= logged
    accuracies = [row["val/accuracy"] for row in rows if "val/accuracy" in row]
    assert len(accuracies) == 2
    assert any(name.startswith("samples") for name in files)
    assert any(name.startswith("confusion") for name in files)

    settings = settings_of(run)
    assert settings["optimizer"]["lr"] == 1e-3
    assert settings["model"]["hidden"] == [16]

    saved = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert set(ids) == {saved["imagier"]["wandb_id"]}
    imagier("resume=runs/latest", "trainer.max_epochs=3", "report=false", cwd=tmp_path)
    again, more, _ = read(run)
    assert set(again) == set(ids)
    assert len([row for row in more if "val/accuracy" in row]) == 3


def test_a_segmentation_logs_mean_and_class_iou(streets_root: Path, tmp_path: Path) -> None:
    words = ["task=segment", "model.width=4", "data=cityscapes", "data.label_set=category", "data.size=[32,64]"]
    words += [f"data.root={streets_root}", "logger=wandb", "trainer.max_epochs=1", "test=false", "report=false"]
    imagier(*words, cwd=tmp_path)
    _, rows, _ = read(tmp_path / "runs" / "latest")
    logged = {name for row in rows for name in row}
    assert {"val/iou", "val/iou/flat", "val/accuracy", "val/loss"} <= logged


@pytest.mark.parametrize(
    ("asked", "mode", "offline", "said"),
    [("disabled", "auto", False, "W&B is off"), ("offline", "online", True, "W&B is offline")],
)
def test_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, asked: str, mode: Any,
    offline: bool, said: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("WANDB_MODE", asked)
    caplog.set_level("INFO")
    logger = wandb_logger(run_dir=tmp_path / "a" / "b" / "c", run_id="1", project="p", mode=mode)
    assert logger._offline == offline
    assert said in caplog.text


def test_a_refusal_is_told_and_replaces_nothing(
    tmp_path: Path, garments_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytorch_lightning.loggers import WandbLogger
    from wandb.errors import CommError

    words = [*WORDS, f"data.root={garments_root}", "trainer=cpu", "trainer.max_epochs=1", "report=false"]
    spoken("train", *words, cwd=tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "runs" / "latest").glob("*.json")}

    def refuse(*given: Any) -> None:
        raise CommError("permission denied\nfor entity nobody")

    monkeypatch.setattr(WandbLogger, "log_hyperparams", refuse)
    said = spoken("train", "resume=runs/latest", "trainer.max_epochs=2", "logger=wandb", cwd=tmp_path, code=2)
    assert "W&B rejects this run: permission denied for entity nobody. Correct the key" in said
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "runs" / "latest").glob("*.json")}


def test_an_agent_gives_the_id_of_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "abc123")
    assert _new_wandb_id(Path("run")) != "abc123"
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    assert _new_wandb_id(Path("run")) == "abc123"
