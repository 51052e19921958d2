"""What a predictor answers with."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from imagier.datamodules.palette import as_rgb, blended
from imagier.errors import ConfigError
from imagier.files import write_aside, write_text

SUFFIX = ".imgr"  # of a codec's files
LOSSLESS = (".png", ".tif", ".tiff", ".bmp")
WRITTEN = (*LOSSLESS, ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True, repr=False)
class Classes:
    """Of a classifier.

    image:         uint8 [H, W, C], what was asked about.
    names:         of the classes.
    probabilities: float32 [K], adding up to 1.
    """

    image: np.ndarray
    names: tuple[str, ...]
    probabilities: np.ndarray

    def __repr__(self) -> str:
        return f"Classes({', '.join(f'{name} {value:.1%}' for name, value in self.top())})"

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.names[int(self.probabilities.argmax())]

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The most probable classes with their probabilities, the first first."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.names[index], float(self.probabilities[index])) for index in order.tolist()]

    def to_dict(self, count: int = 5) -> dict[str, Any]:
        """As JSON has it."""
        top = [{"class": name, "probability": round(value, 6)} for name, value in self.top(count)]
        return {"label": self.label, "top": top}

    def picture(self) -> np.ndarray:
        """What was asked about: uint8 [H, W, 3]."""
        return as_rgb(self.image)

    def save(self, path: str | Path) -> None:
        """Write the classes as JSON. Raises ConfigError where the path does not end in .json."""
        if Path(path).suffix.lower() != ".json":
            raise ConfigError(f"classes are written as JSON, not to {path}: use the name {Path(path).stem}.json.")
        write_text(Path(path), json.dumps(self.to_dict(len(self.names)), indent=1) + "\n")

    def show(self) -> None:
        """Print the most probable classes, and open the picture in this machine's viewer."""
        print("\n".join(f"{value:7.2%}  {name}" for name, value in self.top()))
        _view(self.picture())


@dataclass(frozen=True, repr=False)
class Mask:
    """Of a segmentation.

    image:  uint8 [H, W, C], what was asked about.
    names:  of the classes; colors: an RGB triple each.
    labels: uint8 [H, W], the class of every pixel.
    """

    image: np.ndarray
    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    labels: np.ndarray

    def __repr__(self) -> str:
        shares = ", ".join(f"{name} {share:.1%}" for name, share in sorted(self.shares().items(), key=lambda p: -p[1]))
        return f"Mask({self.labels.shape[0]} x {self.labels.shape[1]}: {shares})"

    def colored(self) -> np.ndarray:
        """The classes in their colours: uint8 [H, W, 3]."""
        return np.array(self.colors, np.uint8)[self.labels]

    def picture(self, opacity: float = 0.5) -> np.ndarray:
        """The colours over the image, and in full along the edges of classes: uint8 [H, W, 3]."""
        return blended(as_rgb(self.image), self.colored(), self.labels, opacity)

    def shares(self) -> dict[str, float]:
        """The share of the pixels that each class has; classes that have any."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.names))
        return {name: int(count) / self.labels.size for name, count in zip(self.names, counts, strict=True) if count}

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, without the pixels."""
        height, width = self.labels.shape
        return {"height": height, "width": width, "shares": {name: round(v, 6) for name, v in self.shares().items()}}

    def save(self, path: str | Path) -> None:
        """Write the classes of the pixels as a grey picture whose values are class indices.

        Raises:
            ConfigError: the path's suffix is of no format that keeps every value.
        """
        if Path(path).suffix.lower() not in LOSSLESS:
            raise ConfigError(
                f"{path} would not preserve the class of every pixel: use the name {Path(path).stem}.png."
            )
        save_pixels(self.labels, Path(path))

    def show(self) -> None:
        """Open the picture in this machine's viewer."""
        _view(self.picture())


@dataclass(frozen=True, repr=False)
class Picture:
    """Of a restoration.

    image:  uint8 [H, W, C], what was asked about.
    pixels: uint8 [H, W, C], what the net made of it.
    """

    image: np.ndarray
    pixels: np.ndarray

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key} {value}' for key, value in self.to_dict().items())})"

    def picture(self) -> np.ndarray:
        """What the net made: uint8 [H, W, 3]."""
        return as_rgb(self.pixels)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, without the pixels."""
        height, width, channels = self.pixels.shape
        return {"height": height, "width": width, "channels": channels}

    def save(self, path: str | Path) -> None:
        """Write the picture in the format that the path's suffix says."""
        save_pixels(self.pixels, Path(path))

    def show(self) -> None:
        """Open the picture in this machine's viewer."""
        _view(self.picture())


@dataclass(frozen=True, repr=False)
class Compressed(Picture):
    """Of a codec: `pixels` are what the file gives back.

    data: the file.
    """

    data: bytes

    @property
    def bits_per_pixel(self) -> float:
        """Of the whole file."""
        height, width = self.pixels.shape[:2]
        return 8 * len(self.data) / (height * width)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, without the pixels."""
        return super().to_dict() | {"bytes": len(self.data), "bpp": round(self.bits_per_pixel, 6)}

    def save(self, path: str | Path) -> None:
        """Write the file where the path ends in SUFFIX, and otherwise the pixels in the format that its suffix says."""
        path = Path(path)
        if path.suffix.lower() == SUFFIX:
            write_aside(path, lambda aside: aside.write_bytes(self.data))
        else:
            save_pixels(self.pixels, path)


Result = Classes | Mask | Picture


def as_pixels(picture: np.ndarray) -> np.ndarray:
    """Round and clip a net's picture, float of about 0 to 1, to uint8, whatever the shape."""
    pixels: np.ndarray = (picture * 255).round().clip(0, 255).astype(np.uint8)
    return pixels


def to_image(pixels: np.ndarray) -> Image.Image:
    """uint8 [H, W], [H, W, 1] or [H, W, 3] as Pillow has it, grey or RGB."""
    return Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)


def save_pixels(pixels: np.ndarray, path: Path) -> None:
    """Write uint8 [H, W], [H, W, 1] or [H, W, 3] as the path's suffix says, whole or not at all.

    Raises:
        ConfigError: the suffix is none of WRITTEN.
    """
    if path.suffix.lower() not in WRITTEN:
        raise ConfigError(f"{path} cannot be written: image names must end in {', '.join(WRITTEN)}.")
    image, form = to_image(pixels), Image.registered_extensions()[path.suffix.lower()]
    write_aside(path, lambda aside: image.save(aside, format=form))


def _view(pixels: np.ndarray) -> None:
    Image.fromarray(pixels).show()
