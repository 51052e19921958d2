"""Weights from files, from libraries, and without a network."""

import urllib.request
from pathlib import Path
from urllib.error import URLError

import huggingface_hub
import pytest
import safetensors.torch
import torch
import torchvision.models as zoo

from imagier.errors import ConfigError
from imagier.models import weights
from imagier.models.airbench import Airbench
from imagier.models.densenet import DenseNet121
from imagier.models.fcn8 import FCN8
from imagier.models.pixels import FromPixels
from imagier.models.pspnet import PSPNet
from imagier.models.smp import SMP
from imagier.models.timm import Timm
from imagier.models.unet import UNet


def small(num_classes: int = 4, path: Path | None = None, in_channels: int = 3) -> UNet:
    return UNet(in_channels, num_classes, width=4, depth=2, weights=path and str(path))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without cached weights, on which any download fails."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def refuse(*args: object, **kwargs: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    return tmp_path


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".ckpt"])
def test_a_file_comes_back_as_it_was(tmp_path: Path, suffix: str) -> None:
    net, path = small(), tmp_path / f"net{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(net.state_dict(), path)
    elif suffix == ".pth":
        torch.save(net.state_dict(), path)
    else:  # as in a task's checkpoint, with the network wrapped
        wrapped = FromPixels(net, [0.5] * 3, [0.5] * 3).state_dict(prefix="net.")
        torch.save({"state_dict": wrapped, "epoch": 3}, path)
    for name, value in small(path=path).state_dict().items():
        assert torch.equal(value, net.state_dict()[name]), name


def test_a_head_for_other_classes_is_left_out_and_named(tmp_path: Path) -> None:
    net, path = small(num_classes=4), tmp_path / "net.pth"
    torch.save(net.state_dict(), path)
    with pytest.warns(UserWarning, match=r"net\.pth set .* head\.weight, head\.bias"):
        other = small(num_classes=7, path=path)
    assert torch.equal(other.encoder[0][0].weight, net.encoder[0][0].weight)


def test_a_head_is_forgotten_in_every_member_and_nothing_else_is() -> None:
    net = Airbench(3, 5, widths=[4, 6, 6], members=2)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    weights.forget_classes(net)
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"members.0.classifier.weight", "members.1.classifier.weight"}
    assert not any(net.state_dict()[name].any() for name in changed)
    other = torch.nn.ModuleDict({"body": torch.nn.Sequential(torch.nn.Linear(2, 2)), "head": torch.nn.Linear(2, 2)})
    other["tail"] = torch.nn.Sequential(torch.nn.Linear(2, 3))  # its name ends as the first one's does
    weights.forget_classes(other)
    left = [bool(layer.weight.any()) for layer in (other["body"][0], other["head"], other["tail"][0])]
    assert left == [True, True, False]


def test_grey_images_get_the_sum_of_the_kernels_for_rgb(tmp_path: Path) -> None:
    net, path = small(), tmp_path / "net.pth"
    torch.save(net.state_dict(), path)
    grey = small(path=path, in_channels=1).eval()
    image = torch.randn(1, 1, 8, 8)
    torch.testing.assert_close(grey(image), net.eval()(image.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4)


def test_a_backbones_own_file_fits(tmp_path: Path) -> None:
    files = {"resnet18": zoo.resnet18(), "densenet": zoo.densenet121(), "vgg": zoo.vgg16_bn(num_classes=1).features}
    torch.save(files["resnet18"].state_dict(), tmp_path / "resnet18.pth")
    psp = PSPNet(1, 4, backbone="resnet18", weights=str(tmp_path / "resnet18.pth"))
    assert torch.equal(psp.backbone.layer4[1].conv2.weight, files["resnet18"].layer4[1].conv2.weight)
    torch.testing.assert_close(psp.backbone.conv1.weight, files["resnet18"].conv1.weight.sum(1, keepdim=True))

    smp = SMP(3, 4, encoder="resnet18", weights=str(tmp_path / "resnet18.pth"))
    assert torch.equal(smp.net.encoder.layer4[1].conv2.weight, files["resnet18"].layer4[1].conv2.weight)

    # Named as in the published file.
    old = {name.replace(".norm1", ".norm.1"): value for name, value in files["densenet"].state_dict().items()}
    torch.save(old, tmp_path / "densenet.pth")
    with pytest.warns(UserWarning, match=r"classifier\.weight, classifier\.bias"):
        densenet = DenseNet121(3, 4, weights=str(tmp_path / "densenet.pth"))
    deep = "denseblock4.denselayer16.norm1.weight"
    assert torch.equal(densenet.features.state_dict()[deep], files["densenet"].features.state_dict()[deep])

    torch.save(files["vgg"].state_dict(prefix="features."), tmp_path / "vgg.pth")
    fcn = FCN8(3, 4, head_width=8, weights=str(tmp_path / "vgg.pth"))
    assert torch.equal(fcn.backbone["features"][40].weight, files["vgg"][40].weight)


def test_imagenet_weights_come_from_torch_hubs_folder(machine: Path) -> None:
    published = zoo.resnet18()
    folder = machine / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(published.state_dict(), folder / "resnet18-f37072fd.pth")
    net = PSPNet(3, 4, backbone="resnet18", weights="imagenet")
    assert net.learnt_by == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert torch.equal(net.backbone.conv1.weight, published.conv1.weight)


def test_timm_and_smp_load_from_the_hubs_cache(machine: Path) -> None:
    published = zoo.resnet18()  # timm and torchvision use the same tensor names
    for repository, revision in (("timm--resnet18.a1_in1k", "a" * 40), ("smp-hub--resnet18.imagenet", None)):
        revision = revision or smp_revision()
        folder = machine / "hub" / f"models--{repository}"
        snapshot = folder / "snapshots" / revision
        snapshot.mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text(revision)
        (snapshot / "config.json").write_text('{"input_range": [0, 255], "mean": [51, 102, 153], "std": [51, 51, 51]}')
        safetensors.torch.save_file(published.state_dict(), snapshot / "model.safetensors")
    timm = Timm(1, 4, architecture="resnet18", weights="imagenet")
    torch.testing.assert_close(timm.net.conv1.weight, published.conv1.weight.sum(1, keepdim=True))
    smp = SMP(3, 4, encoder="resnet18", weights="imagenet")
    assert torch.equal(smp.net.encoder.conv1.weight, published.conv1.weight)
    mean, std = FromPixels(smp, [0.5] * 3, [0.5] * 3).normalisation
    assert (mean, std) == (pytest.approx((0.2, 0.4, 0.6)), pytest.approx((0.2, 0.2, 0.2)))
    (snapshot / "config.json").write_text('{"input_space": "BGR"}')
    with pytest.raises(ConfigError, match="were trained on BGR, but images are read as RGB"):
        SMP(3, 4, encoder="resnet18", weights="imagenet")


def smp_revision() -> str:
    import segmentation_models_pytorch as library

    return library.encoders.encoders["resnet18"]["pretrained_settings"]["imagenet"]["revision"]


BUILDS = {
    "resnet18-f37072fd.pth": lambda: PSPNet(3, 4, backbone="resnet18", weights="imagenet"),
    "densenet121-a639ec97.pth": lambda: DenseNet121(3, 4, weights="imagenet"),
    "timm/resnet18.a1_in1k": lambda: Timm(3, 4, architecture="resnet18", weights="imagenet"),
    "smp-hub/resnet18.imagenet": lambda: SMP(3, 4, encoder="resnet18", weights="imagenet"),
    "timm/convnext_tiny.in12k_ft_in1k": lambda: SMP(3, 4, encoder="tu-convnext_tiny", weights="imagenet"),
}


@pytest.mark.parametrize("what", BUILDS)
@pytest.mark.parametrize("offline", [True, False])
def test_without_a_network_one_sentence_says_what_to_put_where(
    machine: Path, monkeypatch: pytest.MonkeyPatch, what: str, offline: bool
) -> None:
    if offline:
        monkeypatch.setenv("IMAGIER_OFFLINE", "1")
    with pytest.raises(ConfigError) as caught:
        BUILDS[what]()
    message = str(caught.value)
    assert what in message
    assert str(machine) in message
    assert "model.weights=PATH" in message
    assert ("IMAGIER_OFFLINE is set" if offline else "no route to host") in message


def test_nothing_is_fetched_unless_asked(machine: Path) -> None:
    SMP(3, 4, encoder="resnet18")
    Timm(3, 4, architecture="resnet18")
    assert list(machine.iterdir()) == []


def test_a_silent_host_is_given_up_soon(monkeypatch: pytest.MonkeyPatch, machine: Path) -> None:
    patience = []

    def time_out(*args: object, timeout: float) -> None:
        patience.append(timeout)
        raise TimeoutError("timed out")

    monkeypatch.setattr(urllib.request, "urlopen", time_out)
    with pytest.raises(ConfigError, match="timed out"):
        weights.torch_hub_file("https://example.org/net-0123abcd.pth")
    with pytest.raises(ConfigError, match="timed out"):
        weights.hugging_face_file("some/net", ["model.safetensors", "pytorch_model.bin"])
    assert patience == [weights.PATIENCE] * 2


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("executed",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.pth", None, "no such file"),
        ("net.h5", b"", r"end.* in \.safetensors"),
        ("short.pth", b"PK\x03\x04", "cannot be read"),
        ("empty.pth", b"", "cannot be read as plain tensors .it ends too soon"),
        ("short.safetensors", b"\x10", "cannot be read"),
        ("pickle.pth", Payload(), "never executed"),
        ("other.pth", {"some.weight": torch.zeros(3)}, r"matches 0 of the \d+ tensors of UNet"),
        ("list.pth", [1, 2], r"matches 0 of the"),
    ],
)
def test_an_unfitting_file_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: object, message: str
) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ConfigError, match=message):
        small(path=path)
    assert "executed" not in capsys.readouterr().out


def test_another_width_does_not_fit(tmp_path: Path) -> None:
    torch.save(UNet(3, 4, width=8, depth=2).state_dict(), tmp_path / "wide.pth")
    with pytest.raises(ConfigError, match="at least half"):
        small(path=tmp_path / "wide.pth")


def test_unet_has_no_imagenet_weights() -> None:
    with pytest.raises(ConfigError, match="no ImageNet weights for UNet"):
        UNet(3, 4, width=4, depth=2, weights="imagenet")
