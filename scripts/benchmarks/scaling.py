"""How cost scales with the number of images, their size, and the number of loader workers."""

import json
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import albumentations as A
import matplotlib.pyplot as plt
import numpy as np
from loader import drain, ready
from PIL import Image
from timing import COMPILED, ROOT, Row, in_turn

from imagier.datamodules.photos import Photos
from imagier.transforms.exact import HorizontalFlip

COUNTS = (1_500, 6_000, 24_000)
SIDES = (128, 256, 512)
WORKERS = (0, 1, 2)

# Seconds from the start of the imports to the first batch, and private memory in MB: mapped files are shared.
START = """
import sys, time
began = time.perf_counter()
from imagier.datamodules.photos import Photos
data = Photos(name="benchmark", root=sys.argv[1], cache=sys.argv[2], batch_size=64)
data.prepare_data(); data.setup()
next(iter(data.train_dataloader()))
seconds = time.perf_counter() - began
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(seconds, int(status["RssAnon"].split()[0]) / 1024)
"""


def compare(given: Namespace) -> Iterator[Row]:
    """Yield rows for the ends of each scale; `scaling.png` also shows the points between them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        starts = {count: start_ups(folder, count, given.repeats) for count in COUNTS}
        few, many = starts[COUNTS[0]], starts[COUNTS[-1]]
        times = f"{COUNTS[-1] // COUNTS[0]} times as many images"
        yield Row(f"start to first batch, {times}", f"{COUNTS[0]:,} images", "cost", 1.1, many["s"], few["s"],
                  note="from the second start on; imports included")  # fmt: skip
        yield Row(f"memory of the process, {times}", f"{COUNTS[0]:,} images", "cost", 1.1, many["MB"], few["MB"],
                  unit="MB")  # fmt: skip
        sides = {side: seconds_an_image(folder, side, given.repeats) for side in SIDES}
        growth = (SIDES[-1] // SIDES[0]) ** 2
        yield Row(f"time a pixel, images of {SIDES[-1]} pixels a side", f"{SIDES[0]} pixels a side", "cost", 1.0,
                  [each / growth for each in sides[SIDES[-1]]], sides[SIDES[0]],
                  note="flip and blur; no more than linear in pixels, if at most 1")  # fmt: skip
        workers = {number: seconds_an_image(folder, SIDES[-1], given.repeats, number) for number in WORKERS}
        draw(given.out / "scaling.png", starts, sides, workers)


def start_ups(folder: Path, count: int, repeats: int) -> dict[str, list[float]]:
    """Return seconds and megabytes of processes that start on `count` images, after one that fills the cache."""
    root = pictures(folder / str(count), count, 32)
    words = [sys.executable, "-c", START, str(root), str(folder / "cache")]
    told = []
    for _ in range(1 + repeats):
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, env=COMPILED)
        told.append([float(number) for number in done.stdout.split()])
    return {"s": [seconds for seconds, _ in told[1:]], "MB": [size for _, size in told[1:]]}


def seconds_an_image(folder: Path, side: int, repeats: int, workers: int = 0) -> list[float]:
    """Return the seconds per image, of each repeat, for images with sides of `side` pixels, with flip and blur."""
    root = pictures(folder / f"side{side}", 160, side)
    options: dict[str, Any] = {"augment": [HorizontalFlip(), A.GaussianBlur(p=1)], "workers": workers, "batch_size": 16}
    loader = ready(Photos, root, folder, **options).train_dataloader()
    times, _ = in_turn(lambda: drain(loader), lambda: 0.0, repeats)
    return [seconds / (len(loader) * 16) for seconds in times]


def pictures(root: Path, count: int, side: int) -> Path:
    """Return a folder of `count` JPEG files of two classes; on first use, generate it."""
    if not root.is_dir():
        rng = np.random.default_rng(side)
        for number in range(count):
            path = root / "ab"[number % 2] / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
            small.resize((side, side), Image.Resampling.BICUBIC).save(path)
    return root


def draw(path: Path, starts: dict[int, Any], sides: dict[int, list[float]], workers: dict[int, list[float]]) -> None:
    """Plot the three measurements side by side, and write their points to scaling_points.json."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    left.plot(COUNTS, [median(starts[count]["s"]) for count in COUNTS], "o-", label="start to first batch, s")
    left.plot(COUNTS, [median(starts[count]["MB"]) / 100 for count in COUNTS], "s-", label="memory, 100 MB")
    left.set(title="number of images", xscale="log", ylim=(0, None), xticks=COUNTS)
    left.set_xticklabels([f"{count:,}" for count in COUNTS])
    left.minorticks_off()
    pixels = [side**2 for side in SIDES]
    measured = [median(sides[side]) * 1e3 for side in SIDES]
    middle.plot(pixels, measured, "o-", label="ms an image")
    middle.plot(pixels, [measured[0] * each / pixels[0] for each in pixels], ":", color="grey", label="as its pixels")
    middle.set(title="pixels of an image", xscale="log", yscale="log", xticks=pixels)
    middle.set_xticklabels([f"{side}²" for side in SIDES])
    middle.set_yticks(measured, [f"{each:.2g}" for each in measured])
    middle.minorticks_off()
    right.bar([str(number) for number in WORKERS], [1 / median(workers[number]) for number in WORKERS], width=0.5)
    right.set(title=f"loader workers, images of {SIDES[-1]}²", ylabel="images/s")
    for panel in (left, middle):
        panel.legend(frameon=False)
    for panel in (left, middle, right):
        panel.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    path.with_name("scaling_points.json").write_text(
        json.dumps({"starts": starts, "sides": sides, "workers": workers}, indent=1) + "\n", encoding="utf-8"
    )
