"""`imagier export` and `imagier predict` as a user calls them."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import REPOSITORY, imagier, spoken
from made import bundle_of, net_of, pictures
from PIL import Image

import imagier as package
from imagier import exporting
from imagier.datamodules.image_file import SUFFIXES
from imagier.deploy.pictures import to_pixels
from imagier.deploy.sources import Item, find, stems
from imagier.files import write_text


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for task segment."""
    net, about = net_of("segment", "unet")
    return bundle_of(net, about, tmp_path_factory.mktemp("segment") / "bundle").folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for task classify."""
    net, about = net_of("classify", "cnn", size=(28, 28))
    return bundle_of(net, about, tmp_path_factory.mktemp("classify") / "bundle").folder


def photographs(folder: Path, count: int = 5) -> Path:
    for number, image_CHW in enumerate(pictures(count, (40, 52))):
        path = folder / ("one", "two")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image_CHW.transpose(1, 2, 0)).save(path)
    return folder


def predict(*words: str, cwd: Path, code: int = 0) -> str:
    return imagier(*words, cwd=cwd, script="scripts/predict.py", code=code)


def lines(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "manifest.jsonl").read_text().splitlines()]


def test_masks_of_a_folder_are_those_of_the_python_call(tmp_path: Path, segmenter: Path) -> None:
    source = photographs(tmp_path / "photos")
    said = predict(f"ckpt={segmenter}", f"source={source}", "output=out", cwd=tmp_path)
    assert "5 images in" in said
    predictor = package.load(segmenter)
    for path in sorted(source.rglob("*.png")):
        name = path.relative_to(source)
        answer = predictor(path)
        for folder, expected in (
            ("masks", answer.labels),
            ("colors", answer.colored()),
            ("overlays", answer.picture()),
        ):
            assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / folder / name)), expected)
    assert [line["file"] for line in lines(tmp_path / "out")[1:]] == [
        path.relative_to(source).as_posix() for path in sorted(source.rglob("*.png"))
    ]


def test_classes_as_a_table(tmp_path: Path, classifier: Path) -> None:
    photographs(tmp_path / "photos")
    predict(f"ckpt={classifier}", "source='photos/**/*.png'", "output=out", "top=2", cwd=tmp_path)
    head, *rows = (tmp_path / "out" / "classes.csv").read_text().splitlines()
    assert head == "file,class_1,probability_1,class_2,probability_2"
    assert [row.split(",")[0] for row in rows] == ["one/0.png", "one/2.png", "one/4.png", "two/1.png", "two/3.png"]
    assert rows[0].split(",")[1] == package.load(classifier)(tmp_path / "photos" / "one" / "0.png").label
    predict(f"ckpt={classifier}", "source=photos", "output=all", "top=99", cwd=tmp_path)
    columns = [len(line.split(",")) for line in (tmp_path / "all" / "classes.csv").read_text().splitlines()]
    assert columns == [7] * 6  # the file name, and label and probability of three classes


def test_answers_of_another_net_of_the_same_name_are_not_taken_for_this_ones(tmp_path: Path, classifier: Path) -> None:
    photographs(tmp_path / "photos")
    net, about = net_of("classify", "cnn", size=(28, 28))
    with torch.no_grad():
        next(net.parameters()).mul_(2)
    bundle_of(net, about, tmp_path / "other")
    spoken("predict", f"ckpt={classifier}", "source=photos", "output=out", cwd=tmp_path)
    said = spoken("predict", "ckpt=other", "source=photos", "output=out", cwd=tmp_path, code=2)
    assert "output=out contains the results of another job" in said
    spoken("predict", f"ckpt={classifier}", "source=photos", cwd=tmp_path)
    spoken("predict", "ckpt=other", "source=photos", cwd=tmp_path)
    assert len(list((tmp_path / "predictions").iterdir())) == 2


def test_names_of_outputs_never_meet() -> None:
    items = [Item(name, b"") for name in ("x.jpg", "x.png", "x.png.png", "a/x.png", "y.b.png", "y.b")]
    found = stems(items)
    assert len(set(found.values())) == len(items)
    assert found["a/x.png"] == "a/x"


def test_names_of_sources_lead_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("2022", "2023"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.png").touch()
    monkeypatch.chdir(tmp_path / "2023")
    assert [item.name for item in find(["x.png", "../2022/x.png"], frozenset({".png"}))] == ["2023/x.png", "2022/x.png"]
    assert [item.name for item in find(["x.png", "../2023/x.png"], frozenset({".png"}))] == ["x.png"]  # one file
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"there is one alone")))
    assert find(["-", "-"], frozenset({".png"})) == [Item("stdin", b"there is one alone")]


def test_a_file_may_have_the_longest_name_that_there_is(tmp_path: Path) -> None:
    path = tmp_path / f"{chr(0x6F22) * 83}.png"  # 253 bytes of 255
    write_text(path, "whole")
    assert path.read_text() == "whole"


def test_a_name_as_people_give_it(tmp_path: Path, classifier: Path) -> None:
    for name in ("a=b.png", "c,d.png", "e%f#g.png", "~h.png"):
        Image.new("RGB", (30, 30)).save(tmp_path / name)
        assert f"1/1 {name}: " in spoken(
            "predict", f"ckpt={classifier}", f"source={name}", f"output=o_{name}", cwd=tmp_path
        )


def test_who_reads_may_stop_reading(tmp_path: Path, classifier: Path) -> None:
    source = photographs(tmp_path / "photos")
    command = [sys.executable, str(REPOSITORY / "scripts" / "predict.py"), f"ckpt={classifier}", f"source={source}"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_a_classifier_has_no_scales(tmp_path: Path, classifier: Path) -> None:
    photographs(tmp_path / "photos")
    said = spoken("predict", f"ckpt={classifier}", "source=photos", "scales=[0.5,1]", cwd=tmp_path, code=2)
    assert "scales=[0.5, 1] is for segmentation and denoising" in said


def test_a_bad_file_is_reported_skipped_and_tried_again(tmp_path: Path, segmenter: Path) -> None:
    source = photographs(tmp_path / "photos")
    good = (source / "one" / "2.png").read_bytes()
    (source / "one" / "2.png").write_bytes(good[:200])
    words = [f"ckpt={segmenter}", f"source={source}", "output=out"]
    said = predict(*words, cwd=tmp_path, code=3)
    assert "1 of 5 images could not be read" in said
    assert "2.png" in said
    assert "Traceback" not in said
    (source / "one" / "2.png").write_bytes(good)
    assert "4 of 5 images were already done\n1 image in" in predict(*words, cwd=tmp_path)
    assert len(list((tmp_path / "out" / "masks").rglob("*.png"))) == 5
    assert not [line for line in lines(tmp_path / "out") if "error" in line]


def test_a_killed_job_goes_on_and_a_changed_picture_is_done_anew(tmp_path: Path, segmenter: Path) -> None:
    source = photographs(tmp_path / "photos", count=150)
    words = [f"ckpt={segmenter}", f"source={source}", "output=out"]
    command = [sys.executable, str(REPOSITORY / "scripts" / "predict.py"), *words]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL) as process:
        manifest = tmp_path / "out" / "manifest.jsonl"
        while process.poll() is None and not (manifest.exists() and manifest.read_bytes().count(b"\n") > 20):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    with manifest.open("a") as torn:
        torn.write('{"file": "one/1')
    done = len(lines_that_are_whole(manifest)) - 1
    assert 0 < done < 150
    Image.fromarray(np.zeros((30, 30, 3), np.uint8)).save(source / "one" / "0.png")
    assert f"{done - 1} of 150 images were already done" in predict(*words, cwd=tmp_path)
    assert len(lines(tmp_path / "out")) == 151
    with Image.open(tmp_path / "out" / "masks" / "one" / "0.png") as mask:
        assert mask.size == (30, 30)
    assert "150 of 150 images were already done" in predict(*words, cwd=tmp_path)


def lines_that_are_whole(manifest: Path) -> list[str]:
    return [line for line in manifest.read_text().splitlines() if line.endswith("}")]


def test_another_job_does_not_mix_with_an_earlier_one(tmp_path: Path, segmenter: Path) -> None:
    photographs(tmp_path / "photos")
    predict(f"ckpt={segmenter}", "source=photos", "output=out", cwd=tmp_path)
    said = predict(f"ckpt={segmenter}", "source=photos", "output=out", "flip=true", cwd=tmp_path, code=2)
    assert "contains the results of another job" in said


def test_an_image_that_changes_while_it_is_read_is_run_again(
    tmp_path: Path, classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photographs(tmp_path / "photos", count=1)
    (image,) = (tmp_path / "photos").rglob("*.png")

    def read(given: Path, channels: int) -> np.ndarray:
        pixels = to_pixels(given, channels)
        image.write_bytes(image.read_bytes() + b"more")
        return pixels

    with monkeypatch.context() as patched:
        patched.setattr("imagier.deploy.job.to_pixels", read)
        spoken("predict", f"ckpt={classifier}", "source=photos", "output=out", cwd=tmp_path)
    for done in (0, 1):
        said = spoken("predict", f"ckpt={classifier}", "source=photos", "output=out", cwd=tmp_path)
        assert ("already done" in said) == bool(done)


def test_nothing_that_was_there_is_overwritten(tmp_path: Path, segmenter: Path) -> None:
    photographs(tmp_path / "set" / "images")
    (tmp_path / "set" / "masks").mkdir()
    (tmp_path / "set" / "masks" / "0.png").write_text("years of labelling")
    for source in ("set/images", "set"):
        said = predict(f"ckpt={segmenter}", f"source={source}", "output=set", cwd=tmp_path, code=2)
        assert "output=set already contains other files" in said
    assert (tmp_path / "set" / "masks" / "0.png").read_text() == "years of labelling"
    said = predict(f"ckpt={segmenter}", "source=set/images", "output=set/images/one/0.png", cwd=tmp_path, code=2)
    assert "choose another folder" in said
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.jsonl").write_bytes(b"\xff\xfe of another program")
    said = predict(f"ckpt={segmenter}", "source=set/images", "output=other", cwd=tmp_path, code=2)
    assert "output=other contains the results of another job" in said


def test_results_are_no_source(tmp_path: Path, segmenter: Path) -> None:
    photographs(tmp_path)
    for _ in range(2):
        said = predict(f"ckpt={segmenter}", "source=.", cwd=tmp_path)
    assert "5 of 5 images were already done" in said
    predict(f"ckpt={segmenter}", "source='**/*.png'", "output=new", cwd=tmp_path)
    assert len(lines(tmp_path / "new")) == 6
    said = predict(f"ckpt={segmenter}", "source=predictions", cwd=tmp_path, code=3)
    assert "only files written by an earlier job. To use these, name the folder" in said
    again = said.partition("that holds them: ")[2].split()[0].rstrip(".")
    assert "images in" in predict(f"ckpt={segmenter}", again, "output=again", cwd=tmp_path)
    shutil.rmtree(tmp_path / "predictions" / "unet-streets" / "masks")
    assert "already done" not in predict(f"ckpt={segmenter}", "source=.", cwd=tmp_path)
    predict(f"ckpt={segmenter}", "source=one/0.png", cwd=tmp_path)  # another source: another folder
    assert sorted(path.name for path in (tmp_path / "predictions").iterdir()) == ["unet-streets", "unet-streets-2"]


def test_a_manifest_of_somebody_elses_hides_no_picture(tmp_path: Path, segmenter: Path) -> None:
    photographs(tmp_path / "photos")
    (tmp_path / "photos" / "manifest.jsonl").write_text('{"file_name": "one/0.png", "caption": "a street"}\n')
    assert len(find(str(tmp_path / "photos"), SUFFIXES)) == 5
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.jsonl").touch()
    said = predict(f"ckpt={segmenter}", "source=photos", "output=out", cwd=tmp_path, code=2)
    assert "output=out contains the results of another job" in said


def test_a_picture_that_is_gone_stops_nothing(tmp_path: Path, segmenter: Path) -> None:
    photographs(tmp_path / "photos")
    (tmp_path / "photos" / "one" / "gone.png").symlink_to("nowhere.png")
    said = predict(f"ckpt={segmenter}", "source=photos", "output=out", cwd=tmp_path, code=3)
    assert "gone.png cannot be read" in said
    assert "Traceback" not in said
    assert len(list((tmp_path / "out" / "masks").rglob("*.png"))) == 5


def test_names_that_differ_by_their_suffix_alone(tmp_path: Path, segmenter: Path) -> None:
    for suffix in ("png", "bmp"):
        Image.fromarray(pictures(1, (20, 20))[0].transpose(1, 2, 0)).save(tmp_path / f"same.{suffix}")
    predict(f"ckpt={segmenter}", "source='same.*'", "output=out", cwd=tmp_path)
    assert sorted(path.name for path in (tmp_path / "out" / "masks").iterdir()) == ["same.bmp.png", "same.png.png"]


@pytest.mark.parametrize(
    ("words", "sentence", "code"),
    [
        (["source=nowhere"], "source=nowhere is neither a file nor a folder", 3),
        (["source=photos", "runtime=tensorrt"], "runtime=tensorrt is not known", 2),
        (["source=photos", "precision=int8"], "no graph of format onnx and precision int8", 5),
        (["source=photos", "precision=fp16"], "precision=fp16 is not known; it is one of: fp32, int8", 2),
        (["source=photos", "tile=7"], "tile=7 is out of range", 2),
        (["source=photos", "tile=64"], "tile=64 is for networks that take images of any size", 2),
        (["source=null"], "source=null is out of range: source is a path", 2),
        ([f"source={'a' * 300}"], "cannot be used: File name too long. Name another path", 2),
        (["source=photos", "format=coco"], "format=coco is not known", 2),
        (["source=photos", "format=cityscapes"], "is for task=classify", 2),
        ([], "source is not given", 2),
        (["photos"], "Did you mean 'source=photos'?", 2),
    ],
)
def test_wrong_words(tmp_path: Path, classifier: Path, words: list[str], sentence: str, code: int) -> None:
    photographs(tmp_path / "photos")
    said = predict(f"ckpt={classifier}", *words, cwd=tmp_path, code=code)
    assert sentence in said
    assert "Traceback" not in said
    assert not (tmp_path / "predictions").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["formats=tflite"], "formats=tflite is not known; choose from: onnx, pt2, openvino"),
        (["precision=fp16"], "precision=fp16 is not known; choose from: fp32, int8"),
        (["formats=pt2", "precision=int8"], "precision=int8 needs formats=onnx or openvino, but formats=pt2"),
    ],
)
def test_wrong_words_of_export(tmp_path: Path, words: list[str], sentence: str) -> None:
    assert sentence in spoken("export", "ckpt=.", *words, cwd=tmp_path, code=2)


def test_what_an_export_lacks_is_said_before_its_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "find_spec", lambda name: None)
    said = spoken("export", "ckpt=.", cwd=tmp_path, code=2)
    assert "formats=onnx needs onnx; install it with pip install 'imagier[export]'" in said


def test_another_checkpoint_does_not_take_the_place_of_the_best() -> None:
    usual = {name: exporting._usual_folder(Path("run/checkpoints") / f"{name}.ckpt").name for name in ("best", "last")}
    assert usual == {"best": "bundle", "last": "bundle-last"}


def test_the_official_evaluator_reads_what_is_written_and_agrees_with_evaluate(
    tmp_path: Path, streets_root: Path
) -> None:
    words = ["task=segment", "data=cityscapes", f"data.root={streets_root}", "data.size=null", "model.width=8"]
    imagier(*words, "data.batch_size=4", "trainer.max_epochs=2", "trainer=cpu", "report=false", cwd=tmp_path)
    others = ("data=cityscapes", f"data.root={streets_root}", "data.size=null")
    said = imagier("ckpt=runs/latest", *others, "samples=3", cwd=tmp_path, script="scripts/export.py")
    assert "onnx fp32: 3 held-out images" in said
    pictures_of_the_split = streets_root / "leftImg8bit" / "val"
    predict(
        "ckpt=runs/latest/bundle", f"source={pictures_of_the_split}", "output=out", "format=cityscapes", cwd=tmp_path
    )
    imagier("ckpt=runs/latest", "split=val", "output=measured", cwd=tmp_path, script="scripts/evaluate.py")
    expected = json.loads((tmp_path / "measured" / "metrics.json").read_text())["metrics"]

    evaluator = import_module("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    args = evaluator.args
    args.evalLabels = [label.id for label in evaluator.labels if label.id >= 0]
    args.predictionPath, args.predictionWalk = str(tmp_path / "out"), None
    args.quiet, args.evalInstLevelScore, args.JSONOutput = True, False, False
    truths = sorted(map(str, (streets_root / "gtFine" / "val").rglob("*_gtFine_labelIds.png")))
    found = evaluator.evaluateImgLists([evaluator.getPrediction(args, truth) for truth in truths], truths, args)
    assert len(truths) == 6
    for name, score in found["classScores"].items():
        if f"iou/{name}" in expected:
            assert expected[f"iou/{name}"] == pytest.approx(score, abs=1e-6), name
    assert expected["iou"] == pytest.approx(found["averageScoreClasses"], abs=1e-6)
