"""A whole run in this process: the files it leaves, and that its checkpoint alone suffices afterwards."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from imagier import cli
from imagier.datamodules import survey
from imagier.trained import training_pictures
from imagier.training import evaluation
from imagier.training import run as run_module
from imagier.training.metrics_csv import read_rows

QUICK = ["trainer=cpu", "trainer.max_epochs=2"]
SHORT = ["test=false", "report=false"]
CLASSIFY = ["task=classify", "model=mlp", "model.hidden=[32]", "data=fashion_mnist", "data.batch_size=30", *QUICK]
SEGMENT = ["task=segment", "model.width=4", "data=cityscapes", "data.label_set=category", "data.size=[48,96]", *QUICK]


def say(verb: str, *words: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [verb, *words])
        cli.main(verb)


def refused(verb: str, *words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        say(verb, *words)
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture(scope="module")
def segmented(tmp_path_factory: pytest.TempPathFactory, streets_root: Path) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    extra = ["task.class_weights=auto", "callbacks.pictures.every_n_epochs=1", "trainer.log_every_n_steps=1"]
    say("train", *SEGMENT, f"data.root={streets_root}", f"paths.runs={runs}", "data.batch_size=8", *extra)
    return runs / "latest"


def test_a_run_leaves_a_folder_that_explains_itself(segmented: Path) -> None:
    assert segmented.resolve().parent.name == "unet-cityscapes"
    assert segmented.resolve().parent.parent.name == "segment"
    left = {str(path.relative_to(segmented)) for path in segmented.rglob("*") if path.is_file()}
    assert left >= {
        "config.yaml", "environment.json", "metrics.csv", "metrics.json", "overrides.txt", "log.txt", "report.html",
        "checkpoints/best.ckpt", "checkpoints/last.ckpt", "pictures/curves.png", "pictures/confusion.png",
        "pictures/samples.png", "pictures/epoch_0001.png", "pictures/epoch_0002.png",
    }  # fmt: skip
    environment = json.loads((segmented / "environment.json").read_text())
    assert torch.__version__.startswith(environment["packages"]["torch"])  # which may add +cpu or +cu130
    assert len(environment["data_fingerprint"]) >= 16


def test_what_is_logged_is_what_people_look_for(segmented: Path) -> None:
    rows = read_rows(segmented / "metrics.csv")
    names = {name for row in rows for name in row}
    assert names >= {
        "train/loss", "train/iou", "val/loss", "val/iou", "val/accuracy", "val/class_accuracy", "val/iou/flat",
        "val/iou/human", "lr", "images_per_second", "data_wait_share", "train/step_loss", "best/test/iou",
    }  # fmt: skip
    assert [row["epoch"] for row in rows if "val/iou" in row] == [0, 1]


def test_the_report_needs_nothing_else(segmented: Path) -> None:
    page = (segmented / "report.html").read_text()
    assert "unet on cityscapes" in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)[^"']+""", page)
    scores = json.loads((segmented / "metrics.json").read_text())
    assert set(scores) == {"val", "test"}
    assert 0 <= scores["test"]["iou"] <= 1


def test_without_a_report_there_is_none_not_even_of_an_earlier_end(garments_root: Path, tmp_path: Path) -> None:
    words = [*CLASSIFY, f"data.root={garments_root}", f"paths.runs={tmp_path}", "test=false", "trainer.max_epochs=1"]
    say("train", *words)
    run = tmp_path / "latest"
    assert (run / "report.html").exists()
    assert training_pictures(run / "checkpoints" / "best.ckpt").keys() == {"curves", "confusion"}
    say("train", f"resume={run}", "trainer.max_epochs=2", "report=false")
    assert not (run / "report.html").exists()
    assert not training_pictures(run / "checkpoints" / "best.ckpt")  # they may be of another checkpoint
    assert "report:" not in (run / "log.txt").read_text().partition("epoch 2/2")[2]
    assert json.loads((run / "metrics.json").read_text())["val"]["accuracy"] > 0


def test_the_checkpoint_alone_is_evaluated_to_the_same_scores(
    segmented: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = json.loads((segmented / "metrics.json").read_text())
    for split in ("val", "test"):
        say("evaluate", f"ckpt={segmented}", f"split={split}")
        record = json.loads((segmented / "evaluate" / f"cityscapes-{split}" / "metrics.json").read_text())
        assert record["metrics"] == told[split]
        assert sum(map(sum, record["confusion"])) > 0
    assert "iou/vehicle" in capsys.readouterr().out
    say("evaluate", f"ckpt={segmented}", "split=val", "data.size=[32,64]")  # goes beside the other evaluations
    smaller = json.loads((segmented / "evaluate" / "cityscapes-32x64-val" / "metrics.json").read_text())
    assert (smaller["size"], record["size"]) == ([32, 64], [48, 96])


def test_measurements_of_two_checkpoints_lie_side_by_side_and_no_place_to_write_is_said_first(
    segmented: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    say("evaluate", f"ckpt={segmented}/checkpoints/last.ckpt", "split=val")
    record = json.loads((segmented / "evaluate" / "cityscapes-last-val" / "metrics.json").read_text())
    assert record["checkpoint"].endswith("last.ckpt")
    net = tmp_path / "given" / "net.ckpt"
    net.parent.mkdir()
    net.write_bytes((segmented / "checkpoints" / "best.ckpt").read_bytes())
    say("evaluate", f"ckpt={net}", "split=val")
    assert (net.parent / "evaluate" / "cityscapes-net-val" / "metrics.json").is_file()
    monkeypatch.setattr(evaluation, "measure", None)  # must not be reached: it could take minutes
    assert refused("evaluate", f"ckpt={net}", f"output={net}/below") == 2
    assert f"output={net}/below cannot be written" in capsys.readouterr().err
    kept = (segmented / "metrics.json").read_text()
    assert refused("evaluate", f"ckpt={net}", f"output={segmented}") == 2
    assert "is a run folder, whose own metrics.json would be overwritten" in capsys.readouterr().err
    assert (segmented / "metrics.json").read_text() == kept


@pytest.mark.parametrize(
    ("words", "measured"),
    [
        ([], ["test"]),
        (["data.split=[0.7,0.3,0]"], []),
        (["trainer.compile=true"], ["val", "test"]),
    ],
    ids=["", "no test pictures", "compiled"],
)
def test_what_the_last_validation_found_is_not_measured_again(
    tmp_path: Path, materials_root: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], measured: list[str]
) -> None:
    asked: list[str] = []

    def measure(trainer: Any, task: Any, data: Any, split: str) -> dict[str, float]:
        asked.append(split)
        return real(trainer, task, data, split)

    real = run_module.measure
    monkeypatch.setattr(run_module, "measure", measure)
    small = ["model=mlp", "model.hidden=[8]", "data.size=[16,16]", *QUICK]
    say(
        "train", "task=classify", "data=photos", f"data.root={materials_root}", *small, *words, f"paths.runs={tmp_path}"
    )
    scores = json.loads((tmp_path / "latest" / "metrics.json").read_text())
    assert asked == measured
    assert set(scores) == {"val", "test"}
    assert (scores["val"] == scores["test"]) == ("test" not in asked)
    report = (tmp_path / "latest" / "report.html").read_text()
    assert ("Accuracy, test" in report) == ("test" in asked)  # a split that stands in for test is not called test
    say("evaluate", f"ckpt={tmp_path / 'latest'}", "split=val")
    (record,) = tmp_path.glob("classify/*/*/evaluate/photos-val/metrics.json")
    assert json.loads(record.read_text())["metrics"] == scores["val"]
    # Given again, the data are split as they were for training.
    anew = ["data=photos", f"data.root={materials_root}", f"output={tmp_path}"]
    say("evaluate", f"ckpt={tmp_path / 'latest'}", "split=val", *anew)
    assert json.loads((tmp_path / "metrics.json").read_text())["metrics"] == scores["val"]


def test_a_checkpoint_is_evaluated_on_other_data_of_its_kind(
    segmented: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from imagier.synthetic import streets

    streets.generate(tmp_path / "other", train=2, val=4, test=2, size=(48, 96), seed=7)
    words = [f"ckpt={segmented}", "split=val", f"output={tmp_path}"]
    say("evaluate", *words, f"data.root={tmp_path}/other")
    assert json.loads((tmp_path / "metrics.json").read_text())["samples"] == 4
    say("evaluate", f"ckpt={segmented}", "split=all", f"output={tmp_path}", f"data.root={tmp_path}/other")
    assert json.loads((tmp_path / "metrics.json").read_text())["samples"] == 8
    few = ["data.batch_size=2", "trainer.limit_val_batches=1"]
    say("evaluate", f"ckpt={segmented}", "split=val", f"data.root={tmp_path}/other", *few)
    (part,) = (segmented / "evaluate").glob("*-first-2-of-val")  # beside the evaluation of all samples
    assert json.loads((part / "metrics.json").read_text())["samples"] == 2
    say("evaluate", *words, "data=cityscapes", "data.label_set=category", f"data.root={tmp_path}/other")
    capsys.readouterr()
    assert refused("evaluate", *words, "data=cityscapes", "data.label_set=train", f"data.root={tmp_path}/other") == 2
    assert "has the class road, which the checkpoint does not know" in capsys.readouterr().err
    assert refused("evaluate", *words, "data=garments") == 2
    assert "data=garments is for task=classify, but the checkpoint is of task=segment." in capsys.readouterr().err


def test_a_net_built_for_one_size_says_so_when_it_meets_another(
    garments_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    say("train", *CLASSIFY, f"data.root={garments_root}", f"paths.runs={tmp_path}", "trainer.max_epochs=1", *SHORT)
    assert refused("train", f"resume={tmp_path}/latest", "data.size=[32,32]", "trainer.max_epochs=2") == 2
    assert "the image size was (28, 28) in" in capsys.readouterr().err
    assert refused("evaluate", f"ckpt={tmp_path}/latest", "data.size=[32,32]") == 2
    assert "mlp was built for images of 28x28 pixels but got 32x32: set data.size=[28,28]" in capsys.readouterr().err
    summary = json.loads((tmp_path / "latest" / "summary.json").read_text())
    assert (summary["model"], summary["epochs"], summary["seed"]) == ("mlp", 1, 0)
    assert summary["parameters"] == 28 * 28 * 32 + 32 + 32 * 10 + 10


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("model.width=8", "model.width was 4 in"),
        ("optimizer=sgd", "optimizer was torch.optim.AdamW in"),
        ("data.label_set=train", "the list of classes was flat, construction"),
        ("trainer.max_epochs=1", "has already been trained for 2 epochs"),
        ("data.limit=3", "data.limit was None in"),  # the best score so far would be on other images
        ("trainer.limit_val_batches=1", "trainer.limit_val_batches was 1.0 in"),  # 1 batch is not 1.0, the whole split
    ],
)
def test_a_resumption_that_does_not_fit_is_refused_and_changes_nothing(
    word: str, told: str, segmented: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def state() -> dict[str, bytes]:
        return {
            path.name: path.read_bytes() for path in segmented.iterdir() if path.is_file() and path.name != "log.txt"
        }

    before = state()
    assert refused("train", f"resume={segmented}", word) == 2
    assert told in capsys.readouterr().err
    assert state() == before


def test_pictures_of_another_size_are_measured_at_the_size_trained_for(materials_root: Path, tmp_path: Path) -> None:
    words = ["task=classify", "model=cnn", "data=photos", *QUICK, "trainer.max_epochs=1", *SHORT]
    say("train", *words, f"data.root={materials_root}", f"paths.runs={tmp_path}")
    for path in materials_root.rglob("*.png"):
        larger = tmp_path / "larger" / path.relative_to(materials_root)
        larger.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as picture:
            picture.resize((3 * picture.width, 2 * picture.height)).save(larger)
    told = []
    for words in (["data.size=[32,32]"], [], ["data=photos"]):
        measured = tmp_path / f"measured{len(told)}"
        say(
            "evaluate", f"ckpt={tmp_path}/latest", "split=all", *words,
            f"data.root={tmp_path}/larger", f"output={measured}",
        )  # fmt: skip
        told.append(json.loads((measured / "metrics.json").read_text())["metrics"])
    assert told[0] == told[1] == told[2]
    assert refused("export", f"ckpt={tmp_path}/latest", "data.size=[64,64]") == 2  # a classifier's graph has one size


def test_a_checkpoint_loads_without_executing_anything(segmented: Path) -> None:
    saved = torch.load(segmented / "checkpoints" / "best.ckpt", weights_only=True)
    assert saved["imagier"]["config"]["model"]["width"] == 4
    assert saved["imagier"]["facts"]["classes"][0] == "flat"


def test_a_checkpoint_may_have_nothing_called_but_what_the_configuration_offers(
    segmented: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = torch.load(segmented / "checkpoints" / "best.ckpt", weights_only=True)
    saved["imagier"]["config"]["loss"] = {"terms": [{"_target_": "os.mkdir", "path": str(tmp_path / "made")}]}
    torch.save(saved, tmp_path / "foreign.ckpt")
    with pytest.raises(SystemExit):
        say("evaluate", f"ckpt={tmp_path}/foreign.ckpt")
    assert "needs os.mkdir for its loss.terms[0], which no file in conf/ offers" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


def test_a_set_that_is_read_for_the_first_time_changes_no_weight(
    materials_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "_MANY", 1)  # read by processes, as large sets are
    words = ["task=classify", "model=mlp", "model.hidden=[8]", "data=photos", f"data.root={materials_root}", *QUICK]
    words += ["data.size=[16,16]", "trainer.max_epochs=1", *SHORT, f"paths.cache={tmp_path}/cache"]
    trained = []
    for place in ("first", "again"):
        say("train", *words, f"paths.runs={tmp_path}/{place}")
        trained.append(torch.load(tmp_path / place / "latest/checkpoints/last.ckpt", weights_only=True)["state_dict"])
    assert all(torch.equal(weight, trained[1][name]) for name, weight in trained[0].items())


def test_tensorboard_gets_scores_and_pictures(garments_root: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    say("train", *CLASSIFY, f"data.root={garments_root}", f"paths.runs={tmp_path}", "logger=tensorboard")
    events = EventAccumulator(str(tmp_path / "latest" / "tensorboard")).Reload()
    assert {"val/loss", "val/accuracy", "lr"} <= set(events.Tags()["scalars"])
    assert {"val/samples", "confusion"} <= set(events.Tags()["images"])
    assert events.Images("val/samples")[-1].step in [score.step for score in events.Scalars("val/accuracy")]


def test_doctor_prints_facts_and_names_bad_files(
    materials_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    say("doctor", "data=photos", f"data.root={materials_root}")
    assert "task.class_weights=" in capsys.readouterr().out
    shutil.copytree(materials_root, tmp_path / "set")
    broken = next((tmp_path / "set").rglob("*.png"))
    broken.write_bytes(broken.read_bytes()[:100])
    assert refused("doctor", "data=photos", f"data.root={tmp_path}/set") == 3
    said: Any = capsys.readouterr()
    assert broken.name in said.out
    assert "1 sample cannot be used" in said.err


def test_a_batch_of_one_that_the_net_cannot_normalise(
    garments_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["task=classify", "model=timm", "model.architecture=resnet18", "data=fashion_mnist", "data.batch_size=1"]
    words += [f"data.root={garments_root}", f"paths.runs={tmp_path}", "trainer=cpu", "data.limit=2"]
    assert refused("train", *words) == 2
    assert "leaves each process a single sample: use two or more" in capsys.readouterr().err
