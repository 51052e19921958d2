"""Any image classifier of timm (https://github.com/huggingface/pytorch-image-models)."""

from collections.abc import Sequence
from pathlib import Path

import timm
from timm.layers.helpers import to_2tuple
from torch import Tensor, nn

from imagier.errors import ConfigError
from imagier.models.arguments import check_choice, check_image_size, check_probability
from imagier.models.weights import hugging_face_file, load_weights, torch_hub_file


class Timm(nn.Module):
    """Map images, float [B, in_channels, H, W], to logits [B, num_classes].

    Args:
        in_channels: channels of the image.
        num_classes: length of the logits.
        image_size: (H, W), or None if images differ in size; used only by models built for one size, such as vision
            transformers.
        architecture: name of a model, optionally with the tag of a set of weights, as in resnet18.a1_in1k.
        dropout: probability, in [0, 1), of dropping a feature before the classifier.
        weights: None for the library's initialisation, "imagenet" for its pretrained weights, or the path of a file.

    Raises:
        ConfigError: for an unknown name, an argument out of range, or weights that are missing or do not fit.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        image_size: tuple[int, int] | None = None,
        architecture: str = "resnet18",
        dropout: float = 0.0,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        check_choice("architecture", architecture, {*timm.list_models(), *timm.list_pretrained()})
        check_probability("dropout", dropout)
        origin = timm.models.get_pretrained_cfg(architecture)
        size = check_image_size(architecture, image_size) if origin and origin.fixed_input_size else None
        pretrained = weights == "imagenet"
        self.net = timm.create_model(
            architecture,
            pretrained=pretrained,
            pretrained_cfg_overlay={"file": str(pretrained_file(architecture))} if pretrained else None,
            in_chans=in_channels,
            num_classes=num_classes,
            drop_rate=dropout,
            img_size=size,
        )
        if size is not None:
            _check_patches(self.net, architecture, size)
        self.learnt_by = normalisation(architecture) if weights is not None and in_channels == 3 else None
        if not pretrained:
            load_weights(self, weights, parts=[self.net])  # one of imagier's states its own `learnt_by`

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Return the logits."""
        return self.net(image_BCHW)


def pretrained_file(architecture: str) -> Path:
    """Return timm's weights file for `architecture`, downloading it unless it is on this machine.

    Raises:
        ConfigError: if timm has none, or it cannot be downloaded.
    """
    origin = timm.models.get_pretrained_cfg(architecture)
    if origin and origin.hf_hub_id:
        names = [origin.hf_hub_filename] if origin.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
        return hugging_face_file(origin.hf_hub_id, names)
    if origin and isinstance(origin.url, str):
        return torch_hub_file(origin.url)
    raise ConfigError(
        f"model.weights=imagenet: timm has no weights for {architecture}; choose one listed by "
        "`timm.list_pretrained()`, or set model.weights=null."
    )


def normalisation(architecture: str) -> tuple[Sequence[float], Sequence[float]] | None:
    """Return the mean and deviation, per channel of image / 255, that timm's weights were trained with."""
    origin = timm.models.get_pretrained_cfg(architecture)
    return (origin.mean, origin.std) if origin and len(origin.mean) == 3 else None


def _check_patches(net: nn.Module, architecture: str, image_size: tuple[int, int]) -> None:
    """Raise ConfigError if `net` splits images into patches of which `image_size` is not a multiple."""
    height, width = to_2tuple(getattr(getattr(net, "patch_embed", None), "patch_size", 1))
    if image_size[0] % height or image_size[1] % width:
        raise ConfigError(
            f"model.architecture={architecture} splits images into patches of {height}x{width} pixels, which do not "
            f"fit {image_size[0]}x{image_size[1]}: set data.size to multiples of them, or choose another architecture."
        )
