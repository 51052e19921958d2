"""Rates as functions of the share of the run."""

import pytest

from imagier.errors import ConfigError
from imagier.training.schedule import Constant, Cosine, OneCycle, Poly, seconds


def test_cosine_warms_up_peaks_and_ends_where_it_says() -> None:
    curve = Cosine(warmup=0.1, final=0.01)
    assert curve(0.05) == pytest.approx(0.5)
    assert curve(0.1) == pytest.approx(1.0)
    assert curve(0.55) == pytest.approx((1 + 0.01) / 2)
    assert curve(1.0) == pytest.approx(0.01)


def test_poly_is_the_deeplab_formula() -> None:
    curve = Poly(power=0.9)
    assert [curve(share) for share in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 0.5**0.9, 0.0])


def test_one_cycle_equals_torch() -> None:
    import torch

    steps = 200
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=steps, pct_start=0.3, div_factor=25, final_div_factor=1e4
    )
    ours = OneCycle(rise=(0.3 * steps - 1) / (steps - 1), initial=1 / 25, final=1 / 25 / 1e4)
    for step in range(steps):
        share = step / (steps - 1)
        assert ours(share) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-6)
        assert ours.momentum_at(share) == pytest.approx(optimizer.param_groups[0]["momentum"], abs=1e-6)
        optimizer.step()
        if step < steps - 1:
            theirs.step()


def test_constant_stays() -> None:
    assert {Constant()(share) for share in (0.0, 0.3, 1.0)} == {1.0}


@pytest.mark.parametrize(("word", "expected"), [("90s", 90), ("20m", 1200), ("1h30m", 5400), ("0.5h", 1800)])
def test_a_budget_is_read_as_people_write_it(word: str, expected: float) -> None:
    assert seconds(word) == expected


@pytest.mark.parametrize("word", ["", "soon", "0m", "-3m", "m", "20", 20])
def test_a_budget_that_is_none_is_refused(word: str | int) -> None:
    with pytest.raises(ConfigError, match="write it as 90s, 20m or 1h30m"):
        seconds(word)
