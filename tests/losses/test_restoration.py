"""Losses between images."""

import importlib
import math
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from imagier.errors import ConfigError
from imagier.losses.charbonnier import Charbonnier

CONF = Path(__file__).parents[2] / "conf" / "loss"


def build(name: str) -> nn.Module:
    options = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    assert options.pop("name") == name
    assert "denoise" in options.pop("tasks")
    module, _, kind = options.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), kind)(**options)


@pytest.mark.parametrize("name", ["mse", "l1", "charbonnier"])
def test_a_config_builds_a_mean_over_values(name: str) -> None:
    outputs, target = torch.tensor([[0.2, 0.5], [1.5, 0.0]]), torch.tensor([[0.2, 0.0], [0.5, 0.25]])
    errors = [0.0, 0.5, 1.0, 0.25]
    written = {"mse": lambda e: e * e, "l1": abs, "charbonnier": lambda e: math.sqrt(e * e + 1e-6)}[name]
    loss = build(name)
    assert loss(outputs, target).item() == pytest.approx(sum(map(written, errors)) / 4, rel=1e-5)
    assert loss(torch.cat([outputs, outputs]), torch.cat([target, target])).item() == pytest.approx(
        loss(outputs, target).item(), rel=1e-6
    )


def test_charbonnier_is_smooth_at_zero_and_linear_far_from_it() -> None:
    outputs = torch.tensor([0.0, 1e-6, 0.5, -0.5], requires_grad=True)
    (4 * Charbonnier(1e-3)(outputs, torch.zeros(4))).backward()
    torch.testing.assert_close(outputs.grad, torch.tensor([0.0, 1e-3, 1.0, -1.0]), atol=1e-5, rtol=1e-3)


def test_charbonnier_counts_in_full_precision() -> None:
    outputs, target = torch.rand(4, 3, 8, 8).bfloat16(), torch.rand(4, 3, 8, 8)
    value = Charbonnier()(outputs, target)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, Charbonnier()(outputs.float(), target))


def test_an_argument_out_of_range_is_explained() -> None:
    with pytest.raises(ConfigError, match=r"loss\.epsilon=0 .* above 0"):
        Charbonnier(0)
