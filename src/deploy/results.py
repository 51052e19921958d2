"""The results that predictors and codecs return."""

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
    """The result of classification.

    image:         uint8 [H, W, C], the input.
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
        """Return up to `count` classes with their probabilities, the most probable first."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.names[index], float(self.probabilities[index])) for index in order.tolist()]

    def to_dict(self, count: int = 5) -> dict[str, Any]:
        """Return the most probable class and the `count` most probable ones with probabilities, for JSON."""
        top = [{"class": name, "probability": round(value, 6)} for name, value in self.top(count)]
        return {"label": self.label, "top": top}

    def picture(self) -> np.ndarray:
        """Return the input as uint8 [H, W, 3]."""
        return as_rgb(self.image)

    def save(self, path: str | Path) -> None:
        """Write all classes as JSON. Raises ConfigError if the path does not end in .json."""
        if Path(path).suffix.lower() != ".json":
            raise ConfigError(f"classes are written as JSON, not to {path}: use the name {Path(path).stem}.json.")
        write_text(Path(path), json.dumps(self.to_dict(len(self.names)), indent=1) + "\n")

    def show(self) -> None:
        """Print the most probable classes, and open the image in this machine's viewer."""
        print("\n".join(f"{value:7.2%}  {name}" for name, value in self.top()))
        _view(self.picture())


@dataclass(frozen=True, repr=False)
class Mask:
    """The result of segmentation.

    image:  uint8 [H, W, C], the input.
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
        """Return the mask in class colours, uint8 [H, W, 3]."""
        return np.array(self.colors, np.uint8)[self.labels]

    def picture(self, opacity: float = 0.5) -> np.ndarray:
        """Return the image blended with the class colours, opaque along class edges: uint8 [H, W, 3]."""
        return blended(as_rgb(self.image), self.colored(), self.labels, opacity)

    def shares(self) -> dict[str, float]:
        """Return each class's share of the pixels, of 0 to 1, without classes that have none."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.names))
        return {name: int(count) / self.labels.size for name, count in zip(self.names, counts, strict=True) if count}

    def to_dict(self) -> dict[str, Any]:
        """Return size and class shares, for JSON."""
        height, width = self.labels.shape
        return {"height": height, "width": width, "shares": {name: round(v, 6) for name, v in self.shares().items()}}

    def save(self, path: str | Path) -> None:
        """Write the mask as a grey image whose values are class indices.

        Raises:
            ConfigError: the path's suffix is none of LOSSLESS.
        """
        if Path(path).suffix.lower() not in LOSSLESS:
            raise ConfigError(
                f"{path} would not preserve the class of every pixel: use the name {Path(path).stem}.png."
            )
        save_pixels(self.labels, Path(path))

    def show(self) -> None:
        """Open image and mask, blended, in this machine's viewer."""
        _view(self.picture())


@dataclass(frozen=True, repr=False)
class Picture:
    """The result of denoising.

    image:  uint8 [H, W, C], the input.
    pixels: uint8 [H, W, C], the network's output.
    """

    image: np.ndarray
    pixels: np.ndarray

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key} {value}' for key, value in self.to_dict().items())})"

    def picture(self) -> np.ndarray:
        """Return the output as uint8 [H, W, 3]."""
        return as_rgb(self.pixels)

    def to_dict(self) -> dict[str, Any]:
        """Return height, width and channels, for JSON."""
        height, width, channels = self.pixels.shape
        return {"height": height, "width": width, "channels": channels}

    def save(self, path: str | Path) -> None:
        """Write the output in the format of the path's suffix. Raises ConfigError if that is none of WRITTEN."""
        save_pixels(self.pixels, Path(path))

    def show(self) -> None:
        """Open the output in this machine's viewer."""
        _view(self.picture())


@dataclass(frozen=True, repr=False)
class Compressed(Picture):
    """The result of compression; `pixels` are the decompressed image.

    data: the compressed file.
    """

    data: bytes

    @property
    def bits_per_pixel(self) -> float:
        """Size of the whole file in bits per pixel."""
        height, width = self.pixels.shape[:2]
        return 8 * len(self.data) / (height * width)

    def to_dict(self) -> dict[str, Any]:
        """Return height, width, channels, bytes and bits per pixel, for JSON."""
        return super().to_dict() | {"bytes": len(self.data), "bpp": round(self.bits_per_pixel, 6)}

    def save(self, path: str | Path) -> None:
        """Write the compressed file if the path ends in SUFFIX, and otherwise the pixels as `Picture.save` does."""
        path = Path(path)
        if path.suffix.lower() == SUFFIX:
            write_aside(path, lambda aside: aside.write_bytes(self.data))
        else:
            save_pixels(self.pixels, path)


Result = Classes | Mask | Picture


def as_pixels(picture: np.ndarray) -> np.ndarray:
    """Convert a network's image, float of about 0 to 1 and any shape, to uint8 by rounding and clipping."""
    pixels: np.ndarray = (picture * 255).round().clip(0, 255).astype(np.uint8)
    return pixels


def to_image(pixels: np.ndarray) -> Image.Image:
    """Convert uint8 [H, W], [H, W, 1] or [H, W, 3] to a PIL image, grey or RGB."""
    return Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)


def save_pixels(pixels: np.ndarray, path: Path) -> None:
    """Write uint8 [H, W], [H, W, 1] or [H, W, 3] in the format of the path's suffix, whole or not at all.

    Raises:
        ConfigError: the suffix is none of WRITTEN.
    """
    if path.suffix.lower() not in WRITTEN:
        raise ConfigError(f"{path} cannot be written: image names must end in {', '.join(WRITTEN)}.")
    image, form = to_image(pixels), Image.registered_extensions()[path.suffix.lower()]
    write_aside(path, lambda aside: image.save(aside, format=form))


def _view(pixels: np.ndarray) -> None:
    Image.fromarray(pixels).show()
