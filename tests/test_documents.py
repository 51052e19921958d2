"""Every command in README.md and docs/ runs, and the code shown in ARCHITECTURE.md works as it stands."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from imagier import cli, synthetic
from imagier.synthetic import garments, leaves, streets
from tests.conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PAGES = [
    (REPOSITORY / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("training", "data", "deployment")
]
ARCHITECTURE = (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8")
# Small enough to run every command: embedded sets of a few images, one batch of each, and narrower networks.
FEWER = {
    "streets": partial(streets.generate, train=20, val=10, test=10, size=(48, 96)),
    "garments": partial(garments.generate, train=300, test=60),
    "leaves": partial(leaves.generate, count=20, size=(64, 64)),
}
LESS = ["debug=one_batch", "data.limit=10", "data.batch_size=5"]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


LINES = [line for page in (README, *PAGES) for block in blocks(page, "bash") for line in block.splitlines()]
COMMANDS = list(dict.fromkeys(line for line in LINES if not line.startswith("make ")))


@pytest.mark.slow
def test_the_documents_run_from_their_first_command_to_their_last(
    streets_root: Path,
    garments_root: Path,
    materials_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMAGIER_CACHE", str(tmp_path / "cache"))
    for name, generate in FEWER.items():
        version, _, contents = synthetic.SETS[name]
        monkeypatch.setitem(synthetic.SETS, name, (version, generate, contents))
    places = {"/data/cityscapes": streets_root, "/data/photos": materials_root, "/data": garments_root}
    assert len(COMMANDS) >= 10
    for number, command in enumerate(COMMANDS):
        words = shlex.split(command)
        verb = "train" if words[:2] == ["python", "train.py"] else words[1]
        words = [_placed(word, places) for word in words[2:]]
        if verb == "train" and not any(word.startswith("resume=") for word in words):
            words += [word for word in LESS if not word.startswith("data.limit") or "data=photos" not in command]
            words += ["model.width=4"] if "unet" in command or command.endswith("task=segment") else []
            words += ["report=false"] if number >= 4 else []  # the first four cover one task each
        for task in ("segment", "denoise", "compress") if verb == "leaderboard" else ():
            shutil.rmtree(tmp_path / "runs" / task, ignore_errors=True)  # plots of one task's leaderboard are enough
        if not torch.cuda.is_available():
            words = [word for word in words if word != "trainer=gpu"]
        monkeypatch.setattr(sys, "argv", [verb, *words])
        cli.main(verb)


def _placed(word: str, places: dict[str, Path]) -> str:
    key, _, value = word.partition("=")
    shorter = {
        "trainer.max_epochs=20": "trainer.max_epochs=2", "trainer.budget=20m": "trainer.budget=1s",
        "trainer.max_epochs=3": "trainer.max_epochs=1", "sweep.trials=12": "sweep.trials=2",
        "seed=0,1,2": "seed=0,1", "seeds=3": "seeds=2", "optimizer.lr=1e-3,3e-4": "optimizer.lr=1e-3",
    }  # fmt: skip
    if key == "source":
        return word.replace("/data/photos", str(places["/data/photos"]))
    return f"{key}={places[value]}" if key == "data.root" else shorter.get(word, word)


def test_a_notebook_needs_no_hydra(garments_root: Path, tmp_path: Path) -> None:
    (code,) = blocks(PAGES[0], "python")
    for told, here in (('"/data"', repr(str(garments_root))), ("batch_size=128", "batch_size=50, limit=100")):
        assert told in code
        code = code.replace(told, here)
    words = ["import sys", code, "loader = data.loader('train', shuffle=True)", "loader.sampler.set_epoch(1)"]
    words += ["assert next(iter(loader))['image'].shape == (50, 1, 28, 28)", "assert 'hydra' not in sys.modules"]
    ended = subprocess.run([sys.executable, "-c", "\n".join(words)], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "test/accuracy" in ended.stdout


def test_readme_quotes_what_is_said() -> None:
    quoted = next(line.strip() for line in README.splitlines() if line.strip().startswith("imagier: model=unett"))
    ended = subprocess.run(
        [sys.executable, "train.py", "task=segment", "model=unett"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert ended.stderr.strip() == quoted
    assert ended.returncode == 2


def test_the_page_of_benchmarks_shows_what_was_measured() -> None:
    told = [sys.executable, "scripts/benchmarks/run.py", "--table"]
    table = subprocess.run(told, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert len(table.splitlines()) > 10
    assert table in (REPOSITORY / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    _, _, speed = README.partition("## Speed")
    excerpt = [line for line in speed.splitlines() if line.startswith("|")]
    assert len(excerpt) > 5
    assert set(excerpt) <= set(table.splitlines())


def test_the_page_of_recipes_shows_what_was_measured() -> None:
    told = [sys.executable, "scripts/recipes/run.py", "table"]
    table = subprocess.run(told, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.strip()
    assert "| experiment |" in table
    assert table in (REPOSITORY / "docs" / "recipes.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("target", re.findall(r"^make (\w+)", README, flags=re.MULTILINE))
def test_every_make_target_of_readme_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_every_link_of_the_documents_leads_somewhere() -> None:
    documents = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]
    for document in documents:
        for link in re.findall(r"\]\(([^)]+)\)", document.read_text(encoding="utf-8")):
            file, _, section = link.partition("#")
            if not link.startswith("https://"):
                target = document.parent / file if file else document
                assert target.exists(), f"{document}: {link}"
                heads = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE) if section else []
                anchors = [re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads]
                assert not section or section in anchors, f"{document}: {link}"


def test_what_architecture_shows_is_all_that_a_net_a_data_set_and_a_task_need(
    tmp_path: Path, materials_root: Path
) -> None:
    """In a copy of the repository with no other changes, on images of odd and unequal sizes, one of them broken."""
    house = tmp_path / "house"
    for part in ("src", "conf"):
        shutil.copytree(REPOSITORY / part, house / part, ignore=shutil.ignore_patterns("__pycache__", "local"))
    (house / "imagier").symlink_to("src")
    shutil.copy(REPOSITORY / "train.py", house)
    shown = r"`((?:src|conf)/\S+?)`(?:(?!```).)*?```(?:python|yaml)\n(.*?)```"
    files = re.findall(shown, ARCHITECTURE.partition("## Add a net")[2], flags=re.DOTALL)
    assert [name for name, _ in files] == [
        "src/models/stripes.py", "conf/model/stripes.yaml", "src/datamodules/pairs.py", "conf/data/pairs.yaml",
        "src/tasks/grade.py", "conf/task/grade.yaml",
    ]  # fmt: skip
    for name, text in files:
        (house / name).write_text(text)
    for name in ("model/cnn", "data/photos", "loss/cross_entropy"):  # choices that suit the new task
        path = house / "conf" / f"{name}.yaml"
        path.write_text(re.sub(r"^tasks: \[", "tasks: [grade, ", path.read_text(), flags=re.MULTILINE))
    write_pairs(tmp_path / "pairs", 40)

    first, second, third = re.findall(r"^`python train.py (.*)`$", ARCHITECTURE, flags=re.MULTILINE)
    second = second.replace("/data/pairs", str(tmp_path / "pairs"))
    said(house, 0, *first.split(), "--cfg", "job")
    assert "data.on_error=skip" in said(house, 3, *second.split())
    unequal = said(house, 2, *second.split(), "data.size=null", "data.on_error=skip")
    assert "all must have one size" in unequal
    assert "run folder" not in unequal
    trained = said(house, 0, *second.split(), "data.on_error=skip", "debug=one_batch")
    assert "unreadable samples skipped: 1" in trained
    assert "2 classes" in trained
    third = third.replace("/data/apples", str(materials_root))
    assert "val/off" in said(house, 0, *third.split(), "data.size=[32,32]", "debug=one_batch")


def test_what_architecture_imports_is_taken_from_where_it_is_defined() -> None:
    """What mypy's no_implicit_reexport demands; running mypy here would take a minute."""
    shown = [line for block in blocks(ARCHITECTURE, "python") for line in block.splitlines()]
    imports = [found for line in shown if (found := re.match(r"from imagier\.(\S+) import (.+)", line))]
    assert len(imports) >= 8
    for found in imports:
        place = REPOSITORY / "src" / found[1].replace(".", "/")
        text = "" if place.is_dir() else place.with_suffix(".py").read_text(encoding="utf-8")
        for name in found[2].split(", "):
            defined = re.search(rf"^(def |class )?{name}\b( =|\(|:)", text, flags=re.MULTILINE)
            assert defined or (place / f"{name}.py").is_file(), found[0]


def write_pairs(root: Path, count: int) -> None:
    draw = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number in range(count):
        height, width = draw.integers(40, 90, 2)
        mask = (draw.random((height, width)) < 0.5).astype(np.uint8)
        mask[:2] = 255
        Image.fromarray(np.repeat(mask[..., None] * 90, 3, 2)).save(root / "images" / f"{number}.jpg")
        Image.fromarray(mask).save(root / "masks" / f"{number}.png")
    (root / "images" / "7.jpg").write_bytes(b"no picture")


def said(house: Path, code: int, *words: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-P", "train.py", *words],
        cwd=house, env=os.environ | {"PYTHONPATH": str(house)}, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == code, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stdout + ended.stderr
