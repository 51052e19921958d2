"""The benchmarks work: otherwise a broken one would be noticed only when its figures are needed."""

import json
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from segmentation_models_pytorch.encoders import encoders

from tests.conftest import REPOSITORY

NAMES = ("loader", "step", "losses", "startup", "time_to_accuracy", "scaling", "inference", "serving")
FOLDER = REPOSITORY / "scripts" / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


def test_a_ratio_is_of_medians_and_knows_its_target() -> None:
    row = import_module("timing").Row
    faster = row("ours", "theirs", "speed-up", 3, [1.0, 9.0, 1.0], [4.0, 4.0, 0.1], images=100)
    assert (faster.ratio, faster.met) == (4.0, True)
    assert faster.line() == "| ours | theirs | at least 3 x | 4 x | 100 images/s / 25 images/s |"
    dearer = row("ours", "theirs", "cost", 1.03, [2.2], [2.0])
    assert (round(dearer.ratio, 9), dearer.met) == (1.1, False)
    assert dearer.line() == "| ours | theirs | at most 1.03 x | 1.1 x (missed) | 2.20 s / 2.00 s |"


def test_both_sides_take_turns_and_may_measure_themselves() -> None:
    said: list[str] = []
    ours, theirs = import_module("timing").in_turn(lambda: said.append("a"), lambda: said.append("b") or 7.0, 2)
    assert said == ["a", "b"] * 3
    assert len(ours) == 2
    assert theirs == [7.0, 7.0]


def test_the_loader_is_compared_on_generated_files(tmp_path: Path) -> None:
    given = Namespace(data=None, repeats=1)
    row = import_module("loader").small_pictures(given, tmp_path)
    assert row.images >= 128
    assert row.ratio > 1


def test_confusion_matrices_are_compared_and_equal() -> None:
    assert import_module("step").confusion(Namespace(repeats=1)).ratio > 0


def test_a_graph_is_compared_with_eager_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "tests"))
    made, inference = import_module("made"), import_module("inference")
    monkeypatch.setattr(inference, "SIDE", 64)
    monkeypatch.setitem(encoders["resnet18"]["params"], "layers", [1, 1, 1, 1])  # which is traced faster
    net, description = made.net_of("segment", "smp", ("model.encoder=resnet18",))
    bundle = made.bundle_of(net, description, tmp_path / "bundle", formats=["onnx", "openvino"])
    unet = inference.CASES[0]
    inference.write_graphs(bundle, tmp_path)
    row = inference.graph_row(unet, bundle, "fp32", unet.target, tmp_path, 1)
    assert row.ratio == max(found["ratio"] for found in row.details.values()) > 0
    assert "6 held-out pictures" in row.note
    wrong = replace(unet, eager=lambda given: torch.nn.Sequential(unet.eager(given), torch.nn.ReLU()))
    with pytest.raises(RuntimeError, match="the answers of onnx are"):
        inference.graph_row(wrong, bundle, "fp32", unet.target, tmp_path, 1)


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_is_there(name: str) -> None:
    assert import_module("run").NAMES == NAMES
    assert callable(import_module(name).compare)


def test_a_table_is_printed_from_what_was_kept(tmp_path: Path) -> None:
    row: Any = import_module("timing").Row("ours", "theirs", "cost", 2, [1.0], [1.0])
    (tmp_path / "step.json").write_text(json.dumps({"machine": {}, "rows": [row.to_dict()]}))
    words = [sys.executable, str(FOLDER / "run.py"), "--table", "--out", str(tmp_path)]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == row.line()
