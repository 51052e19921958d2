"""Batch prediction: runs every image, writes the results and resumes after an interruption.

OUTPUT/manifest.jsonl   the job's settings in its first line, then one line per image: its result, or its error
OUTPUT/masks/...        segment: class indices; colors/ and overlays/: class colours, alone and over the image
OUTPUT/*_labelIds.png   segment with format=cityscapes: label ids, and nothing else
OUTPUT/pictures/...     denoise: the denoised image; beside/: input and output side by side
OUTPUT/classes.csv      classify: the most probable classes, which are in the manifest as well
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from imagier.deploy.outputs import Write
from imagier.deploy.pictures import to_pixels
from imagier.deploy.predictor import Predictor
from imagier.deploy.sources import MANIFEST, Item, stems
from imagier.errors import ConfigError, DataError, writing_to
from imagier.files import write_text

_AHEAD = 4  # images that are decoded or being decoded at a time, including the one in the network


class OccupiedError(ConfigError):
    """The output folder contains files that this job did not write."""


class Job:
    """Runs images through a predictor one at a time and writes the results below `output`.

    Args:
        predictor: for the images.
        items: as listed by `imagier.deploy.sources.find`.
        output: folder; images that an earlier call of the same job has finished there are not run again.
        settings: everything that determines the results, as JSON types; a folder with other settings is refused.
        write: writes one result; see `imagier.deploy.outputs.writer`.

    Raises:
        OccupiedError: `output` contains another job's results, or other files.
        ConfigError: `output` cannot be read as a folder.
    """

    def __init__(
        self,
        predictor: Predictor,
        items: Sequence[Item],
        output: Path,
        settings: Mapping[str, Any],
        write: Write,
    ) -> None:
        self.predictor, self.items, self.output, self.write = predictor, items, output, write
        self.settings = json.loads(json.dumps(settings))
        self._names = stems(items)
        self.lines = self._remembered()

    def _remembered(self) -> dict[str, dict[str, Any]]:
        """Return the manifest lines that are still valid, by image name; images with errors are tried again."""
        try:
            text = (self.output / MANIFEST).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            if self.output.is_dir() and any(self.output.iterdir()):
                raise OccupiedError(
                    f"output={self.output} already contains other files, which could be lost; choose a new folder."
                ) from None
            return {}
        except OSError as error:
            raise ConfigError(
                f"output={self.output} cannot be used: {error.strerror}; choose another folder."
            ) from error
        head, *lines = (_parsed(line) for line in text.splitlines() or [""])
        if head.get("job") != self.settings:
            raise OccupiedError(
                f"output={self.output} contains the results of another job; choose another output=FOLDER, or remove it."
            )
        states = {item.name: item.state() for item in self.items}
        return {
            line["file"]: line
            for line in lines
            if "outputs" in line
            and states.get(line["file"]) == line["state"]
            and all((self.output / name).is_file() for name in line["outputs"])
        }

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Run the remaining images; yield the manifest line of each as it is written."""
        with writing_to(self.output):
            yield from self._done()

    def _done(self) -> Iterator[dict[str, Any]]:
        kept = "".join(json.dumps(line) + "\n" for line in ({"job": self.settings}, *self.lines.values()))
        write_text(self.output / MANIFEST, kept)
        with (self.output / MANIFEST).open("a", encoding="utf-8") as manifest:
            for item, state, read in self._read_ahead([item for item in self.items if item.name not in self.lines]):
                line = {"file": item.name, "state": state} | self._looked_at(item, read)
                manifest.write(json.dumps(line) + "\n")
                manifest.flush()
                self.lines[item.name] = line
                yield line

    def _looked_at(self, item: Item, read: "Future[np.ndarray]") -> dict[str, Any]:
        try:
            result = self.predictor(read.result())
        except DataError as error:
            return {"error": str(error)}
        return self.write(result, self.output, self._names[item.name])

    def _read_ahead(self, items: Sequence[Item]) -> Iterator[tuple[Item, list[int], "Future[np.ndarray]"]]:
        """Yield each image with its state of before it was read, so that one that changes meanwhile is run again."""
        channels = self.predictor.description.channels
        with ThreadPoolExecutor(2) as pool:
            waiting: list[tuple[list[int], Future[np.ndarray]]] = []
            try:
                for number, item in enumerate(items):
                    ahead = items[number + len(waiting) : number + _AHEAD]
                    waiting += [(one.state(), pool.submit(to_pixels, one.given, channels)) for one in ahead]
                    yield item, *waiting.pop(0)
            finally:
                for _, future in waiting:
                    future.cancel()


def _parsed(line: str) -> dict[str, Any]:
    """Parse a manifest line; return {} for one cut short when its job was killed."""
    try:
        parsed = json.loads(line)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
