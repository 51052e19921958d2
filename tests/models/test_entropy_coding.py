"""Integers to bytes and back, the densities behind the coder's tables, and divisive normalisation."""

import numpy as np
import pytest
import torch

from imagier.models.entropy_models import (
    NARROWEST,
    WIDEST,
    FactorizedDensity,
    gaussian_bits,
    gaussian_rows,
    gaussian_scales,
    gaussian_tables,
    lower_bound,
)
from imagier.models.gdn import GDN
from imagier.models.range_coding import LARGEST, TOTAL, Decoder, Encoder, Tables


def check_tables(tables: Tables) -> None:
    rows = np.split(tables.counts, tables.start[1:-1])
    assert all(row.sum() == TOTAL and row.min() >= 1 for row in rows)


def test_symbols_come_back_at_the_price_of_their_tables() -> None:
    generator = np.random.default_rng(0)
    tables = gaussian_tables()
    check_tables(tables)
    rows = generator.integers(0, len(tables.low), (3, 40, 50))
    symbols = np.rint(generator.normal(0, gaussian_scales()[rows])).astype(np.int64)
    symbols[0, 0, :4] = [LARGEST, -LARGEST, 1000, -1]
    encoder = Encoder()
    encoder.write(symbols, rows, tables)
    encoder.write(symbols[0, :1], rows[0, :1], tables)
    decoder = Decoder(encoder.data())
    assert (decoder.read(rows, tables) == symbols).all()
    assert (decoder.read(rows[0, :1], tables) == symbols[0, :1]).all()
    decoder.finish()
    bits = tables.bits(symbols, rows).sum() + tables.bits(symbols[0, :1], rows[0, :1]).sum()
    assert len(encoder.data()) * 8 == pytest.approx(bits, abs=96)


def test_scales_go_to_the_nearest_and_never_beyond_the_ends() -> None:
    scales = gaussian_scales()
    assert (scales[0], scales[-1]) == pytest.approx((NARROWEST, WIDEST), rel=1e-5)
    assert (gaussian_rows(scales * 1.01) == np.arange(len(scales))).all()
    assert list(gaussian_rows(np.array([0.0, 1e9]))) == [0, len(scales) - 1]


def test_gaussian_tables_leave_room_for_another_machines_rounding() -> None:
    """No scale is so close to a rounding boundary that another machine's power function could move it across."""
    scales = NARROWEST * (WIDEST / NARROWEST) ** np.linspace(0, 1, len(gaussian_scales()))
    fraction = scales * 2**20 % 1
    assert np.abs(fraction - 0.5).min() > 1e-4


@pytest.mark.parametrize("spread", [0.01, 2.0, 300.0, 1e5])
def test_tables_of_a_density_cover_it_whatever_its_width(spread: float) -> None:
    torch.manual_seed(0)
    density = FactorizedDensity(3, spread=spread)
    gain = torch.tensor([[0.3, 1.0, 4.0], [1.0, 2.0, 8.0]])
    tables = density.tables(gain)
    check_tables(tables)
    assert len(tables.low) == 6
    escape = tables.counts[tables.start[1:] - 1] / TOTAL
    assert (escape < 1e-3).all() or spread > 100


def test_a_finer_step_makes_cells_of_the_same_density() -> None:
    density = FactorizedDensity(1, spread=20.0)
    tables = density.tables(torch.tensor([[1.0], [2.0]]))
    coarse, fine = (tables.bits(np.array([value]), np.array([row])) for row, value in ((0, 3), (1, 6)))
    assert fine - coarse == pytest.approx(1, abs=0.05)  # half the width, half the probability


def test_training_pays_what_the_coder_will_by_a_learned_density() -> None:
    torch.manual_seed(0)
    density, gain = FactorizedDensity(4, spread=20.0), torch.tensor([[0.5] * 4, [2.0] * 4])
    latent = torch.randn(2, 4, 60, 60) * 25 + 7
    symbols = (latent * gain[:, :, None, None]).round().long().numpy()
    coded = density.tables(gain).bits(symbols, density.rows(np.arange(2), symbols.shape)).sum(axis=(1, 2, 3))
    paid = density.bits(latent, gain[:, :, None, None]).detach().numpy()
    assert paid == pytest.approx(coded, rel=0.01)


def test_training_pays_what_the_coder_will_by_gaussians() -> None:
    torch.manual_seed(0)
    scale = torch.rand(2, 4, 60, 60) * 30 + 1
    deviation = torch.randn_like(scale) * scale
    symbols = deviation.round().long().numpy()
    coded = gaussian_tables().bits(symbols, gaussian_rows(scale.double().numpy())).sum(axis=(1, 2, 3))
    assert gaussian_bits(deviation, scale).numpy() == pytest.approx(coded, rel=0.01)


def test_the_lower_bound_lets_a_value_rise() -> None:
    x = torch.tensor([0.5, 0.5, 2.0], requires_grad=True)
    (lower_bound(x, 1.0) * torch.tensor([-1.0, 1.0, 1.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [-1.0, 0.0, 1.0]


def test_gdn_is_its_formula() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 3, 5)
    layer, inverse = GDN(4), GDN(4, inverse=True)
    with torch.no_grad():
        layer.gamma += torch.rand(4, 4) * 0.3
    inverse.load_state_dict(layer.state_dict())
    gamma, beta = layer.gamma.square(), layer.beta.square()
    divisor = (torch.einsum("ij,bjhw->bihw", gamma, x.square()) + beta[:, None, None]).sqrt()
    torch.testing.assert_close(layer(x), x / divisor)
    torch.testing.assert_close(inverse(x), x * divisor)
