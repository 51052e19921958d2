"""Cache of decoded samples: their pixels in one file, which every reading process memory-maps.

cache/decoded/KEY/pixels      the images of a split in any order, each followed by its mask or target image
cache/decoded/KEY/index.npy   int64 [N, 4]: byte offset, height (0 if unreadable), width, class (or bits of a float64)
cache/decoded/KEY/about.json  description, for `imagier cache`

KEY changes with the files, the code of the source's class and the size samples are resized to, so that stale data is
never opened. A folder is written under a temporary name and renamed, so that readers find a complete one or none.
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
_FORMAT = 3  # increment when the layout, or the meaning of its content, changes
_FOREBODING = 16  # samples after which their mean size predicts whether all will fit
Kind = Literal["class", "number", "mask", "picture", "itself"]


class Stored(NamedTuple):
    """Samples that were appended to a `PixelFile`.

    places: int64 [N, 4], as in index.npy.
    kinds:  kinds of their targets, each with the number of image channels.
    length: bytes written.
    """

    places: np.ndarray
    kinds: frozenset[tuple[Kind, int]]
    length: int


class PixelFile:
    """File to which the decoding threads or processes append, so that no pixels are sent between them.

    Args:
        path: an empty file; once it is removed, `append` fails.
        size: (height, width) to which samples are resized, as in training, or None.
    """

    def __init__(self, path: Path, size: tuple[int, int] | None) -> None:
        self.path, self.size = path, size
        self._turn = multiprocessing.Lock()

    def append(self, samples: Sequence[tuple[np.ndarray, Target] | None]) -> Stored:
        """Append samples, None for an unreadable one. Raises OSError if the disk is full or the file is gone."""
        pixels, places, kinds = _pack(samples, self.size)
        with self._turn, self.path.open("r+b") as file:
            places[:, 0] += file.seek(0, os.SEEK_END)
            file.write(pixels.data)
        return Stored(places, kinds, len(pixels))


def _pack(
    samples: Sequence[tuple[np.ndarray, Target] | None], size: tuple[int, int] | None
) -> tuple[np.ndarray, np.ndarray, frozenset[tuple[Kind, int]]]:
    """Concatenate images and targets as uint8; return them, their places counted from the first, and their kinds."""
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
            if kind == "picture":  # of other channels than the image, it makes two kinds, which are not stored
                kinds.add((kind, target.shape[2]))
        places.append((begin, *fitted.shape[:2], label))
        kinds.add((kind, fitted.shape[2]))
        for pixels in mine:
            parts.append(pixels.reshape(-1))
            begin += pixels.size
    pixels = np.concatenate(parts) if parts else np.empty(0, np.uint8)
    return pixels, np.array(places, np.int64), frozenset(kinds)


class Writer:
    """Indexes the samples of a split in order, and then moves the folder into place, or gives up.

    Args:
        folder: final location.
        samples: number of samples of the split.
        size: (height, width) to which they are resized, or None.
        about: description for about.json.
        most: maximum size in bytes.
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
        self.abandoned = False  # given up, with nothing stored

    def add(self, stored: Stored) -> None:
        """Index the next samples. Raises OSError if they exceed the size limit, or all samples are bound to."""
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
        """Move the folder into place, unless the samples are not all of one kind, which cannot be stored."""
        if len(self._kinds) != 1:
            self.abandon()
            return
        index = np.concatenate(self._index)
        np.save(self._aside / "index.npy", index)
        kind, channels = self._kinds.pop()
        sizes = np.unique(index[:, 1:3], axis=0)  # an unreadable sample has size 0 x 0
        shape = (*sizes[0].tolist(), channels) if len(sizes) == 1 else None
        layout = {"kind": kind, "channels": channels, "shape": shape, "samples": len(index), "bytes": self._written}
        about = self._about | layout
        (self._aside / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        try:
            self._aside.rename(self.folder)
        except OSError:
            self.abandon()
            if not self.folder.is_dir():  # no other process was faster, with the same pixels
                raise

    def abandon(self) -> None:
        """Give up and remove what was written."""
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
    """Return the folder for the samples of this fingerprint, resized to (height, width)."""
    return cache / FOLDER / f"{fingerprint}-{'x'.join(map(str, size)) if size else 'whole'}-{_FORMAT}"


def open_decoded(source: Source, folder: Path) -> Decoded | None:
    """Open the cached samples in `folder` and mark them as used; return None if that fails, and delete damaged ones."""
    if not folder.is_dir():
        return None
    try:
        decoded = Decoded(source, folder)
    except (FileNotFoundError, ValueError, KeyError):
        shutil.rmtree(folder, ignore_errors=True)
        return None
    except OSError:  # it may be intact: too many open files, or no permission
        return None
    with suppress(OSError):  # another user's
        os.utime(folder / "about.json")
    return decoded


def describe(name: str, split: str, root: str, size: tuple[int, int] | None) -> dict[str, Any]:
    """Return the description of a folder that `imagier cache` shows."""
    return {"data": name, "split": split, "root": root, "size": size, "made": time.strftime("%Y-%m-%d %H:%M")}
