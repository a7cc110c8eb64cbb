"""Schedules against torch's own schedulers."""

import json

import pytest
import torch
from torch.optim import lr_scheduler as theirs

from torchloupe.errors import UsageError
from torchloupe.model.schedules import Plateau, make_schedule

TOTAL = 60


def rates_of(make, steps=TOTAL, lr=0.5):
    """The rates that a torch scheduler sets, one a step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def ours(name, lr=0.5, steps=TOTAL, **keywords):
    schedule = make_schedule(name, total_steps=steps, **keywords)
    return [lr * schedule.factor(step, steps) for step in range(steps)]


def test_constant_equals_torch():
    assert ours("constant") == rates_of(lambda o: theirs.ConstantLR(o, factor=1.0))


def test_warmup_equals_torch():
    expected = rates_of(lambda o: theirs.LambdaLR(o, lambda step: min(1, (step + 1) / 15)))
    assert ours("constant", warmup_fraction=0.25) == pytest.approx(expected)


@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_cosine_equals_torch(floor):
    expected = rates_of(lambda o: theirs.CosineAnnealingLR(o, TOTAL, eta_min=0.5 * floor))
    assert ours("cosine", options={"floor": floor}) == pytest.approx(expected)


def test_cosine_after_warmup_equals_torch():
    expected = rates_of(lambda o: theirs.CosineAnnealingLR(o, TOTAL - 15), TOTAL - 15)
    assert ours("cosine", warmup_fraction=0.25)[15:] == pytest.approx(expected)


@pytest.mark.parametrize("steps", [60, 7, 400])
@pytest.mark.parametrize("anneal", ["cos", "linear"])
@pytest.mark.parametrize("rise", [0.0, 0.2, 0.5])
def test_onecycle_equals_torch(rise, anneal, steps):
    def make(optimizer):
        return theirs.OneCycleLR(
            optimizer, 0.5, steps, pct_start=rise or 0.3, anneal_strategy=anneal, div_factor=10
        )

    options = {"anneal": anneal, "div_factor": 10}
    given = ours("onecycle", steps=steps, warmup_fraction=rise, options=options)
    assert given == pytest.approx([*rates_of(make, steps - 1), 0.5 / 10 / 1e4])


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["constant", "cosine", "onecycle", "step", "plateau"])
def test_schedule_survives_a_run_of_a_few_steps(name, steps):
    rates = ours(name, steps=steps, warmup_fraction=0.3)
    assert all(0 < rate <= 0.5 for rate in rates)


def test_step_equals_torch():
    expected = rates_of(lambda o: theirs.StepLR(o, step_size=13, gamma=0.3))
    assert ours("step", options={"step_size": 13, "gamma": 0.3}) == pytest.approx(expected)


def test_step_falls_at_each_third_when_no_size_is_given():
    rates = ours("step", lr=1.0)
    assert [round(rates[i], 6) for i in (0, 19, 20, 39, 40, 59)] == [1, 1, 0.1, 0.1, 0.01, 0.01]


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("cooldown", [0, 2])
def test_plateau_equals_torch(mode, cooldown):
    sign = 1 if mode == "max" else -1
    values = [sign * v for v in (1, 2, 2, 2.0001, 1, 1, 3, 3, 3, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 9)]
    if mode == "min":
        values = [value + 20 for value in values]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = theirs.ReduceLROnPlateau(
        optimizer, mode, factor=0.5, patience=2, cooldown=cooldown, min_lr=0.01, eps=0
    )
    options = {"mode": mode, "factor": 0.5, "patience": 2, "cooldown": cooldown, "floor": 0.01}
    plateau = make_schedule("plateau", total_steps=1, options=options)
    seen = set()
    for value in values:
        scheduler.step(value)
        plateau.update(value)
        assert plateau.factor(0, 1) == optimizer.param_groups[0]["lr"]
        seen.add(plateau.factor(0, 1))
    assert len(seen) > 2


def test_plateau_continues_from_its_state():
    first, second = Plateau(patience=1), Plateau(patience=1)
    for value in (0.5, 0.4, 0.4):
        first.update(value)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second == first
    assert first.scale == 0.1


def test_plateau_takes_no_gain_from_nan():
    plateau = Plateau(patience=1)
    for value in (0.5, float("nan"), float("nan")):
        plateau.update(value)
    assert plateau.best == 0.5
    assert plateau.scale == 0.1


def test_schedule_error_texts():
    def error_of(*arguments, **keywords):
        with pytest.raises(UsageError) as caught:
            make_schedule(*arguments, total_steps=10, **keywords)
        return f"{caught.value.message} | {caught.value.hint}"

    assert error_of("cosin") == "there is no schedule 'cosin' | did you mean 'cosine'?"
    assert error_of("cosine", options={"flor": 1, "floor": 2}) == (
        "the cosine schedule can't be made with flor (did you mean 'floor'?); floor=2 (a float "
        "from 0 to 1) | cosine takes floor"
    )
    assert error_of("constant", warmup_fraction=2, options={"x": 1}) == (
        "the constant schedule can't be made with x (constant has no options); "
        "warmup_fraction=2 (from 0 to 1) | constant takes warmup_fraction only"
    )
    assert error_of("plateau", options={"mode": "up"}).startswith(
        "the plateau schedule can't be made with mode=up (max or min)"
    )
