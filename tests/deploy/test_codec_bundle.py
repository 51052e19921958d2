"""Codecs in bundles: checkpoint, bundle and graphs read one another's files, and any other file is refused."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from made import bundle_of, net_of, pictures
from PIL import Image

import imagier
from imagier.deploy import codec_graphs
from imagier.deploy.codec import PictureCodec
from imagier.deploy.results import Compressed
from imagier.deploy.runtime import OnnxRuntime
from imagier.errors import BundleError, ConfigError, DataError

CODECS = ("factorized", "hyperprior", "pair", "sliced")


def picture(height: int, width: int, channels: int = 3) -> np.ndarray:
    """Return a smooth image with some grain, uint8 [H, W, C]."""
    smooth = pictures(1, (height, width), seed=height)[0, :channels].transpose(1, 2, 0)
    grain = np.random.default_rng(0).integers(-8, 9, smooth.shape)
    return (smooth + grain).clip(0, 255).astype(np.uint8)


def made(folder: Path, model: str, channels: int = 3, **options: Any) -> tuple[PictureCodec, Path]:
    """Return a codec as its checkpoint holds it, and the folder of its bundle."""
    net, description = net_of("compress", model, channels=channels)
    return PictureCodec(description, net), bundle_of(net, description, folder / "bundle", **options).folder


def opened(folder: Path, **options: Any) -> PictureCodec:
    codec = imagier.load(folder, **options)
    assert isinstance(codec, PictureCodec)
    return codec


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[PictureCodec, Path]]:
    """Results of `made`, each codec exported once and shared by tests that only read it."""

    @cache
    def once(model: str) -> tuple[PictureCodec, Path]:
        return made(
            tmp_path_factory.mktemp(model), model, formats=["onnx", "pt2"] if model == "hyperprior" else ["onnx"]
        )

    return once


@pytest.fixture
def hyperprior(exported: Callable[[str], tuple[PictureCodec, Path]]) -> tuple[PictureCodec, Path]:
    return exported("hyperprior")


@pytest.fixture(params=CODECS)
def colour(
    exported: Callable[[str], tuple[PictureCodec, Path]], request: pytest.FixtureRequest
) -> tuple[PictureCodec, Path]:
    return exported(request.param)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_checkpoint_bundle_and_graphs_read_one_anothers_files(colour: tuple[PictureCodec, Path]) -> None:
    read_one_anothers_files(*colour, channels=3)


@pytest.mark.parametrize("model", ["factorized", "sliced"])
def test_grey_ones_too(tmp_path: Path, model: str) -> None:
    read_one_anothers_files(*made(tmp_path, model, channels=1), channels=1)


def read_one_anothers_files(checkpoint: PictureCodec, folder: Path, channels: int) -> None:
    weights, graphs = opened(folder, runtime="torch"), opened(folder, runtime="onnx")
    assert (weights.channels, weights.qualities) == (channels, checkpoint.qualities)
    for size in [(1, 1), (17, 33), (97, 64)]:
        image = picture(*size, channels)
        for quality in range(1, checkpoint.qualities + 1):
            data, by_graph = checkpoint.compress(image, quality), graphs.compress(image, quality)
            assert weights.compress(image, quality) == data
            assert abs(len(by_graph) - len(data)) <= 4
            pixels = checkpoint.decompress(data)
            assert pixels.shape == image.shape
            assert np.array_equal(weights.decompress(data), pixels)
            assert np.array_equal(graphs.decompress(data), pixels)
            assert np.array_equal(checkpoint.decompress(by_graph), graphs.decompress(by_graph))


def test_without_a_word_the_runtime_is_the_checkpoints_own_and_the_decoders_graph_comes_near(
    hyperprior: tuple[PictureCodec, Path],
) -> None:
    checkpoint, folder = hyperprior
    image = picture(70, 90)
    assert opened(folder).compress(image) == checkpoint.compress(image)
    with pytest.raises(ConfigError, match="runtime=openvino does not support task=compress"):
        opened(folder, runtime="openvino")
    followed = torch.export.load(folder / "decoder.pt2").module()
    latents, rate = torch.zeros(3, 6, 8, 12), torch.tensor([0, 1, 2])
    with torch.inference_mode():
        assert torch.allclose(followed(latents, rate), checkpoint.net.net.synthesise(latents, rate), atol=1e-5)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_a_file_gives_the_same_pixels_at_any_number_of_threads(
    hyperprior: tuple[PictureCodec, Path], runtime: str
) -> None:
    data = hyperprior[0].compress(picture(300, 420), 3)  # large enough to be split between threads
    one, *others = (opened(hyperprior[1], runtime=runtime, threads=count).decompress(data) for count in (1, 2, 3))
    assert all(np.array_equal(one, other) for other in others)
    assert torch.get_num_threads() == 3


ELSEWHERE = """
import sys
import numpy as np
import imagier
from imagier.models.bitstream import read
from pathlib import Path
codec = imagier.load(sys.argv[1], runtime=sys.argv[2])
data = Path(sys.argv[3]).read_bytes()
np.save(sys.argv[4], codec.decompress(data))
np.save(sys.argv[5], codec.net.net.read(read(data)[1], 128, 128, 2).numpy())
print(sorted({"pytorch_lightning", "lightning_fabric", "hydra", "omegaconf", "albumentations"} & set(sys.modules)))
"""


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_a_machine_with_another_processor_reads_the_same_pixels_without_lightning(
    hyperprior: tuple[PictureCodec, Path], runtime: str, tmp_path: Path
) -> None:
    checkpoint, folder = hyperprior
    data = checkpoint.compress(picture(70, 90), 3)
    (tmp_path / "a.imgr").write_bytes(data)
    older = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}
    paths = [str(tmp_path / name) for name in ("a.imgr", "pixels.npy", "latents.npy")]
    words = [sys.executable, "-c", ELSEWHERE, str(folder), runtime, *paths]
    environment = os.environ | older | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "[]\n"
    assert np.array_equal(np.load(tmp_path / "pixels.npy"), checkpoint.decompress(data))
    payload = imagier.models.bitstream.read(data)[1]
    latents = checkpoint.net.net.read(payload, 128, 128, 2).detach().numpy()
    assert np.array_equal(np.load(tmp_path / "latents.npy"), latents)


def test_a_bundle_says_what_it_is_and_how_far_its_graphs_are(hyperprior: tuple[PictureCodec, Path]) -> None:
    about = json.loads((hyperprior[1] / "bundle.json").read_text())
    assert (about["task"], about["lambdas"]) == ("compress", [0.0018, 0.0067, 0.025])
    assert [(graph["format"], graph["part"]) for graph in about["graphs"]] == [
        (form, part) for form in ("onnx", "pt2") for part in ("encoder", "decoder")
    ]
    for graph in about["graphs"]:
        agreement = graph["agreement"]
        assert agreement["difference"] <= 1e-3
        assert agreement["decisions"] >= 0.9999
        assert agreement["metric"] == {"encoder": "bpp", "decoder": "psnr"}[graph["part"]]
        assert agreement["reference"] == pytest.approx(agreement["graph"], rel=1e-3)
    text = (hyperprior[1] / "README.md").read_text()
    assert "imagier compress photo.jpg ckpt=. quality=2\nimagier decompress compressed ckpt=" in text
    assert "3 (lambda 0.025)" in text
    assert "imagier predict" not in text
    assert len(text.splitlines()) < 40


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_graph_that_disagrees_is_not_published_and_the_old_bundle_stays(
    exported: Callable[[str], tuple[PictureCodec, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    folder = Path(shutil.copytree(exported("factorized")[1], tmp_path / "bundle"))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    class Wrong(OnnxRuntime):
        def __init__(self, path: Path, threads: int | None = None) -> None:
            super().__init__(path, threads)
            self.wrong = part in path.name

        def run(self, *inputs: np.ndarray) -> list[np.ndarray]:
            return [answer + np.float32(0.01) * self.wrong for answer in super().run(*inputs)]

    monkeypatch.setattr(codec_graphs, "OnnxRuntime", Wrong)
    with pytest.raises(BundleError, match=rf"onnx fp32 {part}: outputs differ by up to 0.01.*worst: picture \d"):
        made(tmp_path, "factorized")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_int8_and_openvino_are_not_for_codecs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="formats=openvino does not support task=compress"):
        made(tmp_path, "pair", formats=["onnx", "openvino"])
    with pytest.raises(ConfigError, match="precision=int8 does not support task=compress"):
        made(tmp_path, "pair", precisions=["fp32", "int8"])
    assert list(tmp_path.iterdir()) == []


def damaged(data: bytes, draw: np.random.Generator) -> bytes:
    """Return the data with a bit flipped, a piece removed or random bytes inserted."""
    place, kind = int(draw.integers(len(data))), draw.integers(3)
    if kind == 0:
        return data[:place] + bytes([data[place] ^ 1 << int(draw.integers(8))]) + data[place + 1 :]
    count = int(draw.integers(1, 9))
    if kind == 1:
        return data[:place] + data[place + count :]
    return data[:place] + draw.bytes(count) + data[place:]


def test_no_damaged_file_is_ever_a_picture(colour: tuple[PictureCodec, Path]) -> None:
    checkpoint, folder = colour
    codec, data, draw = opened(folder, runtime="onnx"), checkpoint.compress(picture(20, 30)), np.random.default_rng(1)
    for _ in range(1000):
        with pytest.raises(DataError) as caught:
            codec.decompress(damaged(data, draw))
        assert "\n" not in str(caught.value)
    for length in range(len(data)):
        with pytest.raises(DataError):
            codec.decompress(data[:length])
    assert codec.decompress(data).shape == (20, 30, 3)


def test_foreign_files_and_those_of_other_nets_are_refused(
    hyperprior: tuple[PictureCodec, Path], tmp_path: Path
) -> None:
    codec = opened(hyperprior[1], runtime="onnx")
    Image.fromarray(picture(20, 30)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="first bytes differ"):
        codec.decompress((tmp_path / "a.png").read_bytes())
    net, description = net_of("compress", "hyperprior")
    with torch.no_grad():
        net.net.synthesis[-1].bias += 1e-3
    with pytest.raises(DataError, match=r"with other weights.*checkpoint or bundle"):
        codec.decompress(PictureCodec(description, net).compress(picture(20, 30)))
    for model in ("factorized", "pair"):
        net, description = net_of("compress", model)
        with pytest.raises(DataError, match="another network"):
            codec.decompress(PictureCodec(description, net).compress(picture(20, 30), 1))


@pytest.mark.parametrize("name", ["tables.safetensors", "weights.safetensors", "encoder-fp32.onnx"])
def test_a_damaged_bundle_is_refused(hyperprior: tuple[PictureCodec, Path], tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(hyperprior[1], tmp_path / "bundle"))
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(BundleError, match=rf"{name} is not the file that was exported"):
        imagier.load(folder, runtime="onnx")


def test_a_call_gives_the_file_and_what_it_gives_back(hyperprior: tuple[PictureCodec, Path], tmp_path: Path) -> None:
    codec, image = opened(hyperprior[1]), picture(40, 52)
    Image.fromarray(image).save(tmp_path / "a.png")
    answer = codec(tmp_path / "a.png", quality=3)
    assert isinstance(answer, Compressed)
    assert answer.data == codec.compress(image, 3)
    assert np.array_equal(answer.pixels, codec.decompress(answer.data))
    assert answer.to_dict() == {
        "height": 40, "width": 52, "channels": 3,
        "bytes": len(answer.data), "bpp": pytest.approx(8 * len(answer.data) / (40 * 52), abs=1e-6),
    }  # fmt: skip
    answer.save(tmp_path / "a.imgr")
    assert (tmp_path / "a.imgr").read_bytes() == answer.data
    answer.save(tmp_path / "back.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "back.png")), answer.pixels)
    grey = codec([tmp_path / "a.png", image[:, :, 0]])
    assert [one.pixels.shape for one in grey] == [(40, 52, 3)] * 2


@pytest.mark.parametrize("options", [{"flip": True}, {"scales": [1, 2]}, {"tile": 64}, {"precision": "int8"}])
def test_what_means_nothing_to_a_codec_is_refused(
    hyperprior: tuple[PictureCodec, Path], options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=rf"is a codec.*remove {next(iter(options))}"):
        imagier.load(hyperprior[1], **options)
