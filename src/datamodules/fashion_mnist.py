"""Fashion-MNIST: 70,000 grey 28 x 28 images of clothes in ten classes (Xiao et al. 2017, arXiv:1708.07747)."""

from collections.abc import Sequence
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np

from imagier.batch import Facts, Split
from imagier.datamodules.base import ImageData
from imagier.datamodules.idx_file import read_idx
from imagier.datamodules.origin import locate
from imagier.datamodules.palette import distinct_colors
from imagier.errors import ConfigError, DataError
from imagier.randomness import fraction

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
SIZE = (28, 28)
FILES = tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))
_RAW = Path("FashionMNIST") / "raw"  # where torchvision stores the files below its root


class PictureArray:
    """Samples that lie in memory: a source whose pictures are rows of one shared array."""

    in_memory = True

    def __init__(
        self, images_NHWC: np.ndarray, labels_N: np.ndarray, ids: list[str], positions: np.ndarray, files: list[Path]
    ) -> None:
        self.images_NHWC, self.labels_N, self.positions = images_NHWC, labels_N, positions
        self.ids: Sequence[str] = [ids[position] for position in positions]
        self._files = files

    def __len__(self) -> int:
        return len(self.positions)

    def read(self, index: int) -> tuple[np.ndarray, int]:
        """The picture, uint8 [H, W, C], and its class."""
        position = self.positions[index]
        return self.images_NHWC[position], int(self.labels_N[position])

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every picture."""
        return *SIZE, 1

    def read_all(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The pictures, uint8 [B, H, W, C], and their classes, int64 [B]."""
        positions = self.positions[indices]
        return self.images_NHWC[positions], self.labels_N[positions].astype(np.int64)

    def files(self) -> list[Path]:
        """What the samples were read from."""
        return self._files


class FashionMNIST(ImageData):
    """Fashion-MNIST in torchvision's files, gzipped or not, or an embedded set in the same format.

    The official test files are the test split. The validation split is cut from the official training files: of each
    class, the `val_fraction` whose ids have the smallest hashes, so it depends only on the files and that fraction.

    Args:
        download: download the files into `root` if any are missing.
        val_fraction: fraction of the training files used for validation, above 0 and below 1.
        embedded: name of a set of `imagier.synthetic` to use instead of `root`.
        options: passed to `ImageData`.

    Raises:
        ConfigError: `val_fraction` is out of range.
    """

    def __init__(
        self, *, download: bool = False, val_fraction: float = 0.1, embedded: str | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        if not 0 < val_fraction < 1:
            raise ConfigError(
                f"data.val_fraction={val_fraction} is not a fraction of the training files; give a number above 0 and "
                "below 1, such as 0.1."
            )
        self.download, self.val_fraction, self.embedded = download, val_fraction, embedded

    def prepare_data(self) -> None:
        """Generate the embedded set, or download missing files if `download` is set."""
        if self.embedded:
            self._locate()
        elif self.download and self.root and _missing(_raw_folder(self.root)):
            _fetch(self.root)

    def open_split(self, split: Split) -> PictureArray:
        """Read the samples of `split` into memory. Raises ConfigError if `val_fraction` leaves the split empty."""
        if split == "test":
            images, labels, files = self._test
            return PictureArray(images, labels, _ids("test", len(images)), np.arange(len(images)), files)
        images, labels, files = self._train
        ids = _ids("train", len(images))
        held_out = _held_out(labels, ids, self.val_fraction)
        positions = np.flatnonzero(held_out if split == "val" else ~held_out)
        if not len(positions):
            raise ConfigError(
                f"data.val_fraction={self.val_fraction} of {len(images)} images leaves none for the split '{split}'; "
                "choose a fraction closer to 0.5."
            )
        return PictureArray(images, labels, ids, positions, files)

    def describe(self) -> Facts:
        """Describe ten classes of grey images; mean and std are measured (0.2860 and 0.3530 for the official files)."""
        mean, std = _statistics((self._train if "train" in self.findings.splits else self._test)[0])
        return Facts(
            name=self.name,
            channels=1,
            size=self.size or SIZE,
            mean=(mean,),
            std=(std,),
            classes=CLASSES,
            colors=distinct_colors(len(CLASSES)),
        )

    @cached_property
    def _train(self) -> tuple[np.ndarray, np.ndarray, list[Path]]:
        return self._read("train")

    @cached_property
    def _test(self) -> tuple[np.ndarray, np.ndarray, list[Path]]:
        return self._read("t10k")

    def _locate(self) -> Path:
        return locate(
            self.name,
            root=self.root,
            embedded=self.embedded,
            cache=self.cache,
            expects=f"the folder that holds {_RAW}, as torchvision stores it (data.download=true downloads it)",
        )

    def _read(self, part: str) -> tuple[np.ndarray, np.ndarray, list[Path]]:
        """Return images uint8 [N, 28, 28, 1], labels uint8 [N], and their two files."""
        folder = _raw_folder(self._locate())
        if missing := [name for name in _missing(folder) if name.startswith(part)]:
            raise DataError(
                f"{folder} lacks {', '.join(missing)} (plain or with .gz) of Fashion-MNIST; the files may also be in "
                "data.root itself. Correct data.root, or add data.download=true to download them."
            )
        images_path, labels_path = (path for name in FILES if name.startswith(part) and (path := _file(folder, name)))
        images_NHW, labels = read_idx(images_path, dimensions=3), read_idx(labels_path, dimensions=1)
        _check(images_NHW, labels, images_path, labels_path)
        return images_NHW[..., None], labels, [images_path, labels_path]


def _raw_folder(root: Path) -> Path:
    """Return the folder with the most of the four files: a folder of torchvision's layout, or `root` itself."""
    return min((root / _RAW, root / "raw", root), key=lambda folder: len(_missing(folder)))


def _missing(folder: Path) -> list[str]:
    return [name for name in FILES if not _file(folder, name)]


def _file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _check(images_NHW: np.ndarray, labels: np.ndarray, images_path: Path, labels_path: Path) -> None:
    if len(images_NHW) != len(labels) or not len(labels):
        raise DataError(
            f"{images_path} has {len(images_NHW)} images but {labels_path} has {len(labels)} labels; there must be "
            "one label per image, and at least one image. Use both files from the same data set."
        )
    if images_NHW.shape[1:] != SIZE:
        height, width = images_NHW.shape[1:]
        raise DataError(f"{images_path} holds images of {height} x {width}; those of Fashion-MNIST are 28 x 28.")
    if labels.max() >= len(CLASSES):
        first = int(np.argmax(labels >= len(CLASSES)))
        raise DataError(
            f"{labels_path} gives sample {first} the label {labels[first]}; the {len(CLASSES)} classes are numbered 0 "
            f"to {len(CLASSES) - 1}. Delete the file and download it again, or use a data set with these classes."
        )


def _ids(part: str, count: int) -> list[str]:
    return [f"{part}-{number:05d}" for number in range(count)]


def _held_out(labels: np.ndarray, ids: list[str], share: float) -> np.ndarray:
    """Select the validation samples: bool [N], the same share of each class."""
    draws = np.array([fraction(name) for name in ids])
    held_out = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        held_out[members[np.argsort(draws[members])][: round(share * len(members))]] = True
    return held_out


def _statistics(images: np.ndarray) -> tuple[float, float]:
    """Return mean and standard deviation of image / 255, to four decimals."""
    # From a histogram, in pieces: 47 million pixels as 8-byte numbers would take 400 MB.
    counts = sum(np.bincount(piece.ravel(), minlength=256) for piece in np.array_split(images, 64))
    values = np.arange(256) / 255
    mean = np.average(values, weights=counts)
    deviation = np.average((values - mean) ** 2, weights=counts) ** 0.5
    return round(float(mean), 4), max(round(float(deviation), 4), 1e-4)  # the network divides by it


def _fetch(root: Path) -> None:
    from torchvision.datasets import FashionMNIST as Torchvision  # slow to import, and rarely needed

    try:
        Torchvision(root, download=True)
    except (RuntimeError, OSError, HTTPException) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise DataError(
            f"data.download=true could not download Fashion-MNIST ({reason}); check the connection, or copy "
            f"{', '.join(FILES)} into {root / _RAW} from another machine."
        ) from error
