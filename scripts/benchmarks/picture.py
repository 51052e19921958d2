"""Plot benchmarks.png: each ratio with its target, from the JSON files of all benchmarks."""

import json
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt

MET, MISSED = "#3b7dd8", "#d8783b"


def draw(folder: Path) -> None:
    """Plot the rows of the JSON files in `folder`: speed-ups on the left, costs on the right."""
    rows = [row for path in sorted(folder.glob("*.json")) for row in json.loads(path.read_text()).get("rows", [])]
    figure, panels = plt.subplots(1, 2, figsize=(14, 0.62 * max(4, len(rows) / 2) + 1.5), layout="constrained")
    _panel(panels[0], "times as fast as the rival", [row for row in rows if row["kind"] == "speed-up"])
    _panel(panels[1], "times the rival's cost", [row for row in rows if row["kind"] == "cost"])
    figure.savefig(folder / "benchmarks.png", dpi=90)
    plt.close(figure)


def _panel(panel: Any, title: str, rows: list[dict[str, Any]]) -> None:
    places = range(len(rows))
    colours = [MET if row["met"] else MISSED for row in rows]
    panel.barh(places, [row["ratio"] for row in rows], color=colours, height=0.55)
    for place, row in zip(places, rows, strict=True):
        panel.plot([row["target"]] * 2, [place - 0.38, place + 0.38], color="black", linewidth=1.5)
        panel.text(max(row["ratio"], row["target"]), place, f"  {row['ratio']:.3g} x", va="center", fontsize=9)
    panel.set_yticks(list(places), [fill(row["what"], 42) for row in rows], fontsize=8)
    panel.invert_yaxis()
    panel.set_title(f"{title} (line: target)", fontsize=10)
    panel.margins(x=0.15)
    if rows and rows[0]["kind"] == "speed-up":
        panel.set_xscale("log")
        panel.set_xlim(left=1)
        ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 200) if tick <= 2 * max(row["ratio"] for row in rows)]
        panel.set_xticks(ticks, [str(tick) for tick in ticks])
        panel.minorticks_off()
    panel.spines[["top", "right"]].set_visible(False)
