"""scripts/recipes: which commands are measured, which rows are kept, and the tables made from them."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import REPOSITORY

RECIPES = {
    "one_cpu": {"score": "accuracy", "target": 0.8, "aim": 0.9, "baseline": "plain"},
    "one_gpu": {"score": "psnr/25"},
    "plain": {"score": "accuracy"},
}


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("recipe_tables", REPOSITORY / "scripts" / "recipes" / "tables.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script(tables: ModuleType) -> ModuleType:
    spec = importlib.util.spec_from_file_location("recipe_run", REPOSITORY / "scripts" / "recipes" / "run.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "tables", tables)
        spec.loader.exec_module(module)
    return module


def row(
    name: str, score: dict[str, float], words: str = "", seed: int = 0, left_out: str = "nothing"
) -> dict[str, Any]:
    command = f"python train.py experiment={name} data.root=FOLDER {words} seed={seed}"
    measured = {"command": command, "seconds": 90.0, "score": score, "machine": "Intel(R) Xeon(R) Processor"}
    return measured | {"left_out": left_out, "seed": seed}


def put(folder: Path, name: str, **rows: list[dict[str, Any]]) -> None:
    (folder / f"{name}.json").write_text(json.dumps(rows))


def test_a_recipe_stands_beside_its_baseline_with_what_was_said(tables: ModuleType, tmp_path: Path) -> None:
    put(tmp_path, "one_cpu", train=[row("one_cpu", {"accuracy": 0.85}), row("one_cpu", {"accuracy": 0.87}, seed=1)])
    put(tmp_path, "plain", train=[row("plain", {"accuracy": 0.7}, "trainer.budget=1m")])
    put(tmp_path, "one_gpu", train=[row("one_gpu", {"psnr/25": 31.5})])
    on_cpu, on_gpu = tables.tables(tmp_path, RECIPES).split("On one GPU")
    told = "| `one_cpu` | accuracy | 80.00 % | 90.00 % | 86.00 % ± 1.41 % (2 seeds) | 1.5 | Intel Xeon |"
    assert f"{told} `plain trainer.budget=1m`: 70.00 % in 1.5 minutes |" in on_cpu
    assert "| `one_gpu` | psnr/25 |  |  | 31.50 dB | 1.5 | Intel Xeon |  |" in on_gpu
    assert (on_cpu.count("plain"), on_gpu.count("plain")) == (1, 0)  # as the baseline only: it is not a recipe itself


def test_each_machine_has_a_row_of_its_own_beside_the_baseline_there(tables: ModuleType, tmp_path: Path) -> None:
    slow = {"machine": "Slow Processor"}
    put(tmp_path, "one_cpu", train=[row("one_cpu", {"accuracy": 0.85}), row("one_cpu", {"accuracy": 0.75}) | slow])
    put(tmp_path, "plain", train=[row("plain", {"accuracy": 0.7}), row("plain", {"accuracy": 0.5}) | slow])
    fast, slower = [line for line in tables.tables(tmp_path, RECIPES).splitlines() if line.startswith("| `one_cpu`")]
    assert "| 85.00 % | 1.5 | Intel Xeon | `plain`: 70.00 % in" in fast
    assert "| 75.00 % | 1.5 | Slow | `plain`: 50.00 % in" in slower
    put(tmp_path, "plain", train=[row("plain", {"accuracy": 0.7})])
    fast, slower = [line for line in tables.tables(tmp_path, RECIPES).splitlines() if line.startswith("| `one_cpu`")]
    assert fast.endswith("| `plain`: 70.00 % in 1.5 minutes |")
    assert slower.endswith("| `plain`: 70.00 % in 1.5 minutes on Intel Xeon |")
    alone = {"one_cpu": {"learns": "photographs", "score": "accuracy"}}
    (short,) = tables.short_table(tmp_path, alone).splitlines()[2:]
    assert short == "| `one_cpu` | photographs | accuracy | 85.00 %; 75.00 % | 1.5; 1.5 | Intel Xeon; Slow |"


def test_readme_has_all_recipes_in_short(script: ModuleType, tables: ModuleType, tmp_path: Path) -> None:
    short = tables.short_table(REPOSITORY / "docs" / "recipes", script.RECIPES)
    assert len(short.splitlines()) > 10
    assert short in (REPOSITORY / "README.md").read_text(encoding="utf-8")
    put(tmp_path, "one_gpu", train=[row("one_gpu", {"psnr/25": 31.5}, "trainer.budget=1m")])
    named = tables.short_table(tmp_path, {"one_gpu": RECIPES["one_gpu"] | {"learns": "photographs"}})
    assert named.endswith(
        "| `one_gpu trainer.budget=1m` | photographs | PSNR at sigma 25 | 31.50 dB | 1.5 | Intel Xeon |\n"
    )


def test_what_is_kept_is_of_recipes_that_are_told(script: ModuleType) -> None:
    kept = {path.stem for path in (REPOSITORY / "docs" / "recipes").glob("*.json")}
    assert kept <= set(script.RECIPES)
    assert all("learns" in recipe for name, recipe in script.RECIPES.items() if name.endswith(("_cpu", "_gpu")))


def test_a_table_takes_its_place_on_a_page_and_no_other(script: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- recipes -->\nold\n<!-- /recipes -->\nafter\n")
    told = script.with_table(page, "new")
    assert told == "before\n<!-- recipes -->\nnew\n<!-- /recipes -->\nafter\n"
    for broken in ("no marks", "<!-- recipes --> unclosed", "<!-- /recipes --> <!-- recipes -->"):
        page.write_text(broken)
        with pytest.raises(ValueError, match="needs <!-- recipes --> and, after it"):
            script.with_table(page, "new")


def test_words_are_told_as_a_shell_takes_them(tables: ModuleType, tmp_path: Path) -> None:
    measured = row("one_cpu", {"accuracy": 0.7}, "'augment.heights=[1, 2]'")
    put(tmp_path, "one_cpu", train=[measured])
    assert "| `one_cpu 'augment.heights=[1, 2]'` |" in tables.tables(tmp_path, RECIPES)
    assert tables.words_of(measured) == ["augment.heights=[1, 2]"]


def test_after_a_failure_nothing_more_is_begun(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def failing(name: str, words: list[str], given: Any) -> dict[str, Any]:
        begun.append(words)
        raise RuntimeError("no memory")

    monkeypatch.setattr(script, "_measured", failing)
    command = ["train", "one_cpu", "--seeds", "20", "--data", str(tmp_path), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["run.py", *command])
    with pytest.raises(RuntimeError, match="no memory"):
        script.main()
    assert len(begun) == 1


def test_over_the_same_seeds_it_is_said_how_far_it_is_ahead(tables: ModuleType, tmp_path: Path) -> None:
    ours = [row("one_cpu", {"accuracy": score}, seed=seed) for seed, score in enumerate((0.8, 0.82, 0.84))]
    theirs = [row("plain", {"accuracy": score}, seed=seed) for seed, score in ((2, 0.74), (1, 0.7), (5, 0.1))]
    put(tmp_path, "one_cpu", train=ours)
    put(tmp_path, "plain", train=theirs)  # differences for seeds 1 and 2: 0.12 and 0.1, with deviation 0.014 and t = 11
    told = "; from there, over 2 seeds, +11.00 ± 1.41 points, 95 % interval -1.71 to +23.71, p 0.058 |"
    assert told in tables.tables(tmp_path, RECIPES)


def test_a_baseline_of_one_rate_is_told_by_its_quality_and_its_rate(tables: ModuleType, tmp_path: Path) -> None:
    put(tmp_path, "one_cpu", train=[row("one_cpu", {"accuracy": 0.85})])
    put(tmp_path, "plain", train=[row("plain", {"psnr": 20.6, "bpp": 2.0, "accuracy": None})])
    assert "`plain`: 20.60 dB at 2.00 bits a pixel in 1.5 minutes" in tables.tables(tmp_path, RECIPES)


def test_what_is_left_out_is_told_by_the_change_it_makes(tables: ModuleType, tmp_path: Path) -> None:
    short = "trainer.budget=3m"
    without = row("one_cpu", {"accuracy": 0.75}, f"{short} model.mirror=false", left_out="mirror")
    rows = [row("one_cpu", {"accuracy": 0.8}, short), without]
    put(tmp_path, "one_cpu", ablate=rows)
    told = tables.tables(tmp_path, RECIPES)
    assert "`one_cpu trainer.budget=3m`, on Intel Xeon:" in told
    assert "| mirror | `model.mirror=false` | 75.00 % | -5.00 points |" in told


def test_an_ablation_without_a_whole_of_its_own_is_held_against_the_recipe(tables: ModuleType, tmp_path: Path) -> None:
    without = row("one_cpu", {"accuracy": 0.7}, "pretrain=null", left_out="pretraining")
    put(tmp_path, "one_cpu", train=[row("one_cpu", {"accuracy": 0.85})], ablate=[without])
    told = tables.tables(tmp_path, RECIPES)
    assert "| nothing | | 85.00 % | |" in told
    assert "| pretraining | `pretrain=null` | 70.00 % | -15.00 points |" in told


def test_leaves_stand_beside_photographs_and_rivals_beside_one_another(tables: ModuleType, tmp_path: Path) -> None:
    photographs, leaves = [row("one_gpu", {"psnr/25": 31.5})], [row("one_gpu", {"psnr/25": 30.25}, "data=leaves")]
    put(tmp_path, "one_gpu", train=photographs, leaves=leaves)
    put(tmp_path, "plain", compare=[row("plain", {"accuracy": 0.7}, "trainer.budget=4m")])
    told = tables.tables(tmp_path, RECIPES)
    assert "| `one_gpu` | psnr/25 | 30.25 dB | 31.50 dB | -1.25 dB | Intel Xeon |" in told
    short = row("one_gpu", {"psnr/25": 30.0}, "data=leaves trainer.budget=5m")
    alike = row("one_gpu", {"psnr/25": 30.5}, "trainer.budget=5m", left_out="leaves")
    put(tmp_path, "one_gpu", train=photographs, leaves=[short, alike])
    told = tables.tables(tmp_path, RECIPES)
    assert "| `one_gpu trainer.budget=5m` | psnr/25 | 30.00 dB | 30.50 dB | -0.50 dB | Intel Xeon |" in told
    assert "| `plain` | `trainer.budget=4m` | accuracy | 70.00 % | 1.5 | Intel Xeon |" in told


def test_scores_that_are_not_defined_are_a_dash(tables: ModuleType, tmp_path: Path) -> None:
    rows = [row("one_cpu", {"accuracy": 0.8}), row("one_cpu", {"loss": 1.0}, "model=other", left_out="net")]
    put(tmp_path, "one_cpu", ablate=rows)
    assert "| net | `model=other` | - |  |" in tables.tables(tmp_path, RECIPES)
    put(tmp_path, "one_gpu", leaves=[row("one_gpu", {"loss": 1.0}, "data=leaves")])
    assert "one_gpu" not in tables.tables(tmp_path, RECIPES)


def test_only_rows_of_one_machine_and_of_one_length_are_compared(tables: ModuleType, tmp_path: Path) -> None:
    slow, slowest = {"machine": "Slow Processor"}, {"machine": "Slowest Processor"}
    without = row("one_cpu", {"accuracy": 0.7}, "pretrain=null", left_out="pretraining") | slow
    put(tmp_path, "one_cpu", train=[row("one_cpu", {"accuracy": 0.85})], ablate=[without])
    plain = [row("plain", {"accuracy": 0.5}) | slow, row("plain", {"accuracy": 0.4}) | slowest]
    put(tmp_path, "plain", train=plain)
    told = tables.tables(tmp_path, RECIPES)
    assert "pretraining" not in told
    assert "`plain`: 40.00 % in 1.5 minutes on Slowest |" in told
    short = row("one_gpu", {"psnr/25": 30.0}, "data=leaves trainer.budget=5m")
    put(tmp_path, "one_gpu", train=[row("one_gpu", {"psnr/25": 31.5})], leaves=[short])
    assert "embedded leaves" not in tables.tables(tmp_path, RECIPES)


def test_leaves_are_measured_beside_photographs(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["leaves", "one_cpu", "--data", str(tmp_path), "--out", str(tmp_path), "--words", "trainer.budget=1m"]
    leaves, photographs = asked(monkeypatch, script, *command)
    assert leaves == ["one_cpu", "trainer.budget=1m", "data=leaves", "seed=0"]
    assert photographs == ["one_cpu", "trainer.budget=1m", "seed=0"]
    kept = json.loads((tmp_path / "one_cpu.json").read_text())["leaves"]
    assert [one["left_out"] for one in kept] == ["nothing", "leaves"]


def asked(monkeypatch: pytest.MonkeyPatch, script: ModuleType, *words: str) -> list[list[str]]:
    """Return the name and settings of each training that a command would run."""
    sentences = []

    def measured(name: str, words: list[str], given: Any) -> dict[str, Any]:
        sentences.append([name, *words])
        return row(name, {"accuracy": 0.5}, " ".join(words[:-1]))

    mirror = {"mirror": ["model.mirror=false", "trainer.budget=9m"]}
    longer = {"a first part": ["pretrain=null", "trainer.budget=17m"]}
    recipes = {"one_cpu": {"without": mirror, "split": "[0.9,0.1,0.0]"}, "two_cpu": {"without": longer}}
    monkeypatch.setattr(script, "RECIPES", recipes)
    monkeypatch.setattr(script, "_measured", measured)
    monkeypatch.setattr(sys, "argv", ["run.py", *words])
    script.main()
    return sentences


def test_seeds_are_added_and_what_all_rows_lack_is_left_out_once(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = ["--data", str(tmp_path), "--out", str(tmp_path)]
    asked(monkeypatch, script, "train", "one_cpu", *places)
    asked(monkeypatch, script, "train", "one_cpu", *places, "--first-seed", "1", "--seeds", "2")
    assert [one["seed"] for one in json.loads((tmp_path / "one_cpu.json").read_text())["train"]] == [0, 1, 2]
    lacking = asked(monkeypatch, script, "ablate", "one_cpu", *places, "--words", "model.mirror=false")
    assert lacking == [["one_cpu", "model.mirror=false", "seed=0"]]


def test_an_ingredient_s_own_words_win_over_those_of_all(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["ablate", "one_cpu", "--data", str(tmp_path), "--out", str(tmp_path), "--words", "trainer.budget=1m"]
    whole, mirror = asked(monkeypatch, script, *command)
    assert whole == ["one_cpu", "trainer.budget=1m", "seed=0"]
    assert mirror == ["one_cpu", "trainer.budget=1m", "model.mirror=false", "trainer.budget=9m", "seed=0"]
    kept = json.loads((tmp_path / "one_cpu.json").read_text())["ablate"]
    assert [one["left_out"] for one in kept] == ["nothing", "mirror"]
    assert all(one["words"] == ["trainer.budget=1m"] for one in kept)


def test_rows_of_other_words_are_not_mixed(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "one_cpu", "--data", str(tmp_path), "--out", str(tmp_path)]
    put(tmp_path, "one_cpu", train=[row("one_cpu", {"accuracy": 0.85}, seed=seed) for seed in (0, 1)], leaves=[])
    with pytest.raises(SystemExit):
        asked(monkeypatch, script, *command, "--words", "trainer.budget=1m")
    assert (
        "one_cpu was measured with --words nothing: repeat these, or use --anew to discard" in capsys.readouterr().err
    )
    assert len(asked(monkeypatch, script, *command)) == 1
    assert len(asked(monkeypatch, script, *command, "--words", "trainer.budget=1m", "--anew")) == 1
    kept = json.loads((tmp_path / "one_cpu.json").read_text())
    assert [one["command"].split()[-2] for one in kept["train"]] == ["trainer.budget=1m"]
    assert "leaves" in kept
    elsewhere = row("one_cpu", {"accuracy": 0.4}, "trainer.budget=1m") | {"machine": "Slow Processor"}
    put(tmp_path, "one_cpu", train=[*kept["train"], elsewhere], leaves=[])
    for more in ([], ["--anew"]):  # rows of other machines stay
        asked(monkeypatch, script, *command, "--words", "trainer.budget=1m", *more)
        found = json.loads((tmp_path / "one_cpu.json").read_text())["train"]
        assert [one["score"]["accuracy"] for one in found] == [0.4, 0.5]
    part = ["ablate", "one_cpu", "--only", "mirror", *command[2:], "--words", "trainer.budget="]
    asked(monkeypatch, script, *part[:-1], f"{part[-1]}2m")  # without its own run of the whole recipe
    with pytest.raises(SystemExit):
        asked(monkeypatch, script, *part[:-1], f"{part[-1]}3m")


def test_comparisons_with_other_words_stand_side_by_side_and_those_with_the_same_words_together(
    script: ModuleType, tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "plain", compare=[row("plain", {"accuracy": 0.7}, "trainer.budget=4m")])
    command = ["compare", "one_cpu", "plain", "--seeds", "2", "--data", str(tmp_path), "--out", str(tmp_path)]
    for _ in range(2):  # the second time replaces the rows of the first
        begun = asked(monkeypatch, script, *command, "--words", "trainer.max_epochs=8")
        assert [(one[0], one[-1]) for one in begun] == [
            (name, f"seed={seed}") for seed in (0, 1) for name in ("one_cpu", "plain")
        ]
    told = tables.tables(tmp_path, RECIPES)
    assert told.count("| `one_cpu` |") == 1
    assert told.count("| `plain` |") == 2
    eight = "`trainer.max_epochs=8` | accuracy | 50.00 % ± 0.00 % (2 seeds) | 1.5 | Intel Xeon |"
    assert f"| `one_cpu` | {eight}\n| `plain` | {eight}" in told
    assert "| `plain` | `trainer.budget=4m` | accuracy | 70.00 % | 1.5 | Intel Xeon |" in told


def test_an_ablation_of_other_words_is_not_held_against_the_recipe(tables: ModuleType, tmp_path: Path) -> None:
    without = row("one_cpu", {"accuracy": 0.7}, "trainer.budget=1m", left_out="mirror") | {
        "words": ["trainer.budget=1m"]
    }
    put(tmp_path, "one_cpu", train=[row("one_cpu", {"accuracy": 0.85})], ablate=[without])
    assert "mirror" not in tables.tables(tmp_path, RECIPES)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train", "one_cpu"], "train needs the NAME of an experiment, or several, and --data FOLDER"),
        (
            ["ablate", "one_cpu", "--only", "morror", "--data", "."],
            "--only morror matches nothing in one_cpu, which has mirror",
        ),
        (["leaves", "other", "--data", "."], "recipes.yaml gives no split"),
        (["ablate", "two_cpu", "--data", "."], "two_cpu without a first part would have a time of its own"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_cannot_be_measured_is_said(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    with pytest.raises(SystemExit):
        asked(monkeypatch, script, *words)
    assert told in capsys.readouterr().err


def test_comparisons_by_other_words_and_machines_stay(script: ModuleType, tmp_path: Path) -> None:
    kinds = [(words, machine) for words in (["a=1"], ["a=2"]) for machine in ("here", "there")]
    rows = [row("plain", {"accuracy": 0.7}) | {"words": words, "machine": machine} for words, machine in kinds]
    put(tmp_path, "plain", compare=rows)
    script._forget(tmp_path / "plain.json", "compare", rows[0])
    assert json.loads((tmp_path / "plain.json").read_text())["compare"] == rows[1:]
