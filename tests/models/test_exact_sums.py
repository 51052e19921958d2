"""Sums that are identical in any order of addition, and so on any machine."""

import copy
import zlib
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imagier.models import exact
from imagier.models.block_dct import Sum
from imagier.models.exact import run_exactly
from imagier.models.gdn import GDN, synthesis
from imagier.models.hyperprior import Hyperprior
from imagier.models.pair import Pair


def some_nets() -> dict[str, nn.Sequential]:
    torch.manual_seed(0)
    of_codecs = {
        "synthesis": synthesis(12, 8, 3),
        "hyper-synthesis": Hyperprior(3, width=12, latents=6).hyper_synthesis,
        "pair": Pair(12, width=8).decoder,
    }
    uneven = nn.Sequential(
        nn.ConvTranspose2d(12, 8, (2, 3), stride=(3, 2), padding=(0, 1), output_padding=(2, 1)),
        GDN(8),
        nn.Conv2d(8, 3, (1, 4), padding=(2, 0)),
    )
    return of_codecs | {"uneven": uneven}


NETS = some_nets()
every_net = pytest.mark.parametrize("name", NETS)


def given(batch: int = 2) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(batch, 12, 9, 14) * 9


def mixed(layers: nn.Sequential) -> nn.Sequential:
    """Return the same network with its inner channels permuted, and so with its sums in another order."""
    layers, order = copy.deepcopy(layers), torch.arange(12)
    last = [layer for layer in layers if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)][-1]
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            assert layer.bias is not None
            turn = (lambda weight: weight) if isinstance(layer, nn.Conv2d) else (lambda weight: weight.transpose(0, 1))
            turned = turn(layer.weight.data)[:, order]
            order = torch.randperm(layer.out_channels) if layer is not last else torch.arange(layer.out_channels)
            layer.weight.data, layer.bias.data = turn(turned[order]).contiguous(), layer.bias.data[order]
        elif isinstance(layer, GDN):
            layer.beta.data, layer.gamma.data = layer.beta.data[order], layer.gamma.data[order][:, order]
    return layers


@every_net
def test_the_order_of_a_sum_changes_nothing(name: str) -> None:
    layers, x = NETS[name], given()
    answered = run_exactly(layers, x)
    expected = layers(x).detach()
    assert (answered - expected).abs().max() < 1e-5 * expected.abs().max()
    torch.manual_seed(2)
    orders = [mixed(layers) for _ in range(4)]
    assert all(torch.equal(run_exactly(other, x), answered) for other in orders)
    assert not all(torch.equal(other(x), layers(x)) for other in orders)


def test_branches_are_added_as_they_are_computed_alone() -> None:
    one, other = (nn.Sequential(nn.Conv2d(12, 8, 3, padding=1), nn.LeakyReLU(), nn.Conv2d(8, 3, 1)) for _ in "ab")
    added = run_exactly(nn.Sequential(Sum(one, other)), given())
    assert torch.equal(added, run_exactly(one, given()) + run_exactly(other, given()))
    torch.testing.assert_close(added.float(), Sum(one, other)(given()), atol=1e-4, rtol=0)


def folded(x: Tensor, weight: Tensor, bias: None, stride: tuple[int, int], pad: Tensor, extra: Tensor) -> Tensor:
    """A transposed convolution as a matrix product whose columns are added one by one."""
    kernel, (height, width) = weight.shape[2:], x.shape[2:]
    size = [
        (n - 1) * s - 2 * p + k + e for n, s, p, k, e in zip((height, width), stride, pad, kernel, extra, strict=True)
    ]
    columns = torch.einsum("io,bin->bon", weight.flatten(1).flip(0), x.flatten(2).flip(1))
    return F.fold(columns, size, kernel, padding=pad, stride=stride)


def unfolded(x: Tensor, weight: Tensor) -> Tensor:
    """A convolution whose products are added tap by tap, in reverse order."""
    height, width = (size - kernel + 1 for size, kernel in zip(x.shape[2:], weight.shape[2:], strict=True))
    sums = x.new_zeros(len(x), len(weight), height, width)
    for channel in reversed(range(x.shape[1])):
        for k in range(weight.shape[2]):
            for m in range(weight.shape[3]):
                sums += weight[:, channel, k, m, None, None] * x[:, channel, None, k : k + height, m : m + width]
    return sums


@every_net
def test_another_algorithm_gives_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = run_exactly(NETS[name], given())
    monkeypatch.setattr(exact, "_UNFOLDED", 1)  # one row at a time
    assert torch.equal(run_exactly(NETS[name], given()), answered)
    monkeypatch.setattr(exact.F, "conv_transpose2d", folded)
    monkeypatch.setattr(exact.F, "conv2d", unfolded)
    assert torch.equal(run_exactly(NETS[name], given()), answered)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@every_net
def test_any_number_of_threads_gives_the_same(name: str) -> None:
    x = given(1).repeat(1, 1, 5, 5)  # large enough to be split between threads
    answers = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        answers.append(run_exactly(NETS[name], x))
    assert all(torch.equal(answers[0], other) for other in answers[1:])


@every_net
def test_a_sample_does_not_see_the_others_of_its_batch(name: str) -> None:
    x = given(3) * torch.tensor([1e-6, 1.0, 1e6])[:, None, None, None]
    together = run_exactly(NETS[name], x)
    for number in range(3):
        assert torch.equal(run_exactly(NETS[name], x[number, None]), together[number, None])


def spread(shape: torch.Size, seed: int) -> Tensor:
    """Multiples of 2^-16 between -1/2 and 1/2, float32, without a random generator."""
    count = torch.arange(shape.numel(), dtype=torch.int64) + seed * 1000
    return ((count * 40503 + count * count * 7919) % 65536 - 32768).float().view(shape) / 65536


def test_the_arithmetic_is_that_of_all_files_of_this_version() -> None:
    """If this number changes, older files become unreadable: then raise VERSION in imagier.models.bitstream."""
    tail = [nn.Conv2d(3, 4, 3, padding=1), nn.LeakyReLU(), nn.Upsample(scale_factor=2)]
    layers = nn.Sequential(*synthesis(12, 8, 3), *tail)
    with torch.no_grad():
        for number, value in enumerate(layers.parameters()):
            value.copy_(spread(value.shape, number))
    answered = run_exactly(layers, spread(torch.Size((1, 12, 4, 6)), 99) * 9)
    assert zlib.crc32(answered.numpy().tobytes()) == 1138837544


@every_net
@pytest.mark.parametrize("value", [0.0, 1e-38, 3e38, float("inf"), float("nan")])
def test_nets_that_went_astray_still_answer(name: str, value: float) -> None:
    layers = copy.deepcopy(NETS[name])
    for x in (given(), torch.full((1, 12, 5, 5), value)):
        assert not run_exactly(layers, x).isnan().any()
        with torch.no_grad():
            layers[0].weight.fill_(value)
            layers[-1].bias.fill_(value)
        assert not run_exactly(layers, x).isnan().any()


@pytest.mark.parametrize(
    "layer",
    [
        nn.Sigmoid(),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.Conv2d(12, 4, 3, stride=2),
        nn.Conv2d(12, 4, 3, dilation=2),
        nn.Conv2d(12, 4, 3, groups=2),
        nn.Conv2d(12, 4, 3, bias=False),
        nn.Conv2d(12, 4, 3, padding="same"),
        nn.Conv2d(12, 4, 3, padding=1, padding_mode="reflect"),
        nn.ConvTranspose2d(12, 4, 3, groups=2),
    ],
    ids=str,
)
def test_a_layer_that_it_does_not_know_is_refused(layer: nn.Module) -> None:
    with pytest.raises(
        NotImplementedError, match=rf"{type(layer).__name__}\(.*cannot be computed exactly.*add support"
    ):
        run_exactly(nn.Sequential(layer), given())
