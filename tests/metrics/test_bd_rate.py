import numpy as np
import pytest

from imagier.metrics.bd_rate import bd_rate

RATE = np.array([0.33, 0.56, 1.1, 1.6])
JPEG = np.array([25.7, 28.0, 31.3, 33.8])
WEBP = np.array([27.1, 29.3, 33.4, 36.2])
AVIF = np.array([28.2, 30.5, 34.6, 37.4])


def test_it_agrees_with_the_reference() -> None:
    # by `bjontegaard` 1.3.0, method="pchip"
    assert bd_rate(RATE, JPEG, RATE, WEBP) == pytest.approx(-0.26478116962934873, rel=1e-9)
    assert bd_rate(RATE, JPEG, RATE, AVIF) == pytest.approx(-0.4099685666276975, rel=1e-9)


def test_a_share_of_the_bits_is_that_share_whatever_the_unit() -> None:
    assert bd_rate(RATE, JPEG, 0.7 * RATE, JPEG) == pytest.approx(-0.3)
    assert bd_rate(8 * RATE, JPEG, 16 * RATE, JPEG) == pytest.approx(1)
    assert bd_rate(RATE, JPEG, RATE[::-1], JPEG[::-1]) == pytest.approx(0)


def test_of_one_rate_the_one_quality_is_compared() -> None:
    assert bd_rate(RATE, JPEG, RATE[1:2] / 2, JPEG[1:2]) == pytest.approx(-0.5)
    between = bd_rate(RATE, JPEG, np.array([0.8]), np.array([30.0]))
    assert 0.8 / 1.1 - 1 < between < 0.8 / 0.56 - 1


def test_points_that_cost_more_and_are_no_better_do_not_count() -> None:
    rate, quality = np.append(RATE, [1.8, 0.6]), np.append(WEBP, [36.0, 29.3])
    assert bd_rate(RATE, JPEG, rate, quality) == pytest.approx(bd_rate(RATE, JPEG, RATE, WEBP))


def test_without_a_common_quality_nothing_can_be_said() -> None:
    assert np.isnan(bd_rate(RATE, JPEG, RATE, JPEG + 20))
    assert np.isnan(bd_rate(RATE, JPEG, np.array([1.0]), np.array([20.0])))
    assert np.isnan(bd_rate(RATE, JPEG, RATE, np.full(4, np.nan)))
