"""Guarantees of every codec: its file decodes to the image that `forward` returns, at the rate that it predicts."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from imagier.errors import ConfigError, DataError
from imagier.models.bitstream import compress, decompress
from imagier.models.coded import Codec, Coded, to_pixels
from imagier.models.factorized import Factorized
from imagier.models.hyperprior import Hyperprior
from imagier.models.pair import Pair
from imagier.models.pixels import FromPixels
from imagier.models.range_coding import Tables
from imagier.models.sliced import Sliced

THREE = (0.0018, 0.0067, 0.025)
NETS: dict[str, Callable[[int], Codec]] = {
    "pair": lambda c: Pair(c, width=8),
    "factorized": lambda c: Factorized(c, width=8, latents=6, lambdas=THREE),
    "factorized of one rate": lambda c: Factorized(c, width=8, latents=6, lambdas=[0.01]),
    "hyperprior": lambda c: Hyperprior(c, width=8, latents=6, lambdas=THREE),
    "hyperprior of one rate": lambda c: Hyperprior(c, width=8, latents=6, lambdas=[0.01]),
    "sliced": lambda c: Sliced(c, width=8, latents=24, slices=3, side=8, lambdas=THREE),
    "sliced of one rate": lambda c: Sliced(c, width=8, latents=7, slices=2, side=8, lambdas=[0.01]),
}
LEARNED = [name for name in NETS if name != "pair"]


def make(name: str, channels: int = 3, loudness: float = 20.0) -> FromPixels:
    """Return a codec whose latents span many symbols, as a trained one's do."""
    torch.manual_seed(0)
    net = NETS[name](channels)
    if name != "pair":
        first, last = net.analysis[-1], net.synthesis[0]
        if isinstance(net, Sliced):  # its DCT has that scale from the start
            (first,), (last,), loudness = first.branches[0], last.branches[0], loudness / 20
        with torch.no_grad():
            first.weight *= loudness
            last.weight /= loudness
    return FromPixels(net, [0.5] * channels, [0.25] * channels).eval()


def scene(channels: int, height: int, width: int) -> Tensor:
    """Return an image of waves with some grain, uint8 [C, H, W]."""
    y, x = torch.meshgrid(torch.linspace(0, 9, height), torch.linspace(0, 7, width), indexing="ij")
    waves = torch.stack([(x * (c + 1)).sin() * (y + c).cos() for c in range(channels)])
    return (127 + 90 * waves + 8 * torch.randn_like(waves)).clamp(0, 255).to(torch.uint8)


def answer(net: FromPixels, image: Tensor, rate: int = 0) -> Coded:
    coded = net(image[None], torch.tensor([rate]))
    assert isinstance(coded, Coded)
    return coded


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_the_nets_have_their_parameters() -> None:
    pair = Pair(1)
    assert (count(pair.encoder), count(pair.decoder)) == (3_265, 3_265)
    paper = Factorized(3, width=128, latents=192, lambdas=[0.01])
    assert count(paper.analysis) + count(paper.synthesis) == 2_986_435
    assert count(paper) == 2_986_435 + 192 * 43
    assert count(Hyperprior(3, width=128, latents=192, lambdas=[0.01])) == 7_020_195 + 128 * 43
    assert count(Factorized(3, width=128, latents=192, lambdas=THREE)) == count(paper) + 3 * 192


@pytest.mark.parametrize("size", [(1, 1), (17, 33), (97, 64)], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NETS)
def test_the_file_gives_the_picture_that_forward_gives_at_its_price(
    name: str, channels: int, size: tuple[int, int]
) -> None:
    net, image = make(name, channels), scene(channels, *size)
    for rate in range(len(net.net.lambdas)):
        coded, data = answer(net, image, rate), compress(net, image, rate)
        assert torch.equal(decompress(net, data), to_pixels(coded.image)[0])
        assert coded.bits.shape == (1,)
        assert abs(len(data) * 8 - coded.bits.item()) <= 0.01 * coded.bits.item() + 64 * 8


@pytest.mark.parametrize("name", NETS)
def test_decoding_is_exact_to_the_last_bit(name: str) -> None:
    net = make(name).net
    image = torch.rand(1, 3, 128, 192)
    for rate in range(len(net.lambdas)):
        expected = net(image, torch.tensor([rate])).image
        assert torch.equal(net.decode(net.encode(image, rate), 128, 192, rate), expected)


@pytest.mark.parametrize("name", NETS)
def test_the_order_of_channels_in_memory_changes_nothing(name: str) -> None:
    net, image = FromPixels(make(name).net, [0.5] * 3, [0.25] * 3, channels_last=True).eval(), scene(3, 70, 90)
    assert torch.equal(decompress(net, compress(net, image)), to_pixels(answer(net, image).image)[0])


@pytest.mark.parametrize("name", LEARNED)
def test_the_price_of_a_large_file_is_right_within_a_percent(name: str) -> None:
    net = make(name, loudness=200.0).net
    image = torch.rand(1, 3, 512, 512)
    bits = net(image, torch.tensor([0])).bits.item()
    assert bits > 30_000
    assert len(net.encode(image, 0)) * 8 == pytest.approx(bits, rel=0.005)


@pytest.mark.parametrize("name", LEARNED)
def test_a_net_codes_with_the_tables_of_another_machine(name: str) -> None:
    net, image = make(name), scene(3, 80, 80)
    there = {key: Tables(one.low, one.start, one.counts.copy()) for key, one in net.net.tables().items()}
    for one in there.values():  # as if another machine rounded logarithms differently
        first = int(one.start[1]) - 2
        one.counts[first : first + 2] += np.array([1, -1]) * (1 if one.counts[first + 1] > 1 else -1)
    here = copy.deepcopy(net)
    net.net.keep(there)
    data = compress(net, image)
    with pytest.raises(DataError, match="another network"):
        decompress(here, data)
    here.net.keep(there)
    assert torch.equal(decompress(here, data), decompress(net, data))


def test_a_pair_costs_a_byte_a_code() -> None:
    net, image = make("pair", 1), scene(1, 64, 48)
    assert answer(net, image).bits.item() == 8 * 32 * 24
    assert len(net.net.encode(image[None] / 255, 0)) == 32 * 24


@pytest.mark.parametrize("name", LEARNED)
def test_latents_far_outside_the_tables_come_through(name: str) -> None:
    net, image = make(name, loudness=3e5), scene(3, 64, 64)
    coded, data = answer(net, image), compress(net, image)
    assert torch.equal(decompress(net, data), to_pixels(coded.image)[0])
    assert len(data) * 8 == pytest.approx(coded.bits.item(), rel=0.01, abs=512)


@pytest.mark.parametrize("name", NETS)
def test_training_reaches_every_parameter(name: str) -> None:
    net = make(name).train()
    rate = torch.arange(len(net.net.lambdas))
    coded = net(torch.stack([scene(3, 65, 40)] * len(rate)), rate)
    assert coded.image.shape == (len(rate), 3, 65, 40)
    (coded.bits.sum() / 1000 + coded.image.square().sum()).backward()
    gradients = {key: value.grad for key, value in net.named_parameters() if value.requires_grad}
    assert [key for key, grad in gradients.items() if grad is None or not grad.any()] == []
    assert all(grad.isfinite().all() for grad in gradients.values())


@pytest.mark.parametrize("name", ["factorized", "hyperprior"])
def test_a_larger_lambda_starts_with_a_larger_file(name: str) -> None:
    net, image = make(name), scene(3, 96, 96)
    sizes = [len(compress(net, image, rate)) for rate in range(3)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2]


@pytest.mark.parametrize("name", LEARNED)
def test_tables_follow_the_weights(name: str) -> None:
    net, image = make(name), scene(3, 80, 80)
    before = compress(net, image)  # fills the caches
    start = copy.deepcopy(net.state_dict())
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05, fused=True)
    answer(net.train(), image).bits.sum().backward()
    optimizer.step()
    net.eval()
    for value in net.parameters():
        value.data.mul_(1.01)  # bypasses the version counter
    after = compress(net, image)
    fresh = FromPixels(NETS[name](3), [0.5] * 3, [0.25] * 3).eval()
    fresh.load_state_dict(net.state_dict())
    assert compress(fresh, image) == after != before
    assert torch.equal(decompress(copy.deepcopy(net), after), to_pixels(answer(net, image).image)[0])
    net.load_state_dict(start)
    assert compress(net, image) == before


@pytest.mark.parametrize("name", LEARNED)
def test_autocast_changes_neither_the_file_nor_the_picture(name: str) -> None:
    net, image = make(name), scene(3, 64, 96)
    expected, data = answer(net, image), compress(net, image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        coded = answer(net, image)
        assert compress(net, image) == data
        assert torch.equal(decompress(net, data), to_pixels(coded.image)[0])
        trained = answer(net.train(), image)
        (trained.bits.sum() + trained.image.float().sum()).backward()
    assert torch.equal(coded.image, expected.image)
    assert torch.equal(coded.bits, expected.bits)
    assert trained.bits.dtype == torch.float32
    assert all(value.grad.isfinite().all() for value in net.parameters() if value.grad is not None)


@pytest.mark.parametrize("name", NETS)
def test_pictures_of_a_batch_are_what_each_would_be_alone(name: str) -> None:
    net = make(name).net
    image, rate = torch.stack([torch.rand(3, 64, 128), torch.rand(3, 64, 128) / 50]), torch.zeros(2, dtype=torch.int64)
    coded = net(image, rate)
    for number in range(2):
        assert torch.equal(net.decode(net.encode(image[number, None], 0), 64, 128, 0), coded.image[number, None])


@pytest.mark.parametrize("name", NETS)
def test_the_exact_synthesis_is_that_of_training_to_a_thousandth_of_a_grey_level(name: str) -> None:
    net, rate = make(name).net, torch.tensor([0])
    latent = net.read(net.encode(torch.rand(1, 3, 128, 192), 0), 128, 192, 0)
    layers, gain = net.synthesis_at(rate)
    with torch.no_grad():
        expected = layers(latent / gain)
    assert 255 * (net.synthesise(latent, rate) - expected).abs().max() < 1e-3


@pytest.mark.parametrize("name", ["factorized", "hyperprior"])
def test_a_short_training_lowers_the_loss(name: str) -> None:
    torch.manual_seed(1)
    net, image = NETS[name](1), scene(1, 64, 64)[None].repeat(3, 1, 1, 1).float() / 255
    price, rate = torch.tensor(THREE), torch.arange(3)

    def loss() -> Tensor:
        coded = net(image, rate)
        error = (coded.image - image).square().mean(dim=(1, 2, 3))
        return (coded.bits / 64**2 + price * 255**2 * error).mean()

    net.eval()
    before = loss()
    optimizer = torch.optim.Adam(net.train().parameters(), lr=5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    net.eval()
    assert loss() < 0.7 * before
    wrapped, picture = FromPixels(net, [0.5], [0.25]).eval(), scene(1, 50, 70)
    for index in range(3):
        coded, data = answer(wrapped, picture, index), compress(wrapped, picture, index)
        assert torch.equal(decompress(wrapped, data), to_pixels(coded.image)[0])
        assert abs(len(data) * 8 - coded.bits.item()) <= 0.01 * coded.bits.item() + 64 * 8


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Factorized(3, lambdas=[]), r"model\.lambdas=\[\] is invalid.*ascending"),
        (lambda: Factorized(3, lambdas=[0.02, 0.01]), "ascending"),
        (lambda: Hyperprior(3, lambdas=[0.0, 0.01]), "positive"),
        (lambda: Sliced(1, latents=257), "model.latents=257 .* 256 values of a block"),
        (lambda: Sliced(3, latents=7, slices=4), "cannot be split into model.slices=4"),
        (lambda: Hyperprior(3, lambdas="many"), "is invalid"),
        (lambda: Factorized(3, latents=0), r"model\.latents=0 .* at least 1"),
        (lambda: Pair(3, lambdas=[0.01, 0.02]), r"a single rate.*give one number"),
    ],
)
def test_an_argument_out_of_range_is_explained(build: Callable[[], Codec], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build()
