import pytest
import torch

from imagier.losses.rate_distortion import RateDistortion


def test_bits_per_pixel_and_the_error_at_its_price() -> None:
    target = torch.zeros(2, 3, 4, 5)
    image = torch.stack([target[0] + 2 / 255, target[1] + 4 / 255]).requires_grad_()
    bits = torch.tensor([40.0, 10.0], requires_grad=True)
    loss = RateDistortion()(image, target, bits, torch.tensor([0.5, 0.01]))
    assert loss.item() == pytest.approx(((40 / 20 + 0.5 * 4) + (10 / 20 + 0.01 * 16)) / 2)
    loss.backward()
    assert bits.grad is not None
    assert bits.grad.tolist() == pytest.approx([1 / 40, 1 / 40])
    assert image.grad is not None
    ratio = image.grad[0, 0, 0, 0] / image.grad[1, 0, 0, 0]
    assert ratio.item() == pytest.approx(0.5 * 2 / (0.01 * 4))


def test_half_precision_does_not_reach_the_sums() -> None:
    image = torch.full((1, 3, 64, 64), 0.5, dtype=torch.bfloat16)
    loss = RateDistortion()(image, image + 0.25, torch.tensor([4096.0]), torch.tensor([0.01]))
    assert loss.dtype is torch.float32
    assert loss.item() == pytest.approx(1 + 0.01 * 255**2 / 16, rel=1e-6)
