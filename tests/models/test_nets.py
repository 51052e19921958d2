"""Guarantees of every network: shapes, parameter counts, gradients, and that its configuration builds it."""

import importlib
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import nn
from torchvision.models import densenet121

from imagier.errors import ConfigError
from imagier.models.airbench import Airbench
from imagier.models.cnn import CNN
from imagier.models.densenet import DenseNet121
from imagier.models.fcn8 import FCN8
from imagier.models.mlp import MLP
from imagier.models.pixels import FromPixels
from imagier.models.pooling import GlobalMaxPool
from imagier.models.pspnet import BINS, PSPNet, mean_over_cells
from imagier.models.resnet9 import ResNet9
from imagier.models.smp import SMP
from imagier.models.swiftnet import SwiftNet
from imagier.models.timm import Timm
from imagier.models.unet import UNet
from imagier.models.wide_resnet import WideResNet

CONFIGS = sorted((Path(__file__).parents[2] / "conf" / "model").glob("*.yaml"))
# Each network as small as its options allow.
DENSE = {
    "unet": lambda c, k: UNet(c, k, width=4, depth=3),
    "pspnet": lambda c, k: PSPNet(c, k, backbone="resnet18"),
    "pspnet dilated": lambda c, k: PSPNet(c, k, backbone="resnet50"),
    "swiftnet": lambda c, k: SwiftNet(c, k, width=4, ladder=4, mirror=True),
    "swiftnet of small cells": lambda c, k: SwiftNet(c, k, width=4, ladder=4, cell=2),
    "fcn8": lambda c, k: FCN8(c, k, backbone="vgg16", head_width=8),
    "fcn8 jpu": lambda c, k: FCN8(c, k, head_width=8, jpu=True),
    "smp": lambda c, k: SMP(c, k, architecture="fpn", encoder="resnet18"),
    "smp of stride 16": lambda c, k: SMP(c, k, architecture="deeplabv3plus", encoder="tu-resnet18"),
}
LABELLING = {
    "cnn": lambda c, k: CNN(c, k, (32, 48), width=4, hidden=8),
    "mlp": lambda c, k: MLP(c, k, (32, 48), hidden=[8]),
    "densenet": lambda c, k: DenseNet121(c, k, image_size=(32, 48), upsample=40),
    "densenet small": lambda c, k: DenseNet121(c, k, stem="small"),
    "resnet9": lambda c, k: ResNet9(c, k, (32, 48), width=4),
    "airbench": lambda c, k: Airbench(c, k, (32, 48), widths=[4, 6, 6], mirror=True),
    "airbench of depth 3": lambda c, k: Airbench(c, k, (32, 48), widths=[4, 6, 6], depth=3),
    "airbench of two members": lambda c, k: Airbench(c, k, (32, 48), widths=[4, 6, 6], members=2),
    "wide_resnet": lambda c, k: WideResNet(c, k, depth=10, widen=1, mirror=True),
    "timm": lambda c, k: Timm(c, k, architecture="mobilenetv3_small_050"),
    "timm of fixed size": lambda c, k: Timm(c, k, (32, 48), architecture="test_vit"),
}


def trainable(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)


def wrap(net: nn.Module, channels: int) -> FromPixels:
    return FromPixels(net, [0.5] * channels, [0.25] * channels)


def pixels(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def test_the_reports_nets_have_their_parameters() -> None:
    assert trainable(UNet(3, 8)) == 31_043_976
    assert trainable(CNN(1, 10, (28, 28))) == 468_202
    assert trainable(ResNet9(1, 10)) == 611_306
    assert trainable(DenseNet121(3, 5, freeze=True)) == 1024 * 5 + 5


def test_nets_of_papers_have_their_parameters() -> None:
    assert trainable(WideResNet(3, 10)) == 36_479_194  # "36.5M" in the paper
    assert trainable(WideResNet(3, 10, depth=40, widen=4)) == 8_949_210  # "8.9M"
    assert trainable(Airbench(3, 10)) == 1_972_480  # "1.97M"
    kernels = 9 * (24 * 128 + 2 * 128**2 + 128 * 384 + 2 * 384**2 + 384 * 512 + 2 * 512**2) + 512 * 10
    norms = 2 * 3 * (128 + 384 + 512)  # scales and biases
    assert trainable(Airbench(3, 10, widths=(128, 384, 512), depth=3)) == kernels + norms  # that of 96 %
    assert trainable(SwiftNet(3, 19)) == 3_537_680
    with pytest.raises(ConfigError, match=r"model.depth=27 .*6 n \+ 4, such as 28"):
        WideResNet(3, 10, depth=27)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", DENSE)
def test_a_dense_net_answers_every_pixel_of_an_odd_size(name: str, channels: int) -> None:
    net = wrap(DENSE[name](channels, 5), channels).eval()
    with torch.no_grad():
        assert net(pixels(1, channels, 97, 131)).shape == (1, 5, 97, 131)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", LABELLING)
def test_a_labelling_net_answers_once_an_image(name: str, channels: int) -> None:
    net = wrap(LABELLING[name](channels, 5), channels).eval()
    with torch.no_grad():
        assert net(pixels(2, channels, 32, 48)).shape == (2, 5)


@pytest.mark.parametrize("name", [*DENSE, *LABELLING])
def test_training_reaches_every_parameter(name: str) -> None:
    dense = name in DENSE
    net = wrap((DENSE if dense else LABELLING)[name](3, 5), 3).train()
    # A dense net trains on a single small image; the global pooling of classifiers and of DeepLab needs two.
    single = dense and name != "smp of stride 16"
    outputs = net(pixels(1 if single else 2, 3, *((31, 17) if dense else (32, 48))))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    assert len(outputs) == (2 if name.startswith("pspnet") else 1)
    for logits in outputs:
        assert not dense or logits.shape[1:] == (5, 31, 17)
    target = torch.zeros(outputs[0].shape[:1] + outputs[0].shape[2:], dtype=torch.long)
    sum(F.cross_entropy(logits, target) for logits in outputs).backward()
    unreached = [key for key, value in net.named_parameters() if value.requires_grad and value.grad is None]
    assert unreached == []
    assert all(value.grad.isfinite().all() for value in net.parameters() if value.grad is not None)


def test_members_learn_from_parts_of_a_batch_and_answer_together() -> None:
    net, images = Airbench(3, 5, widths=[4, 6, 6], members=3).train(), torch.randn(7, 3, 32, 32)
    logits = net(images)
    assert logits.shape == (7, 5)
    logits[:3].sum().backward()  # the first member gets three of the seven
    reached = [any(parameter.grad.any() for parameter in member.parameters()) for member in net.members]
    assert reached == [True, False, False]
    net.eval()
    alone = [member(net.stem(images)) for member in net.members]
    assert not torch.allclose(alone[0], alone[1])
    torch.testing.assert_close(net(images), sum(alone) / 3)


def test_frozen_features_do_not_drift() -> None:
    net = DenseNet121(3, 5, stem="small", freeze=True)  # in its initial mode: Lightning does not call train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.1)
    F.cross_entropy(net(torch.randn(2, 3, 16, 16)), torch.tensor([0, 1])).backward()
    optimizer.step()
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"classifier.weight", "classifier.bias"}


def test_the_largest_is_the_same_where_its_gradient_has_to_be_deterministic() -> None:
    features = torch.randn(2, 3, 5, 7)
    usual = GlobalMaxPool()(features)
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.equal(GlobalMaxPool()(features), usual)
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("bins", BINS)
def test_mean_over_cells_is_adaptive_average_pooling(bins: int) -> None:
    features = torch.randn(2, 3, 13, 17, dtype=torch.float64)
    torch.testing.assert_close(mean_over_cells(features, bins), F.adaptive_avg_pool2d(features, bins))


def test_fcn8_starts_by_bilinear_interpolation() -> None:
    up = FCN8(3, 4, head_width=8).fuse.up_top
    scores = torch.randn(1, 4, 5, 6)
    bilinear = F.interpolate(scores, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(up(scores)[..., 1:-1, 1:-1], bilinear[..., 1:-1, 1:-1])


def test_swiftnet_drops_whole_channels_of_what_a_block_adds_and_only_in_training() -> None:
    block = SwiftNet(3, 5, width=8, ladder=4, dropout=0.5).levels[-1][-1]
    nn.init.ones_(block.norm.weight)  # it is initialised to zero, so that a block adds nothing
    image_BCHW = torch.rand(4, 32, 6, 6)

    def changed() -> torch.Tensor:  # share of each channel's pixels
        return (block(image_BCHW) != image_BCHW).float().mean((2, 3))

    share = changed()
    assert 0.2 < (share == 0).float().mean() < 0.8
    assert share[share > 0].min() > 0.9
    block.eval()
    assert changed().min() > 0.9
    assert torch.equal(block(image_BCHW), block(image_BCHW))


def test_dilation_keeps_pspnet_at_an_eighth() -> None:
    net = PSPNet(3, 4, backbone="resnet50")
    shapes = []
    net.backbone.layer4.register_forward_hook(lambda module, inputs, output: shapes.append(output.shape))
    with torch.no_grad():
        net.eval()(torch.randn(1, 3, 64, 48))
    assert shapes == [(1, 2048, 8, 6)]


@pytest.mark.parametrize(
    ("size", "coarsest"), [((28, 28), (3, 3)), ((64, 64), (8, 8)), ((97, 131), (12, 16)), ((8, 9), (1, 1))]
)
def test_resnet9_takes_images_of_any_size(size: tuple[int, int], coarsest: tuple[int, int]) -> None:
    net = ResNet9(1, 10).eval()
    shapes = []
    net.features.register_forward_hook(lambda module, inputs, output: shapes.append(output.shape))
    with torch.no_grad():
        assert net(torch.randn(2, 1, *size)).shape == (2, 10)
    assert shapes == [(2, 128, *coarsest)]


def test_resnet9_with_mirror_answers_an_image_and_its_mirror_image_alike() -> None:
    plain, mirror = ResNet9(1, 10, width=4), ResNet9(1, 10, width=4, mirror=True)
    mirror.load_state_dict(plain.state_dict())
    image = torch.randn(3, 1, 28, 28)
    torch.testing.assert_close(mirror.train()(image), plain.train()(image))  # training uses only the image itself
    plain.load_state_dict(mirror.state_dict())
    plain.eval(), mirror.eval()
    with torch.no_grad():
        torch.testing.assert_close(mirror(image), (plain(image) + plain(image.flip(-1))) / 2)
        torch.testing.assert_close(mirror(image), mirror(image.flip(-1)))


def test_the_densenet_answers_as_torchvisions_does() -> None:
    ours, theirs = DenseNet121(3, 5).eval(), densenet121(num_classes=5).eval()
    theirs.load_state_dict(ours.state_dict())
    image = torch.randn(2, 3, 71, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image))


def test_there_are_configs() -> None:
    names = {path.stem for path in CONFIGS}
    assert names >= {"unet", "pspnet", "fcn8", "smp", "cnn", "mlp", "densenet", "resnet9", "timm"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_builds_its_net(path: Path) -> None:
    options = yaml.safe_load(path.read_text())
    assert options.pop("name") == path.stem
    assert set(options.pop("tasks")) <= {"segment", "classify", "denoise", "compress"}
    module, _, name = options.pop("_target_").rpartition(".")
    build = getattr(importlib.import_module(module), name)
    takes = build.__init__.__code__.co_varnames
    facts = {"in_channels": 3, "num_classes": 8, "image_size": (32, 32)}
    with torch.device("meta"):
        build(**{key: value for key, value in facts.items() if key in takes}, **options)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: UNet(3, 8, width=0), r"model\.width=0 .* at least 1"),
        (lambda: CNN(3, 8, (3, 9)), r"3x9 pixels .* at least 4x4.*data\.size"),
        (lambda: MLP(3, 8, None), r"data\.size=\[HEIGHT,WIDTH\]"),
        (lambda: MLP(3, 8, (4, 4), hidden=7), r"model\.hidden=7 is not a list"),
        (lambda: MLP(3, 8, (4, 4), dropout=1.0), r"model\.dropout=1\.0 .* less than 1"),
        (lambda: PSPNet(3, 8, backbone="resnet51"), r"model\.backbone=resnet51 .* Did you mean 'resnet50'"),
        (lambda: FCN8(3, 8, backbone="vgg"), r"one of vgg16, vgg16_bn"),
        (lambda: SMP(3, 8, architecture="unett"), "Did you mean 'unet'"),
        (lambda: SMP(3, 8, encoder="resnett34"), "Did you mean 'resnet34'"),
        (lambda: SMP(3, 8, encoder="tu-convnext_tiy"), "Did you mean 'tu-convnext_tiny'"),
        (lambda: Timm(3, 8, (28, 32), architecture="test_vit"), r"patches of 16x16 .* 28x32: set data\.size"),
        (lambda: Timm(3, 8, architecture="resnet18.a1_in2k"), r"Did you mean 'resnet18\.a1_in1k'"),
        (lambda: SwiftNet(3, 8, cell=3), r"model\.cell=3 is out of range: .* 2 or 4"),
        (lambda: SwiftNet(3, 8, dropout=1), r"model\.dropout=1 is out of range: .* less than 1"),
        (
            lambda: ResNet9(3, 8, (28, 7)),
            r"model\.stride=2 .* 28x7 pixels .* at least 8 on each side: .* model\.stride=1",
        ),
        (lambda: ResNet9(3, 8)(torch.zeros(1, 3, 7, 28)), r"got images of 7x28 pixels"),
        (lambda: DenseNet121(3, 8, image_size=(32, 32), upsample=16), r"model\.upsample=16 .* at least 32"),
        (lambda: DenseNet121(3, 8, image_size=(16, 16), upsample=20), r"model\.upsample=20 .* at least 29"),
        (
            lambda: DenseNet121(3, 8, stem="small", freeze=True, weights="imagenet"),
            "at random values, as the pretrained one is 7 x 7",
        ),
    ],
)
def test_an_argument_out_of_range_is_explained(build: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build()
