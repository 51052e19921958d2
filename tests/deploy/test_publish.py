"""Publishing: only graphs that agree, nothing of others overwritten, and a killed export undone."""

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made import bundle_of, net_of

from imagier.deploy import publish as publishing
from imagier.deploy.bundle import read_bundle
from imagier.deploy.network import TorchNet
from imagier.deploy.runtime import OnnxRuntime
from imagier.errors import BundleError, ConfigError, DataError


def test_the_trained_net_is_asked_once_about_each_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, description = net_of("classify", "cnn", size=(28, 28))
    asked = []

    class Counting(TorchNet):
        def __call__(self, image_BCHW: np.ndarray) -> np.ndarray:
            asked.append(image_BCHW)
            return super().__call__(image_BCHW)

    monkeypatch.setattr(publishing, "TorchNet", Counting)
    bundle = bundle_of(net, description, tmp_path / "bundle", formats=["onnx", "openvino"])
    assert [graph.agreement["samples"] for graph in bundle.graphs] == [6, 6]
    assert len(asked) == 6


def test_a_graph_that_disagrees_is_not_published_and_the_old_bundle_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, description = net_of("classify", "cnn", size=(28, 28))
    bundle_of(net, description, tmp_path / "bundle")
    before = {path.name: path.read_bytes() for path in (tmp_path / "bundle").iterdir()}

    class Wrong(OnnxRuntime):
        def __call__(self, image_BCHW: np.ndarray) -> np.ndarray:
            return super().__call__(image_BCHW) + np.float32(0.01) * (image_BCHW.mean() > 120)

    monkeypatch.setattr(publishing, "OnnxRuntime", Wrong)
    with pytest.raises(BundleError, match=r"onnx fp32: outputs differ by up to 0.01.*worst: picture \d"):
        bundle_of(net, description, tmp_path / "bundle")
    assert {path.name: path.read_bytes() for path in (tmp_path / "bundle").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_an_answer_that_is_no_number_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Undefined(OnnxRuntime):
        def __call__(self, image_BCHW: np.ndarray) -> np.ndarray:
            answer = super().__call__(image_BCHW)
            answer[0, answer[0].argmin()] = np.nan  # changes no decision
            return answer

    monkeypatch.setattr(publishing, "OnnxRuntime", Undefined)
    with pytest.raises(BundleError, match=r"onnx fp32: outputs differ by up to nan"):
        bundle_of(*net_of("classify", "cnn", size=(28, 28)), tmp_path / "bundle")


def test_another_folder_is_not_overwritten(tmp_path: Path) -> None:
    net, description = net_of("classify", "mlp", size=(28, 28))
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="is not a bundle"):
        bundle_of(net, description, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_what_lies_in_a_bundle_beside_it_is_not_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    net, description = net_of("classify", "mlp", size=(28, 28))
    bundle_of(net, description, tmp_path / "bundle")
    assert "replaced" not in caplog.text
    with caplog.at_level("INFO", "imagier"):
        bundle_of(net, description, tmp_path / "bundle", formats=["pt2"])
    assert "is replaced, including model-fp32.onnx;" in caplog.text
    (tmp_path / "bundle" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"contains notes\.txt besides the bundle"):
        bundle_of(net, description, tmp_path / "bundle")
    assert (tmp_path / "bundle" / "notes.txt").read_text() == "mine"
    (tmp_path / "bundle" / "bundle.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"cannot be read.*remove that folder, or choose another"):
        bundle_of(net, description, tmp_path / "bundle")
    assert (tmp_path / "bundle" / "notes.txt").read_text() == "mine"


def test_an_export_that_was_killed_as_it_replaced_a_bundle_is_undone(tmp_path: Path) -> None:
    net, description = net_of("classify", "mlp", size=(28, 28))
    bundle_of(net, description, tmp_path / "bundle")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / "bundle").rename(tmp_path / f".bundle.old.{socket.gethostname()}.{ended.pid}")

    def broken() -> None:
        raise DataError("the first held-out picture is damaged.")

    with pytest.raises(DataError):
        bundle_of(net, description, tmp_path / "bundle", samples=broken)
    assert read_bundle(tmp_path / "bundle").description == description
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_what_a_killed_export_has_left_behind_goes_and_another_at_work_stays(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    machine = socket.gethostname()
    names = (f"{machine}.{ended.pid}", f"{machine}.{os.getppid()}", f"elsewhere.{ended.pid}")
    left, at_work, elsewhere = (tmp_path / f".bundle.{name}" for name in names)
    for folder in (left, at_work, elsewhere):
        folder.mkdir()
        (folder / "weights.safetensors").write_bytes(b"half")
    net, description = net_of("classify", "mlp", size=(28, 28))
    bundle_of(net, description, tmp_path / "bundle")
    assert {path.name for path in tmp_path.iterdir()} == {"bundle", at_work.name, elsewhere.name}


def test_a_link_to_a_bundle_leads_to_the_new_one(tmp_path: Path) -> None:
    net, description = net_of("classify", "mlp", size=(28, 28))
    (tmp_path / "current").symlink_to("v1")
    for name in ("first", "second"):
        bundle_of(net, replace(description, name=name), tmp_path / "current", formats=[])
        assert read_bundle(tmp_path / "v1").description.name == name
    assert (tmp_path / "current").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["current", "v1"]
