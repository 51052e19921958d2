"""Many pictures: looking at each, writing what was found, and going on after an interruption.

OUTPUT/manifest.jsonl   the job in its first line, then a line for every picture that is done, or why it could not be
OUTPUT/masks/...        segment: class indices; colors/ and overlays/: in colours, alone and over the picture
OUTPUT/pictures/...     denoise: what the net made; beside/: both side by side
OUTPUT/classes.csv      classify: the most probable classes; the manifest holds them as JSON lines
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

_AHEAD = 4  # pictures that are read while the net looks at another


class OccupiedError(ConfigError):
    """The output folder holds something that this job has not written."""


class Job:
    """Looks at pictures one after the other and writes what was found below `output`.

    Args:
        predictor: that looks.
        items: as `imagier.deploy.sources.find` lists them.
        output: folder; where it holds a part of the same job, that part is not done again.
        settings: all that decides what is written, plain; another job's folder is refused.
        write: what turns a result into files.

    Raises:
        OccupiedError: `output` holds another job's results, or other files.
        ConfigError: it is no folder.
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
        """What an earlier call has done and is still true, by the pictures' names."""
        try:
            text = (self.output / MANIFEST).read_text(encoding="utf-8")
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
        """Do what remains; yields the manifest's line of each picture as it is done."""
        with writing_to(self.output):
            yield from self._done()

    def _done(self) -> Iterator[dict[str, Any]]:
        kept = "".join(json.dumps(line) + "\n" for line in ({"job": self.settings}, *self.lines.values()))
        write_text(self.output / MANIFEST, kept)
        with (self.output / MANIFEST).open("a", encoding="utf-8") as manifest:
            for item, read in self._read_ahead([item for item in self.items if item.name not in self.lines]):
                line = {"file": item.name, "state": item.state()} | self._looked_at(item, read)
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

    def _read_ahead(self, items: Sequence[Item]) -> Iterator[tuple[Item, "Future[np.ndarray]"]]:
        channels = self.predictor.description.channels
        with ThreadPoolExecutor(2) as pool:
            waiting: list[Future[np.ndarray]] = []
            try:
                for number, item in enumerate(items):
                    ahead = items[number + len(waiting) : number + _AHEAD]
                    waiting += [pool.submit(to_pixels, one.given, channels) for one in ahead]
                    yield item, waiting.pop(0)
            finally:
                for future in waiting:
                    future.cancel()


def _parsed(line: str) -> dict[str, Any]:
    """A line of the manifest; an empty one for the last of a job that died while it wrote it."""
    try:
        parsed = json.loads(line)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
