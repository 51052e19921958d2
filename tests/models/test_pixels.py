"""Pixels in, logits of the same size out."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.transforms.v2.functional import normalize, to_dtype

from imagier.errors import ConfigError
from imagier.models.cnn import CNN
from imagier.models.pixels import FromPixels
from imagier.models.timm import normalisation
from imagier.models.unet import UNet

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Seen(nn.Module):
    """Returns its input and stores it."""

    def __init__(self, stride: int | None = None) -> None:
        super().__init__()
        if stride:
            self.stride = stride

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.image = image
        return image


def pixels(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def test_normalises_as_torchvision_does() -> None:
    image = pixels(2, 3, 9, 11)
    expected = normalize(to_dtype(image, torch.float32, scale=True), MEAN, STD)
    torch.testing.assert_close(FromPixels(Seen(), MEAN, STD)(image), expected)


def test_extends_by_the_last_row_and_column_and_crops_back() -> None:
    net = Seen(stride=8)
    image = pixels(1, 3, 17, 30)
    output = FromPixels(net, (0.0,) * 3, (1.0,) * 3)(image)
    assert net.image.shape == (1, 3, 24, 32)
    torch.testing.assert_close(net.image[..., 17:, :30], (image[..., 16:17, :] / 255).expand(-1, -1, 7, -1))
    torch.testing.assert_close(net.image[..., :17, 30:], (image[..., 29:30] / 255).expand(-1, -1, -1, 2))
    torch.testing.assert_close(output, image / 255)


def test_a_multiple_of_the_stride_is_left_alone() -> None:
    net = Seen(stride=8)
    FromPixels(net, MEAN, STD)(pixels(1, 3, 16, 24))
    assert net.image.shape == (1, 3, 16, 24)


@pytest.mark.parametrize("arriving", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("wanted", [False, True])
def test_memory_format_is_what_was_asked_for(arriving: torch.memory_format, wanted: bool) -> None:
    net = UNet(3, 4, width=4, depth=2)
    seen = []
    net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    FromPixels(net, MEAN, STD, channels_last=wanted)(pixels(2, 3, 16, 16).to(memory_format=arriving))
    assert seen[0].is_contiguous(memory_format=torch.channels_last) is wanted
    assert net.encoder[1][0].weight.is_contiguous(memory_format=torch.channels_last) is wanted


def test_memory_format_changes_no_result() -> None:
    net = UNet(3, 4, width=4, depth=2).eval()
    image = pixels(2, 3, 19, 23)
    plain = FromPixels(net, MEAN, STD)(image)
    torch.testing.assert_close(FromPixels(net, MEAN, STD, channels_last=True)(image), plain, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_follows_the_nets_dtype(dtype: torch.dtype) -> None:
    net = FromPixels(CNN(1, 3, (8, 8), width=2, hidden=4), (0.5,), (0.5,)).to(dtype)
    assert net(pixels(2, 1, 8, 8)).dtype == dtype


def test_runs_under_autocast() -> None:
    net = FromPixels(UNet(1, 3, width=4, depth=2), (0.5,), (0.5,))
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(pixels(1, 1, 9, 9))
    assert logits.dtype == torch.bfloat16
    assert logits.shape == (1, 3, 9, 9)


def test_its_state_holds_the_normalisation() -> None:
    state = FromPixels(Seen(), MEAN, STD).state_dict()
    torch.testing.assert_close(state["mean"].flatten(), torch.tensor(MEAN))
    torch.testing.assert_close(state["std"].flatten(), torch.tensor(STD))


def test_refuses_a_deviation_of_zero() -> None:
    with pytest.raises(ConfigError, match="above 0"):
        FromPixels(Seen(), (0.5,), (0.0,))


def test_one_exported_graph_serves_every_size() -> None:
    net = FromPixels(UNet(3, 4, width=4, depth=3), MEAN, STD).eval()
    names = {0: torch.export.Dim("batch"), 2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
    graph = torch.export.export(net, (pixels(2, 3, 21, 30),), dynamic_shapes=(names,)).module()
    for shape in ((1, 3, 64, 32), (3, 3, 33, 47), (1, 3, 5, 7)):
        image = pixels(*shape)
        torch.testing.assert_close(graph(image), net(image))


def test_a_net_is_shown_pictures_as_its_weights_have_learnt_them() -> None:
    assert normalisation("vit_small_patch16_224") == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert normalisation("resnet18") == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    net = nn.Identity()
    net.learnt_by = normalisation("vit_small_patch16_224")  # type: ignore[assignment]
    black = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    assert (FromPixels(net, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))(black) == -1).all()  # type: ignore[operator]
    assert FromPixels(nn.Identity(), (0.5,), (0.25,))(black[:, :1]).mean() == -2  # type: ignore[union-attr]


def test_weights_of_a_file_bring_their_normalisation_along(tmp_path: Path) -> None:
    taught = UNet(3, 4, width=4, depth=2)
    taught.learnt_by = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)  # type: ignore[assignment]
    torch.save(
        {"state_dict": {f"net.{k}": v for k, v in FromPixels(taught, MEAN, STD).state_dict().items()}},
        tmp_path / "a.ckpt",
    )
    torch.save(taught.state_dict(), tmp_path / "bare.pth")
    for file, mean in (("a.ckpt", (0.5, 0.5, 0.5)), ("bare.pth", MEAN)):
        net = FromPixels(UNet(3, 4, width=4, depth=2, weights=str(tmp_path / file)), MEAN, STD)
        assert net.normalisation[0] == mean
    grey = FromPixels(UNet(1, 4, width=4, depth=2, weights=str(tmp_path / "a.ckpt")), (0.3,), (0.1,))
    assert grey.normalisation == ((0.3,), (0.1,))
