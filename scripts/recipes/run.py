"""Measure recipes, and what each of their ingredients contributes: python scripts/recipes/run.py VERB ...

train NAME...   runs experiment=NAME up to its report, then `imagier evaluate` on the validation split
ablate NAME...  runs it whole and with one ingredient left out at a time, all with --words (default trainer.budget=3m);
                a pretraining keeps its own length and ingredients, unless --words has pretrain=null
compare NAME... runs several experiments with the same --words, such as trainer.budget=4m, for a comparison
leaves NAME...  trains it on the embedded leaves and on photographs, and evaluates both on the same photographs
table, page     measure nothing; print the results in OUT, or write them to docs/recipes.md and, in short, README.md

Each run adds one row to OUT/NAME.json as soon as it is done; OUT is docs/recipes. Except for compare, a file's rows of
one verb must all have the same --words. --anew discards the verb's earlier rows of this machine, and those with other
--words; rows of other machines with the same --words stay.
A row records the machine, its threads and their wait policy, the commit, the budget, the epochs, the scores of
best.ckpt on the validation split and, where there was a `pretrain`, the validation scores of that training.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from math import isfinite
from pathlib import Path
from tempfile import mkdtemp
from threading import Event, Lock
from typing import Any

from omegaconf import OmegaConf
from tables import WHOLE, short_table, tables, words_of

from imagier.files import write_text

_LENGTHS = ("trainer.budget=", "trainer.max_epochs=", "trainer.max_steps=")
ROOT = Path(__file__).parents[2]
RECIPES: dict[str, Any] = OmegaConf.to_container(OmegaConf.load(Path(__file__).with_name("recipes.yaml")))  # type: ignore[assignment]


def main() -> None:
    """Parse the command line and run its verb."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("train", "ablate", "compare", "leaves", "table", "page"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RECIPES)}; or another experiment")
    parser.add_argument("--words", nargs="*", help="extra settings for every run")
    parser.add_argument("--data", type=Path, help="folder with FashionMNIST/, camvid/, photos/ and objects32/")
    parser.add_argument("--root", help="data.root of another experiment, relative to DATA")
    parser.add_argument("--seeds", type=int, default=1, help="number of runs of each kind, with consecutive seeds")
    parser.add_argument("--first-seed", type=int, default=0, help="1 adds to an existing run of seed 0")
    parser.add_argument("--only", help="for an ablation: only ingredients whose name contains this")
    parser.add_argument(
        "--jobs", type=int, default=1, help="parallel runs; they share the machine, so limit epochs rather than time"
    )
    parser.add_argument("--machine", help="name of this machine, if its processor's name is ambiguous")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "recipes")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "recipes")
    parser.add_argument("--anew", action="store_true", help="discard earlier results of this command on this machine")
    given = parser.parse_args()
    if given.verb == "table":
        print(tables(given.out, RECIPES))
    elif given.verb == "page":
        told = {"docs/recipes.md": tables(given.out, RECIPES), "README.md": short_table(given.out, RECIPES)}
        for page, text in {ROOT / name: with_table(ROOT / name, table) for name, table in told.items()}.items():
            write_text(page, text)
    else:
        if given.data is None or not given.names:
            parser.error(f"{given.verb} needs the NAME of an experiment, or several, and --data FOLDER.")
        given.data, given.runs, given.out = given.data.resolve(), given.runs.resolve(), given.out.resolve()
        if complaint := _complaint(given, _common(given)):
            parser.error(complaint)
        _measure(given, _common(given))


def _common(given: argparse.Namespace) -> list[str]:
    """The settings that every run is given, whichever ingredient it leaves out."""
    usual = ["trainer.budget=3m"] if given.verb == "ablate" else []
    return usual if given.words is None else given.words


def _complaint(given: argparse.Namespace, common: list[str]) -> str | None:
    for name in given.names:
        limited = [word for word in common if word.startswith(_LENGTHS)]
        for left_out, words in _variants(name, given).items():
            if limited and "pretrain=null" in words and any(word.startswith(_LENGTHS) for word in words):
                return (
                    f"{name} without {left_out} would have a time of its own, not {limited[0]}: give --words without "
                    "a length, add pretrain=null to them, or choose others with --only."
                )
        if given.verb == "leaves" and "split" not in RECIPES.get(name, {}):
            return f"leaves {name}: recipes.yaml gives no split of the photographs to evaluate on."
        if not _variants(name, given):
            names = ", ".join(RECIPES.get(name, {}).get("without", {})) or "no ingredients"
            return f"--only {given.only} matches nothing in {name}, which has {names}."
        kept = _kept(given.out / f"{name}.json").get(given.verb, [])
        said = [row.get("words", words_of(row)) for row in kept if "words" in row or row["left_out"] == WHOLE]
        if any(words != common for words in said) and not given.anew and given.verb != "compare":
            words = " ".join(said[0]) or "nothing"
            return f"{name} was measured with --words {words}: repeat these, or use --anew to discard the results."
    return None


def _measure(given: argparse.Namespace, common: list[str]) -> None:
    keeping, failed = Lock(), Event()  # after a failure, or Ctrl-C, no further run starts
    old = set(given.names if given.anew else ())  # names whose earlier rows are discarded with their first new row

    def measure(name: str, seed: int, left_out: str, words: list[str]) -> None:
        if failed.is_set():
            return
        try:
            row = _measured(name, [*common, *words, f"seed={seed}"], given) | {"words": common}
        except BaseException:
            failed.set()
            raise
        with keeping:
            path = given.out / f"{name}.json"
            if name in old:
                old.remove(name)
                _forget(path, given.verb, row)
            keep(path, given.verb, row | {"left_out": left_out, "seed": seed})

    with ThreadPoolExecutor(given.jobs) as pool:
        begun = [
            pool.submit(measure, name, seed, left_out, words)
            for seed in range(given.first_seed, given.first_seed + given.seeds)
            for name in given.names
            for left_out, words in _variants(name, given).items()
        ]
    for one in begun:
        one.result()  # re-raises the run's exception


def with_table(page: Path, table: str) -> str:
    """Return the page's text with `table` between its two marks. Raises ValueError unless each occurs once."""
    text, marks = page.read_text(encoding="utf-8"), ("<!-- recipes -->", "<!-- /recipes -->")
    if [text.count(mark) for mark in marks] != [1, 1] or text.index(marks[0]) > text.index(marks[1]):
        raise ValueError(f"{page} needs {' and, after it, '.join(marks)} once each: the table goes between them.")
    return f"{text.partition(marks[0])[0]}{marks[0]}\n{table}\n{marks[1]}{text.partition(marks[1])[2]}"


def _variants(name: str, given: argparse.Namespace) -> dict[str, list[str]]:
    """Map the name of the left-out ingredient to the settings that leave it out."""
    if given.verb == "leaves":
        every = {WHOLE: ["data=leaves"], "leaves": []}
    else:
        every = {WHOLE: []} | (RECIPES.get(name, {}).get("without", {}) if given.verb == "ablate" else {})
    common = _common(given)  # may leave an ingredient out of every run, recognised by its first setting
    every = {left_out: words for left_out, words in every.items() if not words or words[0] not in common}
    return {left_out: words for left_out, words in every.items() if (given.only or "") in left_out}


def _measured(name: str, words: list[str], given: argparse.Namespace) -> dict[str, Any]:
    """Train and evaluate; the row's seconds are those of the training process, without the evaluation."""
    root = f"data.root={given.data / (given.root or RECIPES.get(name, {}).get('root', '.'))}"
    if given.verb == "leaves" and "data=leaves" in words:
        trained_on: list[str] = []
        measured_on = ["data=photos", root, f"data.split={RECIPES[name]['split']}"]
    else:
        trained_on, measured_on = [root], []
    given.runs.mkdir(parents=True, exist_ok=True)
    runs = Path(mkdtemp(prefix=f"{given.verb}-{name}-", dir=given.runs))  # its own, so that `latest` is this run
    began = time.monotonic()
    _call("train.py", f"experiment={name}", *words, *trained_on, f"paths.runs={runs}")
    seconds = time.monotonic() - began
    row = _row_of((runs / "latest").resolve(), measured_on)
    said = ["python", "train.py", f"experiment={name}", *["data.root=FOLDER"] * len(trained_on), *words]
    called = {"machine": given.machine or row["machine"], "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY")}
    return row | called | {"command": shlex.join(said), "seconds": round(seconds, 1)}


def _row_of(run: Path, data: list[str]) -> dict[str, Any]:
    """Evaluate a run's best checkpoint on the validation split of its own data, or of `data`."""
    _call("scripts/evaluate.py", f"ckpt={run}", "split=val", *data)
    (evaluated,) = sorted((run / "evaluate").glob("*-val/metrics.json"), key=os.path.getmtime)[-1:]
    found = json.loads(evaluated.read_text())
    summary, config = json.loads((run / "summary.json").read_text()), OmegaConf.load(run / "config.yaml")
    environment = json.loads((run / "environment.json").read_text())
    row = {
        # An undefined score becomes null, which JSON has; a BD-rate without common qualities is missing.
        "score": {name: value if isfinite(value) else None for name, value in found["metrics"].items()},
        "samples": found["samples"],
        "epochs": summary["epochs"],
        "budget": config.trainer.budget,
        "machine": summary["machine"],
        "threads": environment["machine"]["threads"],
        "commit": environment["commit"],
    }
    if config.pretrain and (first := Path(config.model.weights).parents[1] / "metrics.json").is_file():
        row["pretrained"] = json.loads(first.read_text())["val"]
    return row


def _call(*words: str) -> None:
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True)


def _forget(path: Path, verb: str, row: dict[str, Any]) -> None:
    """Discard this machine's rows, and those with other --words; of comparisons, this machine's with these words."""
    kept = _kept(path)

    def stays(one: dict[str, Any]) -> bool:
        here, alike = one["machine"] == row["machine"], one.get("words", words_of(one)) == row["words"]
        return not (here and alike) if verb == "compare" else alike and not here

    kept[verb] = [one for one in kept.get(verb, []) if stays(one)]
    _write(path, kept)


def keep(path: Path, verb: str, row: dict[str, Any]) -> None:
    """Add a row; it replaces an earlier one of the same ingredient, seed and machine (and --words, for compare)."""
    kept = _kept(path)

    def kind(one: dict[str, Any]) -> tuple[Any, ...]:
        words = one.get("words", words_of(one)) if verb == "compare" else None  # in other verbs all rows have the same
        return one["left_out"], one["seed"], one["machine"], words

    kept[verb] = [*(other for other in kept.get(verb, []) if kind(other) != kind(row)), row]
    _write(path, kept)


def _kept(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}


def _write(path: Path, kept: dict[str, Any]) -> None:
    write_text(path, json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
