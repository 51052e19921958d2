"""Any architecture with any encoder of segmentation_models_pytorch.

https://github.com/qubvel-org/segmentation_models.pytorch
"""

import json
from collections.abc import Sequence

import segmentation_models_pytorch as smp
import timm
from torch import Tensor, nn

from imagier.errors import ConfigError
from imagier.models.arguments import check_choice
from imagier.models.timm import normalisation, pretrained_file
from imagier.models.weights import hugging_face_file, load_weights


class SMP(nn.Module):
    """Map images, float [B, in_channels, H, W], to logits [B, num_classes, H, W].

    H and W must be multiples of `stride`, which depends on the encoder: 32 for most.

    Args:
        in_channels: channels of the image.
        num_classes: channels of the logits.
        architecture: unet, unetplusplus, fpn, deeplabv3plus, segformer and others.
        encoder: resnet34, efficientnet-b0 and others, or tu-NAME for a model of timm.
        weights: None for the library's initialisation, one of its names for the encoder's weights (such as
            "imagenet"), or the path of a file for the network or its encoder.

    Raises:
        ConfigError: for an unknown name, or weights that are missing, do not fit, or were not trained on RGB.
    """

    # Some parameters get no gradient, such as the last layers of efficientnet-b0, or the deep ones under a pspnet.
    has_idle_parts = True

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        architecture: str = "unet",
        encoder: str = "resnet34",
        weights: str | None = None,
    ) -> None:
        super().__init__()
        check_choice("architecture", architecture, smp.MODEL_ARCHITECTURES_MAPPING)
        universal = encoder.startswith("tu-")
        known = {f"tu-{name}" for name in (*timm.list_models(), *timm.list_pretrained())} if universal else set()
        check_choice("encoder", encoder, {*smp.encoders.encoders, *known})
        named = _fetch(encoder, weights)
        self.net = smp.create_model(
            architecture,
            encoder,
            encoder_weights=(True if universal else weights) if named else None,
            in_channels=in_channels,
            classes=num_classes,
        )
        self.stride: int = self.net.encoder.output_stride
        self.learnt_by = _learnt_by(encoder, str(weights)) if named and in_channels == 3 else None
        if not named:
            load_weights(self, weights, parts=[self.net, self.net.encoder])

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Return the logits."""
        return self.net(image_BCHW)


def _learnt_by(encoder: str, weights: str) -> tuple[Sequence[float], Sequence[float]] | None:
    """Return the mean and deviation, per channel of image / 255, that the library's weights were trained with.

    Raises:
        ConfigError: if they were trained on another colour space than RGB.
    """
    if encoder.startswith("tu-"):
        return normalisation(encoder.removeprefix("tu-"))
    origin = smp.encoders.encoders[encoder]["pretrained_settings"][weights]
    said = json.loads(hugging_face_file(origin["repo_id"], ["config.json"], origin["revision"]).read_text())
    if said.get("input_space", "RGB") != "RGB":
        raise ConfigError(
            f"model.weights={weights} of model.encoder={encoder} were trained on {said['input_space']}, but images "
            "are read as RGB; choose another encoder, such as one of timm's, tu-NAME."
        )
    if "mean" not in said or "std" not in said:
        return None
    scale = max(said.get("input_range", [0, 1]))
    return [value / scale for value in said["mean"]], [value / scale for value in said["std"]]


def _fetch(encoder: str, weights: str | None) -> bool:
    """Fetch the library's pretrained `weights` unless they are on this machine; return False if it has none such."""
    if encoder.startswith("tu-"):
        if weights == "imagenet":
            pretrained_file(encoder.removeprefix("tu-"))
        return weights == "imagenet"
    settings = smp.encoders.encoders[encoder]["pretrained_settings"]
    if weights not in settings:
        return False
    for name in ("config.json", "model.safetensors"):
        hugging_face_file(settings[weights]["repo_id"], [name], settings[weights]["revision"])
    return True
