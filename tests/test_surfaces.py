"""The same ten images through every interface: each network predicts the same in all of them."""

import io
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from conftest import spoken
from fastapi.testclient import TestClient
from made import bundle_of, pictures, run_of
from PIL import Image

import imagier
from imagier.deploy.bundle import Bundle, read_bundle
from imagier.deploy.codec import PictureCodec
from imagier.deploy.network import TorchNet
from imagier.deploy.predictor import Predictor
from imagier.deploy.results import Classes, Mask, Result
from imagier.deploy.runtime import open_runtime
from imagier.models.pixels import FromPixels
from imagier.server.app import make_app
from imagier.server.limits import Limits
from imagier.server.nets import Opened

NETS = [
    ("segment", "unet", ("model.depth=2",), None), ("segment", "pspnet", (), None),
    ("segment", "fcn8", ("model.head_width=64",), None), ("segment", "smp", ("model.encoder=resnet18",), None),
    ("segment", "swiftnet", ("model.mirror=true",), None),
    ("classify", "cnn", (), (28, 28)), ("classify", "mlp", (), (28, 28)), ("classify", "resnet9", (), (32, 32)),
    ("classify", "densenet", ("model.stem=small",), (16, 16)),
    ("classify", "timm", ("model.architecture=test_resnet",), (64, 64)),
    ("classify", "wide_resnet", ("model.depth=10", "model.widen=2"), (32, 32)),
    ("classify", "airbench", ("model.widths=[16,32,32]",), (32, 32)),
    ("denoise", "drunet", ("model.widths=[8,8,16]",), None),
    ("denoise", "dncnn", ("model.depth=4",), None),
    ("denoise", "autoencoder", ("model.width=8",), None),
]  # fmt: skip
ONE_PER_TASK = {"unet", "cnn", "drunet"}  # also as .pt2, from which every graph is made, and in int8 on every surface
CODECS = ["factorized", "hyperprior", "pair", "sliced"]
TILE = 96  # small enough that the large image is processed in tiles
LOGITS, DECISIONS = 1e-3, 0.9999  # fp32 graphs: largest difference of logits, smallest share of equal decisions
ROUNDED = 0.25  # int8 graphs: largest deviation, relative to the standard deviation of the outputs


@pytest.fixture(scope="module")
def short_nets(short_densenet: None) -> Iterator[None]:
    """Backbones without repeated blocks or convolutions: graphs of the same parts, made much faster."""
    from segmentation_models_pytorch.encoders import encoders
    from torchvision.models import ResNet, ResNet50_Weights
    from torchvision.models.resnet import Bottleneck

    once = [1, 1, 1, 1]
    thin = partial(ResNet, Bottleneck, once, width_per_group=16)
    vgg = [part for width in (64, 128, 256, 512, 512) for part in (width, "M")]
    with (
        patch.dict("imagier.models.pspnet.BACKBONES", resnet50=(thin, ResNet50_Weights)),
        patch.dict("imagier.models.fcn8.cfgs", D=vgg),
        patch.dict(encoders["resnet18"]["params"], layers=once),
    ):
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten typical images: odd sizes, grey, EXIF-rotated, transparent, CMYK, with a palette, and a large one."""
    folder = tmp_path_factory.mktemp("photos")

    def kept(name: str, size: tuple[int, int], change: Callable[[Image.Image], Image.Image], **options: Any) -> None:
        image = Image.fromarray(pictures(1, size, seed=len(name))[0].transpose(1, 2, 0))
        change(image).save(folder / name, **options)

    turned = Image.Exif()
    turned[0x0112] = 6
    kept("even.png", (64, 96), lambda image: image)
    kept("odd.png", (61, 47), lambda image: image)
    kept("narrow.png", (17, 130), lambda image: image)
    kept("tiny.png", (1, 1), lambda image: image)
    kept("grey.png", (50, 70), lambda image: image.convert("L"))
    kept("turned.jpg", (45, 66), lambda image: image, exif=turned)
    kept("glass.png", (40, 40), lambda image: image.convert("RGBA").rotate(30))
    kept("printed.jpg", (48, 52), lambda image: image.convert("CMYK"))
    kept("few.png", (33, 44), lambda image: image.convert("P"))
    kept("large.webp", (100, 200), lambda image: image)
    return folder


@pytest.mark.usefixtures("short_nets")
@pytest.mark.parametrize(("task", "model", "words", "size"), NETS, ids=[model for _, model, _, _ in NETS])
def test_every_net(
    tmp_path: Path, photos: Path, task: str, model: str, words: tuple[str, ...], size: tuple[int, int] | None
) -> None:
    net, about = run_of(tmp_path / "run", task, model, words, size)
    formats, precisions = ["onnx", "openvino", *(["pt2"] if model in ONE_PER_TASK else [])], ["fp32", "int8"]
    bundle = bundle_of(net, about, tmp_path / "bundle", formats=formats, precisions=precisions)
    assert read_bundle(bundle.folder) == bundle
    hold_batches(net, bundle, size)
    files = sorted(photos.iterdir())
    checkpoint = opened(tmp_path / "run", task)(files)
    for runtime in ("torch", "onnx", "openvino"):
        predictor = opened(bundle.folder, task, runtime=runtime)
        hold_alike(checkpoint, predictor(files), exact=runtime == "torch")
    assert all(abs(lost(bundle, precision)) <= 0.5 for precision in precisions)
    for precision in precisions if model in ONE_PER_TASK else ["fp32"]:
        predictor = opened(bundle.folder, task, runtime="onnx", precision=precision)
        wanted = predictor(files)
        hold_same(wanted, [predictor(path.read_bytes()) for path in files])
        hold_same(wanted, [predictor(one.image) for one in wanted])
        assert told(wanted) == predicted(bundle, precision, photos, files, tmp_path)
        assert told(wanted) == served(predictor, files)


def hold_batches(net: FromPixels, bundle: Bundle, size: tuple[int, int] | None) -> None:
    """Check that graphs take any batch size, and any image size that the network takes."""
    runtimes = [open_runtime(bundle, runtime) for runtime in ("torch", "onnx", "openvino")]
    if (bundle.folder / "model.pt2").exists():
        runtimes.append(TorchNet(torch.export.load(bundle.path("model.pt2")).module()))
    rounded = open_runtime(bundle, "onnx", "int8")
    for count, height, width in [(3, 50, 71), (2, 33, 130)]:
        image = pictures(count, size or (height, width), seed=count)
        with torch.inference_mode():
            truth = net(torch.from_numpy(image)).numpy()
        for runtime in runtimes:
            np.testing.assert_allclose(runtime(image), truth, atol=LOGITS)
        assert 0 < (rounded(image) - truth).std() < ROUNDED * truth.std()


def opened(folder: Path, task: str, **options: Any) -> Predictor:
    tile = {} if task == "classify" else {"tile": TILE}  # classifiers refuse it
    predictor = imagier.load(folder, threads=1, batch_size=1, **tile, **options)
    assert isinstance(predictor, Predictor)
    return predictor


def hold_alike(wanted: list[Result], found: list[Result], exact: bool) -> None:
    """Check that results agree within the limits of fp32 graphs, or `exact` in every decision."""
    decided = [equal(one, other) for one, other in zip(wanted, found, strict=True)]
    assert np.mean(np.concatenate(decided)) >= (1 if exact else DECISIONS)
    for one, other in zip(wanted, found, strict=True):
        if isinstance(one, Classes) and isinstance(other, Classes):
            np.testing.assert_allclose(one.probabilities, other.probabilities, atol=LOGITS)


def equal(one: Result, other: Result) -> np.ndarray:
    """Return which decisions are equal: classes of images or pixels, or pixel values within one grey level."""
    if isinstance(one, Classes) and isinstance(other, Classes):
        return np.array([one.label == other.label])
    if isinstance(one, Mask) and isinstance(other, Mask):
        return (one.labels == other.labels).ravel()
    return (np.abs(one.pixels.astype(int) - other.pixels) <= 1).ravel()  # type: ignore[union-attr]


def hold_same(wanted: list[Result], found: list[Result]) -> None:
    assert told(wanted) == told(found)


def told(results: list[Result]) -> list[Any]:
    """Return the exact contents of results: classes with probabilities, or shape and bytes of pixels."""
    return [
        one.to_dict()
        if isinstance(one, Classes)
        else ((pixels := one.labels if isinstance(one, Mask) else one.pixels).shape, pixels.tobytes())
        for one in results
    ]


def lost(bundle: Bundle, precision: str) -> float:
    """Return the loss of the metric, in points, on export's held-out images."""
    agreement = bundle.graph("onnx", precision).agreement
    return float(agreement["reference"] - agreement["graph"])


def predicted(bundle: Bundle, precision: str, photos: Path, files: list[Path], folder: Path) -> list[Any]:
    """Return what `imagier predict` writes."""
    words = [f"ckpt={bundle.folder}", f"source={photos}", f"precision={precision}", "runtime=onnx", "threads=1"]
    words += [] if bundle.description.task == "classify" else [f"tile={TILE}"]
    output = folder / f"predicted-{precision}"
    spoken("predict", *words, f"output={output}", cwd=folder)
    lines = {line["file"]: line for line in map(json.loads, (output / "manifest.jsonl").read_text().splitlines()[1:])}
    if bundle.description.task == "classify":
        return [{key: lines[path.name][key] for key in ("label", "top")} for path in files]
    part = "masks" if bundle.description.task == "segment" else "pictures"
    return [pixels_of((output / part / f"{path.stem}.png").read_bytes()) for path in files]


def served(predictor: Predictor, files: list[Path]) -> list[Any]:
    """Return what the server responds."""
    app = make_app([Opened(predictor.description, predictor)], Limits())
    with TestClient(app) as client:
        url = f"/models/{predictor.description.name}/predict"
        answers = [client.post(url, content=path.read_bytes()) for path in files]
    assert {answer.status_code for answer in answers} == {200}
    if predictor.description.task == "classify":
        return [answer.json() for answer in answers]
    return [pixels_of(answer.content) for answer in answers]


def pixels_of(png: bytes) -> tuple[tuple[int, ...], bytes]:
    pixels = np.array(Image.open(io.BytesIO(png)))
    return pixels.shape, pixels.tobytes()


@pytest.mark.parametrize("model", CODECS)
def test_every_codec(tmp_path: Path, photos: Path, model: str) -> None:
    net, about = run_of(tmp_path / "run", "compress", model)
    bundle = bundle_of(net, about, tmp_path / "bundle", formats=["onnx"])
    files = sorted(photos.iterdir())
    codec, restored, graphs = (
        opened_codec(folder, **options)
        for folder, options in (
            (tmp_path / "run", {}), (bundle.folder, {"runtime": "torch"}), (bundle.folder, {"runtime": "onnx"}),
        )
    )  # fmt: skip
    wanted = [codec(path, quality=1) for path in files]
    assert [one.data for one in wanted] == [restored.compress(path, 1) for path in files]
    for one in wanted:
        assert np.array_equal(restored.decompress(one.data), one.pixels)
        assert np.array_equal(graphs.decompress(one.data), one.pixels)
    for path, one in zip(files, wanted, strict=True):
        other = graphs(path, quality=1)
        assert len(other.data) == pytest.approx(len(one.data), rel=1e-3, abs=2)
        assert np.array_equal(codec.decompress(other.data), other.pixels)
    spoken("compress", "ckpt=run", "photos", "quality=1", cwd=linked(tmp_path, photos))
    spoken("decompress", "ckpt=bundle", "compressed", cwd=tmp_path)
    for path, one in zip(files, wanted, strict=True):
        assert (tmp_path / "compressed" / f"{path.stem}.imgr").read_bytes() == one.data
        written = np.array(Image.open(tmp_path / "decompressed" / f"{path.stem}.png"))
        assert np.array_equal(written, one.pixels)
    with TestClient(make_app([Opened(about, codec)], Limits())) as client:
        for path, one in zip(files, wanted, strict=True):
            url = f"/models/{about.name}"
            assert client.post(f"{url}/compress?quality=1", content=path.read_bytes()).content == one.data
            read = client.post(f"{url}/decompress", content=one.data)
            assert pixels_of(read.content) == (one.pixels.shape, one.pixels.tobytes())


def opened_codec(folder: Path, **options: Any) -> PictureCodec:
    codec = imagier.load(folder, threads=1, **options)
    assert isinstance(codec, PictureCodec)
    return codec


def linked(folder: Path, photos: Path) -> Path:
    (folder / "photos").symlink_to(photos)
    return folder
