"""Guarantees of image-to-image networks: sizes, parameter counts, gradients, and their characteristic properties."""

import pytest
import torch
from torch import nn

from imagier.errors import ConfigError
from imagier.models.autoencoder import Autoencoder
from imagier.models.dncnn import DnCNN
from imagier.models.drunet import DRUNet
from imagier.models.pixels import FromPixels

NETS = {
    "autoencoder": lambda c: Autoencoder(c, width=4),
    "dncnn": lambda c: DnCNN(c, depth=4, width=8),
    "drunet": lambda c: DRUNet(c, widths=[8, 12, 16], depth=1),
    "drunet of one level": lambda c: DRUNet(c, widths=[8], depth=1),
}
each = pytest.mark.parametrize("name", NETS)


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def wrap(net: nn.Module, channels: int = 3, **options: bool) -> FromPixels:
    return FromPixels(net, [0.5] * channels, [0.25] * channels, **options)


def test_the_autoencoder_has_its_parameters_in_either_half() -> None:
    net = Autoencoder(3)
    assert (parameters(net.encoder), parameters(net.decoder)) == (93_248, 256_963)
    assert net.encoder(torch.rand(1, 3, 40, 64)).shape == (1, 128, 5, 8)


def test_the_others_have_what_their_papers_and_docstrings_say() -> None:
    assert parameters(DRUNet(3)) == 1_047_296
    assert parameters(DnCNN(3)) == 669_379
    grey = DnCNN(1, depth=17)  # DnCNN-S
    assert sum(isinstance(layer, nn.Conv2d) for layer in grey.modules()) == 17
    assert parameters(grey) == 556_097


@pytest.mark.parametrize("channels", [1, 3])
@each
def test_a_picture_of_any_size_comes_back_in_it(name: str, channels: int) -> None:
    net = wrap(NETS[name](channels), channels).eval()
    assert net.net.unit_range
    for height, width in ((37, 51), (5, 8)):
        image = torch.randint(0, 256, (2, channels, height, width), dtype=torch.uint8)
        with torch.no_grad():
            out = net(image)
            assert out.shape == (2, channels, height, width)
            torch.testing.assert_close(net(image.float()), out)


@each
def test_training_reaches_every_parameter(name: str) -> None:
    net = wrap(NETS[name](3)).train()
    image = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(3):  # layers initialised to zero block gradients for a step
        optimizer.zero_grad()
        (net(image) - image.flip(-1) / 255).square().mean().backward()
        optimizer.step()
    unreached = [key for key, value in net.named_parameters() if value.grad is None or not value.grad.any()]
    assert unreached == []


@each
def test_it_learns_to_take_noise_off(name: str) -> None:
    torch.manual_seed(0)
    net = wrap(NETS[name](1), 1, channels_last=True).train()
    step = 0.01 if name == "autoencoder" else 0.003
    optimizer = torch.optim.Adam(net.parameters(), lr=step)
    across = torch.linspace(0, 6, 32)
    errors = []
    for _ in range(100):
        turn = torch.rand(8, 1, 1, 1) * 6
        clean = 0.5 + 0.4 * torch.sin(across + turn).expand(8, 1, 32, 32)
        noisy = 255 * clean + 40 * torch.randn(clean.shape)
        loss = (net(noisy) - clean).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(loss.item())
    assert sum(errors[-10:]) / 10 < 0.5 * (40 / 255) ** 2


def test_drunet_is_equivariant_to_scale() -> None:
    net = DRUNet(3, widths=[8, 12, 16], depth=2).double()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    image = torch.randn(1, 3, 16, 24, dtype=torch.double)
    once = net(image)
    assert not torch.allclose(once, image)
    for scale in (1e-3, 0.5, 7.0):
        torch.testing.assert_close(net(scale * image), scale * once)
    wrapped = wrap(net).double()
    pixels = 255 * torch.rand(1, 3, 13, 21, dtype=torch.double)
    torch.testing.assert_close(wrapped(pixels / 4), wrapped(pixels) / 4)
    assert not any(key.endswith("bias") for key, _ in net.named_parameters())


@pytest.mark.parametrize("net", [DRUNet(3), DnCNN(3, depth=4, width=8)])
def test_nets_that_learn_the_noise_begin_as_the_identity(net: nn.Module) -> None:
    image = torch.randn(1, 3, 16, 24)
    assert torch.equal(net(image), image)


def test_dncnn_soon_takes_noise_off() -> None:
    """With another initialisation, training stays at the identity for a long time."""
    torch.manual_seed(0)
    net = DnCNN(1, depth=6, width=16)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    shares = []
    for _ in range(60):
        clean = torch.rand(8, 1, 1, 1).expand(-1, -1, 32, 32)
        noisy = clean + 0.1 * torch.randn(8, 1, 32, 32)
        loss = (net(noisy) - clean).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        shares.append((loss / (noisy - clean).abs().mean()).item())
    assert sum(shares[-10:]) / 10 < 0.7


def test_the_autoencoder_answers_in_blocks_within_the_range() -> None:
    with torch.no_grad():
        out = Autoencoder(3)(10 * torch.randn(1, 3, 16, 24))
    assert out.min() >= 0
    assert out.max() <= 1
    assert torch.equal(out, out[:, :, ::2, ::2].repeat_interleave(2, -1).repeat_interleave(2, -2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Autoencoder(3, width=0), r"model\.width=0 .* at least 1"),
        (lambda: DnCNN(3, depth=2), r"model\.depth=2 .* at least 3"),
        (lambda: DRUNet(3, widths=[]), r"model\.widths=\[\] is not a list"),
        (lambda: DRUNet(3, widths=32), r"model\.widths=32 is not a list"),
        (lambda: DRUNet(3, widths=[32, 0]), r"model\.widths=0 .* at least 1"),
        (lambda: DRUNet(3, depth=0), r"model\.depth=0 .* at least 1"),
    ],
)
def test_an_argument_out_of_range_is_explained(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_the_autoencoder_begins_with_pictures_that_are_neither_black_nor_white() -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        image = wrap(Autoencoder(3)).eval()(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
        assert ((image > 0.02) & (image < 0.98)).float().mean() > 0.9
