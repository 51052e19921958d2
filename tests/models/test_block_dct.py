"""The block transforms of a codec: a DCT that is lossless except for the coefficients it drops."""

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from torch import nn

from imagier.models.block_dct import BLOCK, GREY, STEP, Sum, analysis, basis, synthesis
from imagier.models.sliced import Sliced


def alone(transform: nn.Sequential) -> nn.Module:
    """Return the transform's DCT without the network added to it."""
    (both,) = transform
    assert isinstance(both, Sum)
    return both.branches[0]


@pytest.mark.parametrize("channels", [1, 3])
def test_all_coefficients_give_the_picture_back(channels: int) -> None:
    every = channels * BLOCK**2
    image = torch.rand(2, channels, 48, 32)
    there, back = alone(analysis(channels, 4, every)), alone(synthesis(every, 4, channels))
    assert there(image).shape == (2, every, 3, 2)
    torch.testing.assert_close(back(there(image)), image, atol=1e-5, rtol=0)


def test_what_a_net_adds_at_first_is_hardly_seen() -> None:
    image = torch.rand(2, 3, 48, 32)
    there, back = analysis(3, 64, 192), synthesis(192, 64, 3)
    assert (there(image) - alone(there)(image)).std() < 0.1  # quantisation steps
    assert (back(there(image)) - alone(back)(there(image))).std() < 0.01


def test_the_dct_is_not_rounded_when_the_net_beside_it_trains_in_bf16() -> None:
    image = torch.rand(2, 1, 32, 32)
    for transform in (analysis(1, 4, BLOCK**2), synthesis(BLOCK**2, 4, 1)):
        (both,) = transform
        assert isinstance(both, Sum)
        dct, learnt = both.sequences()
        last = learnt[-1]
        assert isinstance(last, nn.Conv2d | nn.ConvTranspose2d)
        nn.init.zeros_(last.weight)
        with torch.autocast("cpu", torch.bfloat16):
            summed = transform.train()(image)
        torch.testing.assert_close(summed, dct(image), rtol=0, atol=1e-5)
        image = summed.detach()


def test_coefficients_are_those_of_the_dct() -> None:
    image = np.random.default_rng(0).random((BLOCK, BLOCK)).astype(np.float32)
    ours = alone(analysis(1, 4, BLOCK**2))(torch.from_numpy(image)[None, None])[0, :, 0, 0] * STEP
    theirs = dctn(image - GREY, norm="ortho")
    np.testing.assert_allclose(np.sort(ours.detach().numpy()), np.sort(theirs.ravel()), atol=1e-4)


def test_the_lowest_frequencies_are_kept_and_colours_have_fewer_of_them() -> None:
    basis_MCkk, strength_M = basis(3, 96)
    grey = basis_MCkk.std(dim=1).amax((1, 2)) < 1e-6
    assert 55 <= int(grey.sum()) <= 75
    assert bool(grey[0])
    assert strength_M[0] == strength_M.max()
    assert (basis_MCkk[0] - basis_MCkk[0, 0, 0, 0]).abs().max() < 1e-6  # the mean


def test_what_the_nets_add_is_learnt_and_the_dct_is_not() -> None:
    net = Sliced(3, width=4, latents=12, slices=2, side=4).train()
    coded = net(torch.rand(1, 3, 64, 64), torch.tensor([1]))
    (coded.bits.sum() + coded.image.square().sum()).backward()
    learnt = {name for name, value in net.named_parameters() if value.requires_grad}
    unreached = [name for name in learnt if net.get_parameter(name).grad is None]
    assert unreached == []
    assert "analysis.0.branches.1.0.weight" in learnt
    assert not any(name.startswith(("analysis.0.branches.0", "synthesis.0.branches.0")) for name in learnt)
