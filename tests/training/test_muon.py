"""Muon: orthogonalised steps for kernels, AdamW's for other parameters, both scaled by one learning rate."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from imagier.training import muon
from imagier.training.muon import Muon, orthogonal
from imagier.training.strategies import shard


def net() -> nn.Sequential:
    torch.manual_seed(0)
    depthwise = nn.Conv2d(8, 8, 3, groups=8)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), depthwise, nn.Flatten(), nn.Linear(8 * 4 * 4, 5))


def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(
        model(torch.randn(16, 3, 8, 8, generator=generator)), torch.randint(0, 5, (16,), generator=generator)
    )
    loss.backward()
    optimizer.step()
    return loss.detach()


def states(model: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (16, 16)])
def test_what_it_makes_of_a_matrix_is_near_its_polar_factor(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    made = orthogonal(1e-3 * matrix)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    values = torch.linalg.svdvals(made)
    assert values.min() > 0.5
    assert values.max() < 1.3
    assert nn.functional.cosine_similarity(made.flatten(), (left @ right).flatten(), dim=0) > 0.95


def test_both_ways_to_it_agree_where_a_gradient_has_few_directions() -> None:
    generator = torch.Generator().manual_seed(2)
    matrix = torch.randn(64, 5, generator=generator) @ torch.randn(5, 576, generator=generator)
    matrix = matrix / matrix.norm()
    torch.testing.assert_close(muon._by_products(matrix), muon._as_published(matrix), atol=1e-4, rtol=0)
    assert torch.equal(orthogonal(torch.zeros(4, 9)), torch.zeros(4, 9))


def test_kernels_take_steps_as_long_as_adamws_and_the_rest_take_adamws() -> None:
    one, other = net(), net()
    before = states(one)
    step(one, Muon(one.parameters(), lr=1e-2, weight_decay=0.0))
    step(other, torch.optim.AdamW(other.parameters(), lr=1e-2, weight_decay=0.0))
    for (name, _), old, mine, adamws in zip(one.named_parameters(), before, states(one), states(other), strict=True):
        if name in ("0.weight", "4.weight"):
            assert 0.14e-2 < (mine - old).square().mean().sqrt() < 0.25e-2
        else:  # biases, normalisation, depthwise kernels
            torch.testing.assert_close(mine, adamws, msg=name)
            assert not torch.equal(mine, old) or name == "0.bias"  # normalisation cancels this bias


def test_weight_decay_is_that_of_adamw() -> None:
    model = net()
    kernel = model[4].weight
    optimizer = Muon(model.parameters(), lr=1e-2, weight_decay=0.5)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = kernel.detach().clone()
    optimizer.step()
    torch.testing.assert_close(kernel.detach(), before * (1 - 1e-2 * 0.5))


def test_it_goes_on_from_its_state_as_if_nothing_had_happened() -> None:
    model, resumed = net(), net()
    optimizer, again = Muon(model.parameters(), lr=1e-2), Muon(resumed.parameters(), lr=1e-2)
    for seed in range(3):
        step(model, optimizer, seed)
    resumed.load_state_dict(model.state_dict())
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for seed in range(3):
        assert torch.equal(step(resumed, again, seed), step(model, optimizer, seed))


def test_a_net_in_shards_takes_the_same_steps(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(compare_shards, (str(tmp_path / "store"),), nprocs=2)


def compare_shards(rank: int, path: str) -> None:
    """Run one of two processes, which holds half of the network's channels, or two or three of five."""
    distributed.init_process_group("gloo", store=distributed.FileStore(path, 2), rank=rank, world_size=2)
    whole, sharded = net(), net()
    shard(sharded, init_device_mesh("cpu", (2,)))
    one, other = Muon(whole.parameters(), lr=1e-2), Muon(sharded.parameters(), lr=1e-2)
    for seed in range(2):
        torch.testing.assert_close(step(sharded, other, seed), step(whole, one, seed))
    for mine, all_of_it in zip(sharded.parameters(), whole.parameters(), strict=True):
        assert isinstance(mine, DTensor)
        assert mine.to_local().numel() < all_of_it.numel()
        torch.testing.assert_close(mine.full_tensor(), all_of_it)
    distributed.destroy_process_group()
