"""A bundle's network in torch: class and arguments from bundle.json, tensors from the .safetensors file."""

import inspect
from importlib import import_module
from pathlib import Path

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
from torch import nn

from imagier.deploy.bundle import TABLES, WEIGHTS, WHOLE, Bundle
from imagier.deploy.runtime import DEVICES, RUNTIMES
from imagier.errors import BundleError, ConfigError, ImagierError
from imagier.models.coded import Codec
from imagier.models.pixels import FromPixels
from imagier.models.range_coding import Tables

_HOME = "imagier.models"


def make_network(bundle: Bundle) -> FromPixels:
    """Make the network with randomly initialised weights.

    Only module classes defined in `imagier.models` are called, whatever a bundle names.

    Raises:
        BundleError: there is no such class, or it rejects its arguments.
    """
    description = bundle.description
    module, _, name = description.net.rpartition(".")
    try:
        made = getattr(import_module(f"{_HOME}.{module}"), name) if module.isidentifier() else None
    except (ImportError, AttributeError):
        made = None
    if not (inspect.isclass(made) and issubclass(made, nn.Module) and made.__module__ == f"{_HOME}.{module}"):
        runtimes = [name for name in RUNTIMES if any((name, WHOLE) == (one.format, one.part) for one in bundle.graphs)]
        other = (
            f"use runtime={runtimes[0]}, which needs no such class" if runtimes else "export it again with formats=onnx"
        )
        raise BundleError(
            f"the bundle's network {description.net} is not a class of {_HOME}, and for safety no other class is "
            f"called; {other}, or update imagier if a newer version wrote the bundle."
        )
    try:
        inner = made(**description.arguments)
    except (TypeError, ValueError, ImagierError) as error:
        raise BundleError(f"the bundle's network {description.net} rejects its arguments: {error}") from error
    return FromPixels(inner, description.mean, description.std, channels_last=True)


def load_network(bundle: Bundle) -> FromPixels:
    """Make the network with its weights, in evaluation mode.

    Raises:
        BundleError: the weights, or a codec's tables, are missing, damaged or from another network.
    """
    net, path = make_network(bundle), bundle.path(WEIGHTS)
    try:
        net.load_state_dict(safetensors.torch.load_file(path))
        if isinstance(net.net, Codec):
            path = bundle.path(TABLES)
            net.net.keep(_read_tables(path))
    except (OSError, RuntimeError, KeyError, TypeError, safetensors.SafetensorError) as error:
        said = " ".join(str(error).split())[:200]
        raise BundleError(
            f"{path} does not match its network ({said}). Copy the bundle again, or export it again."
        ) from error
    return net.eval()


def save_network(net: FromPixels, folder: Path) -> None:
    """Write the weights and, for a codec, its tables, which another machine might compute slightly differently."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    (folder / WEIGHTS).write_bytes(safetensors.torch.save(state))  # `save_file` makes it readable by its owner only
    if isinstance(net.net, Codec):
        arrays = {f"{name}.{key}": array for name, one in net.net.tables().items() for key, array in one.arrays()}
        (folder / TABLES).write_bytes(safetensors.numpy.save(arrays))


def _read_tables(path: Path) -> dict[str, Tables]:
    parts: dict[str, dict[str, np.ndarray]] = {}
    for name, array in safetensors.numpy.load_file(path).items():
        table, _, key = name.rpartition(".")
        parts.setdefault(table, {})[key] = array
    return {name: Tables(**arrays) for name, arrays in parts.items()}


class TorchNet:
    """A network in torch as a `Runtime`.

    Args:
        net: takes uint8 pixels, in evaluation mode.
        threads: torch's, for the whole process; None leaves their number unchanged.
        device: cpu, cuda, or auto: a GPU if torch sees one.

    Raises:
        ConfigError: the device is unknown or not available.
    """

    def __init__(self, net: nn.Module, threads: int | None = None, device: str = "cpu") -> None:
        self.device = _device(device)
        self.net = net.to(self.device)
        if threads:
            torch.set_num_threads(threads)

    @torch.inference_mode()
    def __call__(self, image_BCHW: np.ndarray) -> np.ndarray:
        """See `Runtime`."""
        asked_BCHW = torch.from_numpy(np.ascontiguousarray(image_BCHW)).to(self.device)
        answer: np.ndarray = self.net(asked_BCHW).float().cpu().numpy()
        return answer


def _device(name: str) -> torch.device:
    if name not in DEVICES:
        raise ConfigError(f"device={name} is not known; it is one of: {', '.join(DEVICES)}.")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device=cuda: torch sees no GPU here. Remove device, or check `nvidia-smi`.")
    return torch.device("cuda" if name == "auto" and torch.cuda.is_available() else name.replace("auto", "cpu"))
