"""Samples that are decoded once: their pixels in one file, mapped into memory by every process that reads them.

cache/decoded/KEY/pixels      the pictures of a split in any order, each followed by its mask or second picture
cache/decoded/KEY/index.npy   int64 [N, 4]: where a sample begins, height, width, class; height 0 where it is unreadable
cache/decoded/KEY/about.json  what this is, for `imagier cache`

KEY changes with the files, the code that reads them and the size they are resized to, so that what is stale is never
opened. A folder is written aside and renamed: readers meet a whole one or none, whoever else writes or dies.
"""

import json
import mmap
import multiprocessing
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from imagier.datamodules.loader import Source, Target
from imagier.files import beside, left_behind
from imagier.transforms.resize import resize_image, resize_mask

FOLDER = "decoded"
_FORMAT = 3  # to be raised whenever the layout, or the meaning of what is in it, changes
_FOREBODING = 16  # samples after which their mean size tells whether all of them will fit
Kind = Literal["class", "number", "mask", "picture", "itself"]


class Stored(NamedTuple):
    """A few samples that are in a file.

    places: int64 [N, 4], as in index.npy.
    kinds:  of their targets, with the pictures' channels.
    length: bytes that they take.
    """

    places: np.ndarray
    kinds: frozenset[tuple[Kind, int]]
    length: int


class PixelFile:
    """The file that is filled by those who decode, threads or processes: so no pixels are sent between them.

    Args:
        path: an empty file; once it is removed, nothing more is written.
        size: (height, width) to which samples are resized, as training would, or None.
    """

    def __init__(self, path: Path, size: tuple[int, int] | None) -> None:
        self.path, self.size = path, size
        self._turn = multiprocessing.Lock()

    def append(self, samples: Sequence[tuple[np.ndarray, Target] | None]) -> Stored:
        """Add samples, of which None stands for an unreadable one. Raises OSError where there is no room or no file."""
        pixels, places, kinds = _pack(samples, self.size)
        with self._turn, self.path.open("r+b") as file:
            places[:, 0] += file.seek(0, os.SEEK_END)
            file.write(pixels.data)
        return Stored(places, kinds, len(pixels))


def _pack(
    samples: Sequence[tuple[np.ndarray, Target] | None], size: tuple[int, int] | None
) -> tuple[np.ndarray, np.ndarray, frozenset[tuple[Kind, int]]]:
    """Pictures and their targets one after the other, uint8; their places, counted from the first; their kinds."""
    parts: list[np.ndarray] = []
    places: list[tuple[int, int, int, int]] = []
    kinds: set[tuple[Kind, int]] = set()
    begin = 0
    for sample in samples:
        if sample is None:
            places.append((begin, 0, 0, 0))
            continue
        image, target = sample
        fitted = resize_image(image, size)
        kind: Kind = "class"
        mine, label = [fitted], 0
        if target is image:
            kind = "itself"
        elif isinstance(target, float | np.floating):
            kind, label = "number", int(np.float64(target).view(np.int64))
        elif not isinstance(target, np.ndarray):
            label = int(target)
        else:
            kind = "mask" if target.ndim == 2 else "picture"
            mine.append(resize_mask(target, size) if kind == "mask" else resize_image(target, size))
        places.append((begin, *fitted.shape[:2], label))
        kinds.add((kind, fitted.shape[2]))
        for pixels in mine:
            parts.append(pixels.reshape(-1))
            begin += pixels.size
    pixels = np.concatenate(parts) if parts else np.empty(0, np.uint8)
    return pixels, np.array(places, np.int64), frozenset(kinds)


class Writer:
    """Takes note of the samples of a split in their order, and then puts the folder into its place, or gives up.

    Args:
        folder: where it shall be.
        samples: how many there will be.
        size: (height, width) to which they are resized, or None.
        about: what to say of it.
        most: bytes that it may take.
    """

    def __init__(
        self, folder: Path, samples: int, size: tuple[int, int] | None, about: dict[str, Any], most: int
    ) -> None:
        self.folder, self._samples, self._about, self._most = folder, samples, about, most
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._aside = beside(folder)
        for left in (*left_behind(folder.parent, r"[^.]+"), self._aside):
            shutil.rmtree(left, ignore_errors=True)
        self._aside.mkdir()
        (self._aside / "pixels").touch()
        self.pixels = PixelFile(self._aside / "pixels", size)
        self._index: list[np.ndarray] = []
        self._counted, self._written, self._kinds = 0, 0, set[tuple[Kind, int]]()
        self.abandoned = False  # nothing is kept by it

    def add(self, stored: Stored) -> None:
        """Take note of the next samples. Raises OSError where they take too much room, or all of them will."""
        self._index.append(stored.places)
        self._kinds |= stored.kinds
        self._counted += len(stored.places)
        self._written += stored.length
        whole = self._written / (self._counted / self._samples)
        if self._written > self._most or (self._counted >= _FOREBODING and whole > self._most):
            raise OSError(
                f"they would take about {whole / 1e9:.3g} GB, more than the limit of {self._most / 1e9:.3g} GB"
            )

    def finish(self) -> None:
        """Put the folder into its place, unless the samples are of several kinds, which cannot be kept."""
        if len(self._kinds) != 1:
            self.abandon()
            return
        index = np.concatenate(self._index)
        np.save(self._aside / "index.npy", index)
        kind, channels = self._kinds.pop()
        sizes = np.unique(index[:, 1:3], axis=0)  # an unreadable sample has one of its own
        shape = (*sizes[0].tolist(), channels) if len(sizes) == 1 else None
        layout = {"kind": kind, "channels": channels, "shape": shape, "samples": len(index), "bytes": self._written}
        about = self._about | layout
        (self._aside / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        try:
            self._aside.rename(self.folder)
        except OSError:
            self.abandon()
            if not self.folder.is_dir():  # no other process was quicker, with the same pixels
                raise

    def abandon(self) -> None:
        """Leave nothing behind."""
        self.abandoned = True
        shutil.rmtree(self._aside, ignore_errors=True)


class Decoded:
    """A source that finds the samples of another one decoded and resized. What it returns is read-only.

    Args:
        source: the other one; its names are taken over, and it is asked for what could not be read.
        folder: what a `Writer` has left.

    Raises:
        ValueError: the folder does not hold what it should, as after a loss of power.
    """

    def __init__(self, source: Source, folder: Path) -> None:
        self.source, self.folder, self.ids = source, folder, source.ids
        self._open()

    def _open(self) -> None:
        about = json.loads((self.folder / "about.json").read_text(encoding="utf-8"))
        # A plain array on the mapping: np.memmap itself takes several times as long to index.
        self._index = np.load(self.folder / "index.npy", mmap_mode="r").view(np.ndarray)
        self._kind, self._channels = about["kind"], about["channels"]
        self.shape: tuple[int, int, int] | None = tuple(about["shape"]) if about["shape"] else None
        with (self.folder / "pixels").open("rb") as file:
            length = os.fstat(file.fileno()).st_size
            if length != about["bytes"] or len(self._index) != len(self.ids):
                raise ValueError(f"{self.folder} is not whole")
            mapped = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_READ)
        self._pixels = np.frombuffer(mapped, np.uint8)

    def __getstate__(self) -> dict[str, Any]:
        return {"source": self.source, "folder": self.folder, "ids": self.ids}  # a mapping cannot be sent to a process

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, index: int) -> tuple[np.ndarray, Target]:
        """Views of the picture, uint8 [H, W, C], and its target."""
        begin, height, width, label = self._index[index].tolist()
        if not height:
            return self.source.read(index)  # it was unreadable, and may have become readable
        end = begin + height * width * self._channels
        image = self._pixels[begin:end].reshape(height, width, self._channels)
        match self._kind:
            case "class":
                return image, label
            case "number":
                return image, float(np.int64(label).view(np.float64))
            case "itself":
                return image, image
            case "mask":
                return image, self._pixels[end : end + height * width].reshape(height, width)
        return image, self._pixels[end : 2 * end - begin].reshape(image.shape)

    def read_all(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Copies of the pictures, uint8 [B, H, W, C], and their targets, stacked. Only where there is a `shape`."""
        assert self.shape is not None
        rows = self._pixels.reshape(len(self.ids), -1)
        places = self._index[indices, 0] // rows.shape[1]
        length = int(np.prod(self.shape))
        images = rows[places, :length].reshape(-1, *self.shape)
        match self._kind:
            case "class":
                return images, np.array(self._index[indices, 3])
            case "number":
                return images, np.array(self._index[indices, 3]).view(np.float64)
            case "itself":
                return images, images
        shape = self.shape[:2] if self._kind == "mask" else self.shape
        return images, rows[places, length:].reshape(-1, *shape)


def place(cache: Path, fingerprint: str, size: tuple[int, int] | None) -> Path:
    """The folder for the samples of this fingerprint, resized to (height, width)."""
    return cache / FOLDER / f"{fingerprint}-{'x'.join(map(str, size)) if size else 'whole'}-{_FORMAT}"


def open_decoded(source: Source, folder: Path) -> Decoded | None:
    """Open what is in `folder`, and note that it was used; None where it cannot be, and nothing there if it is bad."""
    if not folder.is_dir():
        return None
    try:
        decoded = Decoded(source, folder)
    except (FileNotFoundError, ValueError, KeyError):
        shutil.rmtree(folder, ignore_errors=True)
        return None
    except OSError:  # it may be whole: too many files are open, or another user's cannot be read
        return None
    with suppress(OSError):  # of another user
        os.utime(folder / "about.json")
    return decoded


def describe(name: str, split: str, root: str, size: tuple[int, int] | None) -> dict[str, Any]:
    """What `imagier cache` says of a folder."""
    return {"data": name, "split": split, "root": root, "size": size, "made": time.strftime("%Y-%m-%d %H:%M")}
