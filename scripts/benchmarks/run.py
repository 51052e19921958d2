"""Run the benchmarks, each of which measures a ratio in one run: python scripts/benchmarks/run.py [NAME ...]

Two ways of doing the same thing are timed in turn, and the ratio of their medians is reported, since absolute times
differ between machines. Prints the table, and writes OUT/NAME.json and OUT/benchmarks.png; OUT is docs/benchmarks.
"""

import argparse
import json
from importlib import import_module
from pathlib import Path

from picture import draw
from timing import HEADER, ROOT, Row, machine

NAMES = ("loader", "step", "losses", "startup", "time_to_accuracy", "scaling", "inference", "serving")


def main() -> None:
    """Run the named benchmarks, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all where none is named")
    parser.add_argument(
        "--data", type=Path, help="folder with FashionMNIST/, objects32/ and photos/; else they are generated"
    )
    parser.add_argument("--repeats", type=int, default=5, help="of each side of a comparison")
    parser.add_argument("--keras", type=Path, help="a Python that has keras and tensorflow; else one is made")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks")
    parser.add_argument("--table", action="store_true", help="measure nothing; print what OUT holds")
    given = parser.parse_args()
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"{unknown.pop()} is no benchmark; there are {', '.join(NAMES)}")
    print(HEADER)
    if given.table:
        print("\n".join(lines(given.out)))
        return
    for name in given.names or NAMES:
        rows: list[Row] = []
        for row in import_module(name).compare(given):  # print and save each row as soon as it is measured
            rows.append(row)
            print(row.line() + (f"\n  {row.note}" if row.note else ""), flush=True)
            given.out.mkdir(parents=True, exist_ok=True)
            kept = {"machine": machine(), "rows": [row.to_dict() for row in rows]}
            (given.out / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
            draw(given.out)


def lines(out: Path) -> list[str]:
    """Return the rows of the table, from the JSON files of all benchmarks."""
    kept = [json.loads(path.read_text()) for name in NAMES if (path := out / f"{name}.json").is_file()]
    fields = Row.__dataclass_fields__
    plain = [{key: value for key, value in row.items() if key in fields} for each in kept for row in each["rows"]]
    return [Row(**row).line() for row in plain]


if __name__ == "__main__":
    main()
