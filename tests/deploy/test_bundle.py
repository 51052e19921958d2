"""Bundles: what is in them, and that nothing wrong gets into or out of them."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from made import bundle_of, net_of, pictures

import imagier
from imagier.deploy import publish as publishing
from imagier.deploy.bundle import read_bundle
from imagier.deploy.network import TorchNet, load_network
from imagier.deploy.runtime import OnnxRuntime, open_runtime
from imagier.errors import BundleError, ConfigError

NETS = [
    ("segment", "unet", (), None), ("segment", "pspnet", (), None), ("segment", "fcn8", (), None),
    ("segment", "smp", ("model.encoder=resnet18",), None),
    ("classify", "cnn", (), (28, 28)), ("classify", "mlp", (), (28, 28)), ("classify", "resnet9", (), (32, 32)),
    ("classify", "densenet", ("model.stem=small",), (32, 32)), ("classify", "timm", (), (64, 64)),
    ("denoise", "drunet", ("model.widths=[8,8,16]",), None), ("denoise", "dncnn", ("model.depth=4",), None),
    ("denoise", "autoencoder", ("model.width=8",), None),
]  # fmt: skip


@pytest.mark.parametrize(("task", "model", "words", "size"), NETS, ids=[model for _, model, _, _ in NETS])
def test_every_net_answers_alike_from_everywhere(
    tmp_path: Path, task: str, model: str, words: tuple[str, ...], size: tuple[int, int] | None
) -> None:
    net, description = net_of(task, model, words, size)
    bundle = bundle_of(net, description, tmp_path / "bundle", formats=["onnx", "pt2", "openvino"])
    again = read_bundle(tmp_path / "bundle")
    assert again == bundle
    onnx, restored, openvino = (open_runtime(again, runtime) for runtime in ("onnx", "torch", "openvino"))
    followed = torch.export.load(again.path("model.pt2")).module()
    for count, height, width in [(1, 96, 128), (3, 50, 71), (2, 33, 200)]:
        image = pictures(count, size or (height, width), seed=count)
        with torch.inference_mode():
            truth = net(torch.from_numpy(image)).numpy()
        np.testing.assert_array_equal(restored(image), truth)
        np.testing.assert_allclose(followed(torch.from_numpy(image)).detach().numpy(), truth, atol=1e-4)
        np.testing.assert_allclose(onnx(image), truth, atol=1e-3)
        np.testing.assert_allclose(openvino(image), truth, atol=1e-3)


def test_a_bundle_holds_no_pickle_and_says_what_it_is(tmp_path: Path) -> None:
    net, description = net_of("segment", "unet")
    bundle_of(net, description, tmp_path / "bundle", formats=["onnx", "pt2"])
    about = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    assert about["task"] == "segment"
    assert about["classes"] == ["road", "sidewalk", "sky"]
    assert [graph["precision"] for graph in about["graphs"]] == ["fp32", "fp32"]
    assert all(graph["agreement"]["decisions"] >= 0.9999 for graph in about["graphs"])
    with zipfile.ZipFile(tmp_path / "bundle" / "model.pt2") as archive:
        assert not [name for name in archive.namelist() if archive.read(name)[:2] in (b"\x80\x02", b"PK")]
    assert "imagier predict" in (tmp_path / "bundle" / "README.md").read_text()


def sure(net: torch.nn.Module) -> torch.nn.Module:
    """The net with answers that are sure of themselves, as trained ones are."""
    with torch.no_grad():
        [layer for layer in net.modules() if isinstance(layer, torch.nn.Linear)][-1].weight.mul_(5)
    return net


@pytest.mark.parametrize(("form", "suffixes"), [("onnx", [".onnx"]), ("openvino", [".xml", ".bin"])])
def test_int8_is_smaller_and_compared(tmp_path: Path, form: str, suffixes: list[str]) -> None:
    net, description = net_of("classify", "cnn", size=(28, 28))
    bundle = bundle_of(sure(net), description, tmp_path / "bundle", formats=[form], precisions=["fp32", "int8"])
    sizes = {precision: sum(bundle.path(f"model-{precision}{end}").stat().st_size for end in suffixes)
             for precision in ("fp32", "int8")}  # fmt: skip
    assert sizes["int8"] < 0.4 * sizes["fp32"]
    agreement = bundle.graph(form, "int8").agreement
    assert agreement["difference"] > 0
    assert abs(agreement["graph"] - agreement["reference"]) <= 0.5
    image = pictures(2, (28, 28), seed=3)
    exact, rounded = (open_runtime(bundle, form, precision)(image) for precision in ("fp32", "int8"))
    assert 0 < np.abs(exact - rounded).max() < 0.1 * np.abs(exact).max()


def test_int8_alone_leaves_no_other_graph_behind(tmp_path: Path) -> None:
    net, description = net_of("classify", "cnn", size=(28, 28))
    bundle = bundle_of(sure(net), description, tmp_path / "bundle", formats=["openvino"], precisions=["int8"])
    assert [path for path in bundle.files if path.startswith("model")] == ["model-int8.bin", "model-int8.xml"]


def test_a_normalisation_that_follows_no_convolution_is_in_int8_too(tmp_path: Path) -> None:
    net, description = net_of("classify", "densenet", ("model.stem=small",), (32, 32))
    bundle = bundle_of(sure(net), description, tmp_path / "bundle", precisions=["fp32", "int8"])
    before, after = (onnx.load(bundle.path(f"model-{precision}.onnx")).graph.node for precision in ("fp32", "int8"))
    assert "BatchNormalization" in {node.op_type for node in before}
    assert "BatchNormalization" not in {node.op_type for node in after}


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
    with pytest.raises(BundleError, match=r"onnx fp32: answers differ by up to 0.01.*worst: picture \d"):
        bundle_of(net, description, tmp_path / "bundle")
    assert {path.name: path.read_bytes() for path in (tmp_path / "bundle").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_another_folder_is_not_overwritten(tmp_path: Path) -> None:
    net, description = net_of("classify", "mlp", size=(28, 28))
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="is no bundle"):
        bundle_of(net, description, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_what_lies_in_a_bundle_beside_it_is_not_lost(tmp_path: Path) -> None:
    net, description = net_of("classify", "mlp", size=(28, 28))
    bundle_of(net, description, tmp_path / "bundle")
    bundle_of(net, description, tmp_path / "bundle")
    (tmp_path / "bundle" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds notes\.txt beside the bundle"):
        bundle_of(net, description, tmp_path / "bundle")
    assert (tmp_path / "bundle" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "damage", "sentence"),
    [
        ("bundle.json", lambda data: data[:100], "is damaged"),
        ("bundle.json", lambda data: data.replace(b'"format": 1', b'"format": 9'), "Update it"),
        ("bundle.json", lambda data: data.replace(b"mlp.MLP", b"os.system"), "unknown to this version"),
        ("bundle.json", lambda data: data.replace(b"mlp.MLP", b"weights.nn"), "unknown to this version"),
        ("bundle.json", lambda data: data.replace(b'"dropout"', b'"dr0pout"'), "refuses its arguments"),
        ("weights.safetensors", lambda data: data[:-1] + b"\0" + b"", "checksum"),
        ("weights.safetensors", None, "cannot be read"),
    ],
)
def test_a_damaged_bundle_is_refused(tmp_path: Path, name: str, damage: Any, sentence: str) -> None:
    net, description = net_of("classify", "mlp", size=(28, 28))
    bundle_of(net, description, tmp_path / "bundle", formats=[])
    path = tmp_path / "bundle" / name
    path.write_bytes(damage(path.read_bytes())) if damage else path.unlink()
    with pytest.raises(BundleError, match=sentence):
        load_network(read_bundle(tmp_path / "bundle"))


def test_a_graph_that_is_not_there(tmp_path: Path) -> None:
    net, description = net_of("classify", "mlp", size=(28, 28))
    bundle_of(net, description, tmp_path / "bundle")
    with pytest.raises(BundleError, match="holds no graph of format onnx and precision int8; its graphs: onnx fp32"):
        imagier.load(tmp_path / "bundle", precision="int8")
    with pytest.raises(ConfigError, match="runtime=tensorrt is not known"):
        imagier.load(tmp_path / "bundle", runtime="tensorrt")
