"""Initial weights of networks: random, from a file, or pretrained ones of a library.

A network's `weights` are None (random initialisation), "imagenet" (the library's pretrained weights, if there are any;
`smp` knows more such names) or the path of a .safetensors, .pth, .pt, .ckpt or .bin file. In a configuration they may
also be a run folder, whose best checkpoint is meant. Only pretrained weights that are not on this machine are
downloaded, and never while HF_HUB_OFFLINE or IMAGIER_OFFLINE is set.
"""

import os
import re
import urllib.error
import urllib.request
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import huggingface_hub
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from imagier.errors import ConfigError

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
PATIENCE = 5.0  # seconds to wait for a host to respond
# Files written before torchvision 0.3 name the layers of DenseNet `norm.1` instead of `norm1`.
OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")


def initialize(net: nn.Module) -> None:
    """Initialise convolutions and linear layers after He et al. 2015 (Kaiming normal, fan in, ReLU) with zero biases.

    Normalisation layers keep torch's defaults: scale 1, shift 0.
    """
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def load_weights(
    net: nn.Module, weights: str | None, *, parts: Sequence[nn.Module] = (), imagenet: "WeightsEnum | None" = None
) -> None:
    """Load the weights that the option `weights` names into `net`; None leaves it as it is.

    `net.learnt_by` becomes the normalisation that they were trained with, if it is known.

    Args:
        net: the network to fill; messages name its class.
        weights: None, "imagenet" or the path of a file.
        parts: modules inside `net` that a file may fit instead, such as its backbone.
        imagenet: torchvision's weights for the first of `parts`, or None if there are none.

    Raises:
        ConfigError: if the file is missing or unreadable, cannot be downloaded, or does not fit.
    """
    if weights is None:
        return
    if weights == "imagenet":
        if imagenet is None:
            raise ConfigError(
                f"model.weights=imagenet: there are no ImageNet weights for {type(net).__name__}; leave "
                "model.weights=null or name a file with model.weights=PATH."
            )
        load_file(parts[0], torch_hub_file(imagenet.url))
        inputs = imagenet.transforms()
        net.learnt_by = inputs.mean, inputs.std  # type: ignore[assignment]
    else:
        load_file(net, Path(weights).expanduser(), parts)


def load_file(net: nn.Module, path: Path, parts: Sequence[nn.Module] = ()) -> None:
    """Copy the tensors of the file at `path` into `net`, or into one of its `parts` if that matches more of them.

    The file's most common prefix of names (as in a checkpoint of a wrapped network) is dropped. A first convolution for
    RGB is adapted to other channels: summed over them for grey, repeated and scaled otherwise. Tensors that the file
    lacks or has in another shape, such as a head for other classes, keep their initial values, with a warning. If the
    file holds the mean and deviation of its training, they become `net.learnt_by`; see
    `imagier.models.pixels.FromPixels`.

    Raises:
        ConfigError: if the file cannot be read or fills less than half of the tensors.
    """
    stored = read_file(path)
    module, found = max(((m, _fitting(m, stored)) for m in (net, *parts)), key=lambda pair: len(pair[1]))
    # Files from before torch 0.4.1 lack num_batches_tracked.
    wanted = [name for name in module.state_dict() if not name.endswith("num_batches_tracked")]
    missing = [name for name in wanted if name not in found]
    if len(missing) * 2 > len(wanted):
        raise ConfigError(
            f"model.weights={path} matches {len(wanted) - len(missing)} of the {len(wanted)} tensors of "
            f"{type(net).__name__} (the first missing or of another shape is {missing[0]}): a file must match at "
            "least half of them. Choose the model and the options that it was trained with, or another file."
        )
    module.load_state_dict(found, strict=False)
    if pixels := _normalisation(stored):
        net.learnt_by = pixels  # type: ignore[assignment]
    if missing:
        shown = ", ".join(missing[:6]) + (", ..." if len(missing) > 6 else "")
        warnings.warn(
            f"{path.name} set {len(wanted) - len(missing)} of {len(wanted)} tensors; the others keep their initial "
            f"values because the file lacks them or has them in another shape: {shown}",
            stacklevel=2,
        )


def forget_classes(net: nn.Module) -> None:
    """Set a classifier's last linear layer to zero (Kolesnikov et al. 2020, arXiv 1912.11370).

    Trained on other classes, it would predict wrong ones confidently, and the large gradients that correct this would
    damage the features. An ensemble has such a layer in each member.
    """
    linear = [(_alike(name), layer) for name, layer in net.named_modules() if isinstance(layer, nn.Linear)]
    for name, layer in linear:
        if name == linear[-1][0]:
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)


def _alike(name: str) -> str:
    """Return a layer's name with the numbers inside it replaced, as in `members.#.classifier`."""
    return re.sub(r"\.\d+(?=\.)", ".#", name)


def read_file(path: Path) -> dict[str, Tensor]:
    """Return the tensors stored at `path` by name, without executing any code in the file.

    Raises:
        ConfigError: if the file is missing, has an unknown suffix, is corrupt, or cannot be loaded without unpickling
            objects.
    """
    if not path.exists():
        raise ConfigError(
            f"model.weights={path}: no such file or run folder; check the path, or set model.weights=null."
        )
    if path.suffix not in SUFFIXES or not path.is_file():
        raise ConfigError(
            f"model.weights={path} is neither a run folder (runs/latest is the newest) nor a file that ends in "
            f"{', '.join(SUFFIXES)}."
        )
    content: Any
    try:
        if path.suffix == ".safetensors":
            content = safetensors.torch.load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, UnpicklingError, safetensors.SafetensorError) as error:
        (reason, *_) = str(error).splitlines() or ["it ends too soon"]
        raise ConfigError(
            f"model.weights={path} cannot be read as plain tensors ({reason}): it is incomplete, or holds pickled "
            "objects, which are never executed. Download it again, or save only its state_dict()."
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    tensors = content.items() if isinstance(content, dict) else ()
    return {OLD_DENSENET.sub(r"\1\2", str(name)): value for name, value in tensors if isinstance(value, Tensor)}


def _fitting(module: nn.Module, stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of `stored` that match `module` in name and shape, by their names in `module`."""
    own = module.state_dict()
    prefixes: Counter[str] = Counter()
    for name in stored:
        parts = name.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in own:
                prefixes[".".join([*parts[:start], ""])] += 1
    if not prefixes:
        return {}
    prefix = prefixes.most_common(1)[0][0]
    found = {}
    for name, value in stored.items():
        short = name.removeprefix(prefix)
        if name.startswith(prefix) and short in own:
            value = _adapted(value, own[short].shape)
            if value.shape == own[short].shape:
                found[short] = value
    return found


def _normalisation(stored: dict[str, Tensor]) -> tuple[list[float], list[float]] | None:
    """Return the mean and deviation that `FromPixels` stores with a network, or None if the file has none."""
    for name, mean in stored.items():
        std = stored.get(f"{name.removesuffix('mean')}std")
        if name.split(".")[-1] == "mean" and std is not None and mean.shape == std.shape == (len(mean), 1, 1):
            return mean.flatten().tolist(), std.flatten().tolist()
    return None


def _adapted(kernel: Tensor, shape: torch.Size) -> Tensor:
    """Adapt a kernel for RGB, [O, 3, h, w], to the input channels of `shape`; return anything else unchanged."""
    same_otherwise = len(shape) == kernel.ndim == 4 and kernel.shape[::2] == shape[::2] and kernel.shape[3] == shape[3]
    if same_otherwise and kernel.shape[1] == 3 and shape[1] != 3:
        from timm.models import adapt_input_conv  # timm takes half a second to import

        return adapt_input_conv(shape[1], kernel)
    return kernel


def torch_hub_file(address: str) -> Path:
    """Return the file at `address` from torch hub's cache, downloading it unless it is there.

    Raises:
        ConfigError: if it cannot be downloaded.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / address.rsplit("/", 1)[-1]
    if not path.exists():
        _check_online(path.name, address, f"in {path.parent}")
        path.parent.mkdir(parents=True, exist_ok=True)
        # The digits before the suffix are the start of the file's SHA-256, which torch hub checks.
        digits = re.search(r"-([0-9a-f]{8,})\.", path.name)
        try:
            _probe(address)
            torch.hub.download_url_to_file(address, str(path), digits and digits[1])
        except (OSError, RuntimeError) as error:
            raise _unfetched(path.name, address, f"in {path.parent}", error) from error
    return path


def hugging_face_file(repository: str, names: Sequence[str], revision: str | None = None) -> Path:
    """Return the first of `names` in the Hugging Face cache, or else download the first that `repository` has.

    Raises:
        ConfigError: if none is in the cache and none can be downloaded.
    """
    for name in names:
        cached = huggingface_hub.try_to_load_from_cache(repository, name, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
    place = f"in the cache at {huggingface_hub.constants.HF_HUB_CACHE} (hf download {repository})"
    address = huggingface_hub.hf_hub_url(repository, names[0], revision=revision)
    _check_online(names[0], address, place)
    failure: Exception | None = None
    for name in names:
        try:
            _probe(huggingface_hub.hf_hub_url(repository, name, revision=revision))
            return Path(huggingface_hub.hf_hub_download(repository, name, revision=revision))
        except urllib.error.HTTPError as error:  # the repository may have the next name
            failure = error
        except (OSError, RuntimeError) as error:
            failure = error
            break
    raise _unfetched(names[0], address, place, failure) from failure


def _probe(address: str) -> None:
    """Raise OSError quickly if the host does not respond; the libraries' own loaders would wait or retry."""
    request = urllib.request.Request(address, method="HEAD", headers={"User-Agent": "imagier"})
    with urllib.request.urlopen(request, timeout=PATIENCE):
        pass


def _check_online(name: str, address: str, place: str) -> None:
    for variable in ("IMAGIER_OFFLINE", "HF_HUB_OFFLINE"):
        if os.environ.get(variable, "").lower() in ("1", "true", "yes", "on"):
            raise _unfetched(name, address, place, f"{variable} is set")


def _unfetched(name: str, address: str, place: str, reason: object) -> ConfigError:
    return ConfigError(
        f"model.weights=imagenet needs {name}, which is not on this machine and could not be downloaded from "
        f"{address} ({reason}): put it {place}, name a copy with model.weights=PATH, or set model.weights=null."
    )
