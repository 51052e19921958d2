"""Bundles: their contents, what int8 does to a graph, and that damaged ones are not opened."""

import hashlib
import json
import pickle
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from made import bundle_of, net_of, pictures
from PIL import Image

import imagier
from imagier.deploy.bundle import Bundle, read_bundle
from imagier.deploy.network import load_network
from imagier.deploy.predictor import Predictor
from imagier.deploy.quantize import quantize
from imagier.deploy.runtime import open_runtime
from imagier.errors import BundleError, ConfigError


def test_a_bundle_holds_no_pickle_and_says_what_it_is(tmp_path: Path) -> None:
    net, description = net_of("segment", "unet")
    bundle_of(net, description, tmp_path / "bundle", formats=["onnx", "pt2"])
    about = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    assert (about["task"], about["color_space"]) == ("segment", "RGB")
    assert about["classes"] == ["road", "sidewalk", "sky"]
    assert [graph["precision"] for graph in about["graphs"]] == ["fp32", "fp32"]
    assert all(graph["agreement"]["decisions"] >= 0.9999 for graph in about["graphs"])
    with zipfile.ZipFile(tmp_path / "bundle" / "model.pt2") as archive:
        assert not [name for name in archive.namelist() if archive.read(name)[:2] in (b"\x80\x02", b"PK")]
    assert "imagier predict" in (tmp_path / "bundle" / "README.md").read_text()


@pytest.mark.parametrize("kind", ["segment", "classify"])
def test_other_programs_ask_the_graph_as_the_bundle_says(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, description = net_of(kind, *(("unet",) if kind == "segment" else ("cnn", (), (28, 28))))
    folder = bundle_of(net, description, tmp_path / "bundle").folder
    monkeypatch.chdir(folder)
    image = pictures(1, (28, 28), seed=1)
    image = image if description.channels == 1 else np.repeat(image[:, :1], 3, 1)
    Image.fromarray(image[0, 0]).save("photo.jpg", format="PNG")  # the content counts, not the suffix
    (code,) = re.findall(r"```python\n(import numpy.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
    found: dict[str, Any] = {}
    exec(code, found)
    assert np.array_equal(found["answer"], open_runtime(read_bundle(folder), "onnx")(image))


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_a_predictor_goes_to_another_process(form: str, tmp_path: Path) -> None:
    folder = bundle_of(*net_of("classify", "cnn", size=(28, 28)), tmp_path / "bundle", formats=[form]).folder
    predictor = imagier.load(folder, runtime=form)
    assert isinstance(predictor, Predictor)
    image = pictures(1, (28, 28))
    sent = pickle.loads(pickle.dumps(predictor))
    assert np.array_equal(sent.runtime(image), predictor.runtime(image))


def sure(net: torch.nn.Module) -> torch.nn.Module:
    """Scale the last layer's weights, so that the network is as confident as a trained one."""
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
    assert ("x64quantprecision" in (bundle.folder / "README.md").read_text()) == (form == "onnx")
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


@pytest.fixture(scope="module")
def densenet(short_densenet: None, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """An exported DenseNet whose channels differ widely in scale, as training may leave them."""
    net, description = net_of("classify", "densenet", ("model.stem=small",), (32, 32))
    with torch.no_grad():
        net.net.features.denseblock1.denselayer1.conv2.weight.mul_(torch.logspace(-1, 1, 32).view(-1, 1, 1, 1))
        for seed in range(8):
            net.train()(torch.from_numpy(pictures(8, (32, 32), seed)))
    folder = tmp_path_factory.mktemp("densenet") / "bundle"
    return bundle_of(sure(net.eval()), description, folder, precisions=["fp32", "int8"])


def graph_of(bundle: Bundle, precision: str) -> onnx.GraphProto:
    return onnx.load(bundle.path(f"model-{precision}.onnx")).graph


def test_a_normalisation_that_follows_no_convolution_is_in_int8_too(densenet: Bundle) -> None:
    before, after = ({node.op_type for node in graph_of(densenet, precision).node} for precision in ("fp32", "int8"))
    assert "BatchNormalization" in before - after


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_logits_are_not_rounded_and_nothing_lies_unused_in_a_graph(densenet: Bundle, precision: str) -> None:
    graph = graph_of(densenet, precision)
    assert next(node.op_type for node in graph.node if graph.output[0].name in node.output) == "Gemm"
    read = {name for node in graph.node for name in node.input}
    assert [constant.name for constant in graph.initializer if constant.name not in read] == []


def test_what_a_concatenation_joins_has_one_range(densenet: Bundle) -> None:
    graph = graph_of(densenet, "int8")
    steps = {constant.name: float(onnx.numpy_helper.to_array(constant).max()) for constant in graph.initializer}
    whole = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    back = {node.input[0]: node for node in graph.node if node.op_type == "QuantizeLinear"}
    joints = [node for node in graph.node if node.op_type == "Concat"]
    assert len(joints) == 12
    apart = 0
    for node in joints:
        found = [steps[whole[name].input[1]] for name in node.input]
        apart += sum(step != steps[back[node.output[0]].input[1]] for step in found)
    assert apart == 6  # the first block's six: their inputs start with the stem's, clipped by a ReLU
    image = pictures(4, (32, 32), seed=3)
    exact, near = (open_runtime(densenet, "onnx", precision)(image) for precision in ("fp32", "int8"))
    assert 0 < np.abs(exact - near).max() < 0.1 * np.abs(exact).max()


def test_sums_of_kernels_stay_when_weights_are_rounded(tmp_path: Path) -> None:
    kernels = np.random.default_rng(0).standard_normal((16, 3, 7, 7)).astype(np.float32)
    kernels[3] = 0
    nodes = [onnx.helper.make_node("Cast", ["image"], ["pixels"], to=onnx.TensorProto.FLOAT),
             onnx.helper.make_node("Conv", ["pixels", "kernels"], ["logits"])]  # fmt: skip
    given = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, [1, 3, 32, 32])
    answer = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1, 16, 26, 26])
    made = onnx.helper.make_graph(nodes, "made", [given], [answer], [onnx.numpy_helper.from_array(kernels, "kernels")])
    model = onnx.helper.make_model(made, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 20)])
    onnx.save(model, tmp_path / "fp32.onnx")
    quantize(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", pictures(2, (32, 32)))
    constants = {constant.name: onnx.numpy_helper.to_array(constant)
                 for constant in onnx.load(tmp_path / "int8.onnx").graph.initializer}  # fmt: skip
    whole, step = constants["logits.1_quantized"], constants["logits.1_scale"][:, None, None]
    lost = whole.sum((2, 3), dtype=np.int64)[..., None] * step - kernels.sum((2, 3))[..., None]
    assert np.abs(lost / step).max() < 0.51  # each of the 49 weights alone may be off by half a step
    assert np.abs(whole * step[..., None] - kernels).max() < 1.01 * step.max()


def forged(data: bytes) -> bytes:
    """Return the description with a valid checksum, which anyone can compute."""
    plain = json.loads(data)
    del plain["checksum"]
    checksum = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
    return json.dumps(plain | {"checksum": checksum}).encode()


@pytest.mark.parametrize(
    ("name", "damage", "sentence"),
    [
        ("bundle.json", lambda data: data[:100], "is damaged"),
        ("bundle.json", None, "cannot be read"),
        ("bundle.json", lambda data: b"[" * 100_000, "is damaged"),
        ("bundle.json", lambda data: forged(data.replace(b'"weights.saf', b'"../weights.saf')), "outside the bundle"),
        (
            "bundle.json",
            lambda data: forged(data.replace(b'"name": "', b'"name": "../', 1)),
            "which is not that of a file",
        ),
        ("bundle.json", lambda data: data.replace(b"28", b"32", 1), "is not as it was exported"),
        ("bundle.json", lambda data: data.replace(b'"format": 1', b'"format": 9'), "Update imagier"),
        (
            "bundle.json",
            lambda data: forged(data.replace(b"mlp.MLP", b"os.system")),
            "is not a class of imagier.models",
        ),
        (
            "bundle.json",
            lambda data: forged(data.replace(b"mlp.MLP", b"weights.nn")),
            "is not a class of imagier.models",
        ),
        ("bundle.json", lambda data: forged(data.replace(b'"dropout"', b'"dr0pout"')), "rejects its arguments"),
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


def test_a_net_of_another_package_is_opened_by_its_graph_alone(tmp_path: Path) -> None:
    net, description = net_of("classify", "mlp", size=(28, 28))
    folder = bundle_of(net, replace(description, net="mynets.outside.Outside"), tmp_path / "bundle").folder
    with pytest.raises(BundleError, match=r"mynets.outside.Outside is not a class of imagier.models.*use runtime=onnx"):
        imagier.load(folder, runtime="torch")
    assert isinstance(imagier.load(folder, runtime="onnx"), Predictor)
    bundle_of(net, replace(description, net="mynets.outside.Outside"), folder, formats=[])
    with pytest.raises(BundleError, match="export it again with formats=onnx"):
        imagier.load(folder)


def test_the_pictures_of_its_training_travel_along(tmp_path: Path) -> None:
    net, description = net_of("classify", "mlp", size=(28, 28))
    (tmp_path / "curves.png").write_bytes(b"a picture")
    bundle_of(net, description, tmp_path / "bundle", training={"curves": tmp_path / "curves.png"})
    found = read_bundle(tmp_path / "bundle").training()
    assert {name: path.read_bytes() for name, path in found.items()} == {"curves": b"a picture"}
    (tmp_path / "bundle" / "curves.png").write_bytes(b"another")
    with pytest.raises(BundleError, match="checksum"):
        read_bundle(tmp_path / "bundle").training()


def test_a_device_is_torchs_and_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, description = net_of("classify", "mlp", size=(28, 28))
    folder = bundle_of(net, description, tmp_path / "bundle").folder
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for words, sentence in (
        ({"device": "cuda"}, "device=cuda needs runtime=torch"),
        ({"device": "cuda", "runtime": "torch"}, "torch sees no GPU here"),
        ({"device": "tpu", "runtime": "torch"}, "it is one of: auto, cpu, cuda"),
        ({"device": "cuda:0"}, "device=cuda:0 is not known; it is one of: auto, cpu, cuda"),
        ({"batch_size": 0}, "batch_size=0 is not a number of images"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            imagier.load(folder, **words)
    predictor = imagier.load(folder, runtime="torch", device="auto")
    assert isinstance(predictor, Predictor)
    assert predictor.runtime.device == torch.device("cpu")


def test_pictures_of_several_sizes_have_no_graph(tmp_path: Path) -> None:
    net, description = net_of("classify", "mlp", size=(28, 28))
    with pytest.raises(BundleError, match=r"trained on images of several sizes.*data\.size=\[H,W\]"):
        bundle_of(net, replace(description, resize=None), tmp_path / "bundle")


def test_a_graph_that_is_not_there(tmp_path: Path) -> None:
    net, description = net_of("classify", "mlp", size=(28, 28))
    bundle_of(net, description, tmp_path / "bundle")
    with pytest.raises(BundleError, match="has no graph of format onnx and precision int8; its graphs: onnx fp32"):
        imagier.load(tmp_path / "bundle", precision="int8")
    with pytest.raises(ConfigError, match="runtime=tensorrt is not known"):
        imagier.load(tmp_path / "bundle", runtime="tensorrt")
