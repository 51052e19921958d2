"""`imagier.load`: open a bundle, a run folder or a checkpoint for inference.

A bundle with an ONNX graph needs neither torch nor Lightning, and neither is imported then; a codec needs torch.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from imagier.deploy.bundle import WEIGHTS, digest, is_bundle, read_bundle
from imagier.deploy.predictor import Predictor
from imagier.deploy.runtime import DEVICES, Runtime, chosen, open_runtime
from imagier.deploy.variants import Variants
from imagier.errors import ConfigError

if TYPE_CHECKING:
    from imagier.deploy.bundle import Description
    from imagier.deploy.codec import PictureCodec

    Opened = PictureCodec | tuple[Description, Runtime]


def load(
    path: str | Path,
    *,
    runtime: str = "auto",
    precision: str | None = None,
    threads: int | None = None,
    tile: int | Literal["auto"] | None = "auto",
    device: str = "auto",
    batch_size: int = 8,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
) -> "Predictor | PictureCodec":
    """Open a bundle, a run folder or a checkpoint for inference.

    Args:
        path: of the bundle, run folder or checkpoint; of a run, the best checkpoint is used.
        runtime: auto, torch, onnx or openvino; auto uses a bundle's ONNX graph if it has one, and torch for a codec.
        precision: fp32 or int8, if a bundle has both; None takes the first.
        threads: CPU threads per prediction; None: one per core.
        tile: side of the square tiles, in pixels, that large images are processed in; "auto": 1024 for images of more
            than 4 million pixels; None: never tile.
        device: cpu, cuda, or auto: a GPU if there is one and the runtime is torch. Graphs and codecs run on the CPU.
        batch_size: number of equally sized images that a classifier processes together.
        flip: average the outputs for the image and its mirror image.
        scales: average the outputs over these scales, from 0.1 to 10.

    Returns:
        A `PictureCodec` for task=compress, for which precision=int8, device=cuda, tile, flip and scales are refused; a
        `Predictor` for any other task. Called with an image, either returns a `Result`.

    Raises:
        ConfigError: the path holds none of these, an option is invalid or does not apply to the network, or the
            runtime is unknown or not installed.
        BundleError, TrainingError: the bundle or the checkpoint is damaged.
    """
    _refuse_odd(tile, threads, device, batch_size)
    place = Path(path).expanduser()
    if place.is_file() and is_bundle(place.parent):
        raise ConfigError(f"{path} is a file inside a bundle: name the bundle folder, {place.parent}.")
    opened = (_of_bundle if is_bundle(place) else _of_checkpoint)(place, runtime, precision, threads, device)
    many = list(scales) != [1.0]
    if not isinstance(opened, tuple):
        meaningless = {"device": device == "cuda", "tile": tile != "auto", "flip": flip, "scales": many}
        _refuse(meaningless | {"precision": precision not in (None, "fp32")}, opened.description.name)
        return opened
    description, found = opened
    if description.task == "classify" and many:
        raise ConfigError(
            f"scales={list(scales)} is for segmentation and denoising: {description.name} is a classifier, which "
            "resizes every image to one size. Remove scales."
        )
    asked = Variants(found, flip, scales) if flip or many else found
    predictor = Predictor(description, asked, tile=tile, batch_size=batch_size)
    if isinstance(tile, int) and not predictor.takes_any_size:
        raise ConfigError(
            f"tile={tile} is for networks that take images of any size, but {description.name} resizes every image to "
            "its training size. Remove tile."
        )
    return predictor


def _refuse_odd(tile: Any, threads: Any, device: Any, batch_size: Any) -> None:
    if device not in DEVICES:
        raise ConfigError(f"device={device} is not known; it is one of: {', '.join(DEVICES)}.")
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ConfigError(f"batch_size={batch_size} is not a number of images: give one of at least 1.")
    if tile not in (None, "auto") and (not isinstance(tile, int) or tile < 32):
        raise ConfigError(f"tile={tile} is not a tile size: give a whole number of at least 32, auto or None.")
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise ConfigError(f"threads={threads} is not a number of threads: give one of at least 1, or None.")


def _of_bundle(place: Path, runtime: str, precision: str | None, threads: int | None, device: str) -> "Opened":
    bundle = read_bundle(place)
    if bundle.description.task == "compress":
        from imagier.deploy.codec import open_codec  # torch takes seconds to import

        return open_codec(bundle, runtime, threads)
    return bundle.description, open_runtime(bundle, runtime, precision, threads, device)


def _of_checkpoint(place: Path, runtime: str, precision: str | None, threads: int | None, device: str) -> "Opened":
    if runtime not in ("auto", "torch") or precision not in (None, "fp32"):
        raise ConfigError(
            f"{place} is not a bundle, and only bundles contain graphs: export it with `imagier export ckpt={place}` "
            "first."
        )
    from imagier.deploy.codec import PictureCodec  # torch and Lightning take seconds to import
    from imagier.deploy.network import TorchNet
    from imagier.trained import open_checkpoint

    description, net = open_checkpoint(place)
    if description.task == "compress":
        return PictureCodec(description, net, threads)
    return description, TorchNet(net, threads, device)


def identity(path: str | Path, runtime: str = "auto", precision: str | None = None) -> dict[str, Any]:
    """Return what identifies a network's predictions: runtime, precision and checksums of its weights and graph.

    Args:
        path, runtime, precision: see `load`.
    """
    place = Path(path).expanduser()
    if not is_bundle(place):
        from imagier.training.run_folder import find_checkpoint

        return {"runtime": "torch", "precision": "fp32", "checksums": [digest(find_checkpoint(place, prefer="best"))]}
    bundle, names = read_bundle(place), [WEIGHTS]
    runtime = chosen(bundle, runtime)
    if runtime != "torch":
        graph = bundle.graph(runtime, precision)
        precision = graph.precision
        names += [graph.file, str(Path(graph.file).with_suffix(".bin"))]
    checksums = [bundle.files[name] for name in names if name in bundle.files]
    return {"runtime": runtime, "precision": precision or "fp32", "checksums": checksums}


def load_codec(path: str | Path, runtime: str = "auto", threads: int | None = None) -> "PictureCodec":
    """Open a codec; see `load`. Raises ConfigError if `path` is for another task."""
    from imagier.deploy.codec import PictureCodec

    codec = load(path, runtime=runtime, threads=threads)
    if not isinstance(codec, PictureCodec):
        raise ConfigError(
            f"ckpt={path} is not a codec: it was trained for task={codec.description.task}, but compress, decompress "
            "and transfer-report need task=compress."
        )
    return codec


def _refuse(given: Mapping[str, bool], name: str) -> None:
    if words := [word for word, is_given in given.items() if is_given]:
        raise ConfigError(
            f"{name} is a codec, which always processes an image once and as a whole; remove {' and '.join(words)}."
        )
