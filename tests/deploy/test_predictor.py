"""The predictor, given images in every supported form."""

import io
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made import bundle_of, net_of, pictures
from PIL import Image

import imagier
from imagier.deploy.bundle import Description
from imagier.deploy.predictor import Predictor
from imagier.deploy.results import Classes, Mask, Picture
from imagier.deploy.runtime import OpenVino
from imagier.deploy.variants import Variants
from imagier.errors import ConfigError, DataError


def description(task: str, **given: Any) -> Description:
    facts = {"name": "made", "net": "none", "arguments": {}, "channels": 3, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    labels = {"classes": ("dark", "bright"), "colors": ((0, 0, 0), (255, 255, 0))}
    sizes = {"resize": None, "stride": 1}
    return Description(task=task, **(facts | labels | sizes | given))  # type: ignore[arg-type]


def brightness(image_BCHW: np.ndarray) -> np.ndarray:
    """Return logits of two classes, dark and bright, for each pixel."""
    bright_BHW = image_BCHW.mean(1) / 255 - 0.5
    return np.stack([-bright_BHW, bright_BHW], axis=1).astype(np.float32)


def mean_brightness(image_BCHW: np.ndarray) -> np.ndarray:
    return brightness(image_BCHW).mean((2, 3))


def colours(size: tuple[int, int] = (40, 50)) -> np.ndarray:
    return np.ascontiguousarray(pictures(1, size)[0].transpose(1, 2, 0))


def test_a_picture_may_come_as_anything(tmp_path: Path) -> None:
    predictor, pixels = Predictor(description("segment"), brightness), colours()
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    data = (tmp_path / "picture.png").read_bytes()
    given = [tmp_path / "picture.png", str(tmp_path / "picture.png"), data, pixels, Image.open(io.BytesIO(data))]
    answers = predictor(given)
    assert all(isinstance(answer, Mask) for answer in answers)
    assert all(np.array_equal(answer.labels, pixels.mean(2) > 127.5) for answer in answers)
    assert all(np.array_equal(answer.image, pixels) for answer in answers)


def test_turned_grey_and_transparent_pictures(tmp_path: Path) -> None:
    predictor, pixels = Predictor(description("denoise"), lambda x: x.astype(np.float32) / 255), colours()
    exif = Image.Exif()
    exif[274] = 6  # rotated by 90 degrees
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    assert predictor(tmp_path / "turned.png").pixels.shape == (50, 40, 3)
    grey = predictor(pixels[:, :, 0]).pixels
    assert np.array_equal(grey, np.repeat(pixels[:, :, :1], 3, axis=2))
    clear = Image.fromarray(np.dstack([pixels, np.zeros((40, 50), np.uint8)]), "RGBA")
    assert (predictor(clear).pixels == 255).all()


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"no picture",
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        7,
    ],
)
def test_what_is_no_picture_gets_a_sentence(given: Any) -> None:
    with pytest.raises(DataError, match=r"image"):
        Predictor(description("segment"), brightness)(given)


def test_a_missing_file_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.png cannot be read"):
        Predictor(description("segment"), brightness)(tmp_path / "nowhere.png")


def test_masks_and_what_they_say(tmp_path: Path) -> None:
    answer = Predictor(description("segment"), brightness)(colours())
    assert isinstance(answer, Mask)
    assert answer.to_dict()["shares"]["bright"] == pytest.approx(answer.labels.mean(), abs=1e-6)
    for name in ("mask.jpg", "mask"):
        with pytest.raises(ConfigError, match=r"would not preserve the class of every pixel: use the name mask.png"):
            answer.save(tmp_path / name)
    answer.save(tmp_path / "mask.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "mask.png")), answer.labels)
    assert np.array_equal(answer.colored()[..., 2], np.zeros((40, 50)))
    assert np.array_equal(np.unique(answer.colored()[..., 0]), [0, 255])
    assert repr(answer).startswith("Mask(40 x 50: ")


@pytest.mark.parametrize(("side", "reach"), [(40, 1), (1500, 3)])
def test_colours_lie_over_the_picture_and_in_full_along_the_edges_of_classes(side: int, reach: int) -> None:
    image = np.full((side, side, 1), 200, np.uint8)
    labels = np.zeros((side, side), np.uint8)
    labels[:, side // 2 :] = 1
    shown = Mask(image, ("left", "right"), ((0, 0, 0), (255, 255, 0)), labels).picture()
    inside, at_edge = (100, 100, 100), (0, 0, 0)
    columns = [inside] * (side // 2 - reach) + [at_edge] * reach
    assert (shown[:, : side // 2] == np.array(columns)).all()
    assert (shown[0, side // 2 :][:reach] == (255, 255, 0)).all()
    assert (np.abs(shown[0, side // 2 :][reach:].astype(int) - (227.5, 227.5, 100)) <= 0.5).all()


def test_a_trained_size_is_kept_to_and_undone() -> None:
    seen = []

    def watching(image_BCHW: np.ndarray) -> np.ndarray:
        seen.append(image_BCHW.shape)
        return brightness(image_BCHW)

    image = np.zeros((60, 90, 3), np.uint8)
    image[:, 45:] = 255
    answer = Predictor(description("segment", resize=(20, 30)), watching)(image)
    assert seen == [(1, 3, 20, 30)]
    assert np.array_equal(answer.labels, image[..., 0] > 0)


def test_classes_of_several_pictures_come_in_batches_of_equal_size(tmp_path: Path) -> None:
    seen = []

    def watching(image_BCHW: np.ndarray) -> np.ndarray:
        seen.append(image_BCHW.shape)
        return 20 * mean_brightness(image_BCHW)

    predictor = Predictor(description("classify"), watching, batch_size=2)
    images = [np.full((8, 8, 3), value, np.uint8) for value in (0, 255, 200)] + [np.full((9, 8, 3), 10, np.uint8)]
    answers = predictor(images)
    assert [shape[0] for shape in seen] == [2, 1, 1]
    assert [answer.label for answer in answers] == ["dark", "bright", "bright", "dark"]
    first = answers[0]
    assert isinstance(first, Classes)
    assert repr(first) == f"Classes({', '.join(f'{name} {share:.1%}' for name, share in first.top())})"
    with pytest.raises(ConfigError, match=r"classes are written as JSON, not to .*a\.png: use the name a\.json"):
        first.save(tmp_path / "a.png")
    assert first.probabilities.sum() == pytest.approx(1)
    assert first.top(1) == [("dark", pytest.approx(1.0, abs=1e-6))]
    assert predictor([]) == []


def test_pictures_are_rounded_as_training_measures_them(tmp_path: Path) -> None:
    values = np.array([-0.2, 0.0, 0.5, 1.0, 1.7], np.float32)

    def net(image_BCHW: np.ndarray) -> np.ndarray:
        return np.broadcast_to(values, (1, 3, 1, 5))

    answer = Predictor(description("denoise"), net)(np.zeros((1, 5, 3), np.uint8))
    assert isinstance(answer, Picture)
    with pytest.raises(ConfigError, match=r"a\.foo cannot be written: image names must end in \.png"):
        answer.save(tmp_path / "a.foo")
    assert answer.pixels[0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_variants_are_turned_back_before_the_mean() -> None:
    image = pictures(2, (24, 32))
    plain = brightness(image)
    np.testing.assert_allclose(Variants(brightness, flip=True)(image), plain, atol=1e-6)
    np.testing.assert_allclose(Variants(brightness, flip=True, scales=(1, 2))(image), plain, atol=0.02)
    np.testing.assert_allclose(Variants(mean_brightness, flip=True)(image), mean_brightness(image), atol=1e-6)
    with pytest.raises(ConfigError, match="is invalid"):
        Variants(brightness, scales=(0,))


LIGHT = """
import sys
import imagier
answer = imagier.load(sys.argv[1])(sys.argv[2])
heavy = {"torch", "pytorch_lightning", "lightning_fabric", "hydra", "omegaconf", "albumentations", "matplotlib"}
print(answer.label, sorted(heavy & set(sys.modules)))
"""


def test_a_graph_is_used_without_torch_or_lightning(tmp_path: Path) -> None:
    net, about = net_of("classify", "cnn", size=(28, 28))
    bundle_of(net, about, tmp_path / "bundle")
    Image.fromarray(colours()).save(tmp_path / "picture.png")
    words = [sys.executable, "-c", LIGHT, str(tmp_path / "bundle"), str(tmp_path / "picture.png")]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    with torch.inference_mode():
        expected = imagier.load(tmp_path / "bundle", runtime="torch")(tmp_path / "picture.png").label
    assert said == f"{expected} []\n"


def test_signals_are_answered_when_several_graphs_have_been_open(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    pixel = openvino.opset13.parameter([1, 3, 8, 8], np.float32)
    openvino.save_model(openvino.Model([openvino.opset13.relu(pixel)], [pixel]), tmp_path / "relu.xml")
    first, second = (OpenVino(tmp_path / "relu.xml") for _ in range(2))
    del first, second
    answered: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: answered.append(number))
    try:
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert answered == [signal.SIGUSR1]
