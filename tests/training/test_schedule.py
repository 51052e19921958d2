"""Learning-rate schedules as functions of a run's progress, and the budgets that end runs."""

from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from imagier.errors import ConfigError
from imagier.training.schedule import Constant, Cosine, OneCycle, Poly, Schedule, prolonged, seconds


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


def resumed(schedule: Schedule, epoch: int) -> Any:
    """Resume in the middle of an epoch, where Lightning does not call on_train_epoch_start."""
    trainer: Any = SimpleNamespace(
        current_epoch=epoch, max_epochs=7, check_val_every_n_epoch=5, global_step=40, should_stop=False
    )
    schedule.load_state_dict({"seconds": 60.0})
    schedule.on_train_start(trainer, None)  # type: ignore[arg-type]
    return trainer


@pytest.mark.parametrize(("epoch", "every"), [(5, 5), (6, 1)])
def test_a_run_resumed_within_its_last_epoch_validates_it(epoch: int, every: int) -> None:
    assert resumed(Schedule(Constant(), 1.0), epoch).check_val_every_n_epoch == every


@pytest.mark.parametrize(
    ("budget", "steps", "over"), [(60, -1, True), (90, -1, False), (None, 40, True), (90, 50, False)]
)
def test_a_run_that_has_had_its_time_or_its_steps_trains_no_more(
    budget: float, steps: int, over: bool, caplog: pytest.LogCaptureFixture
) -> None:
    assert resumed(Schedule(Constant(), 1.0, budget, steps), 0).should_stop == over
    assert ("set a larger one, such as trainer.budget=120s" in caplog.text) == (budget == 60)


@pytest.mark.parametrize(("length", "words"), [
    ({"budget": "1h", "max_steps": -1, "max_epochs": 20}, ["trainer.budget=7200s"]),
    ({"budget": None, "max_steps": -1, "max_epochs": 20}, ["trainer.max_epochs=40"]),
    ({"budget": None, "max_steps": 200, "max_epochs": 20}, ["trainer.max_steps=400", "trainer.max_epochs=40"]),
])  # fmt: skip
def test_longer_is_longer(length: dict[str, Any], words: list[str]) -> None:
    assert prolonged(OmegaConf.create(length), 2) == words


def test_a_budget_and_a_number_of_steps_end_at_the_first_of_them() -> None:
    schedule = Schedule(Cosine(), 1.0, budget=100.0, steps=10)
    trainer: Any = SimpleNamespace(global_step=4, max_epochs=-1)
    schedule.seconds = lambda: 20.0  # type: ignore[method-assign]
    assert schedule.done(trainer, 0) == pytest.approx(0.45)
    schedule.seconds = lambda: 80.0  # type: ignore[method-assign]
    assert schedule.done(trainer, 0) == pytest.approx(0.8)


@pytest.mark.parametrize(("every", "ends"), [(1, True), (2, True), (3, False)])
def test_a_budget_that_a_validation_has_spent_begins_no_other_epoch(every: int, ends: bool) -> None:
    schedule = Schedule(Cosine(), 1.0, budget=100.0)
    schedule.seconds = lambda: 101.0  # type: ignore[method-assign]
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.1}])
    trainer: Any = SimpleNamespace(
        current_epoch=3, check_val_every_n_epoch=every, should_stop=False, global_step=40, optimizers=[optimizer]
    )
    schedule.on_train_epoch_end(trainer, SimpleNamespace(log=lambda *given: None))  # type: ignore[arg-type]
    assert trainer.should_stop == ends  # without a validation in this epoch, the run continues to one
