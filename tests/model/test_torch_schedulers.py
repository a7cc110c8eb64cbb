"""Schedulers of torch and timm: the same rates and momenta as in a plain loop, at any step."""

import functools
import math

import pytest
import torch
from timm.scheduler import CosineLRScheduler
from torch import nn
from torch.optim import SGD, Adam
from torch.optim import lr_scheduler as theirs

from torchloupe.errors import UsageError
from torchloupe.model.schedules import Plateau
from torchloupe.model.torch_schedulers import TorchSchedule, make_torch_schedule

EPOCH = 5
TOTAL = 30


def bare_optimizer(kind=SGD, **options):
    first, second = (nn.Parameter(torch.zeros(1)) for _ in range(2))
    return kind([{"params": [first]}, {"params": [second], "lr": 0.02}], lr=0.1, **options)


def optimizer_of(kind=SGD, **options):
    """As make_optimizer leaves it."""
    made = bare_optimizer(kind, **options)
    for group in made.param_groups:
        group["initial_lr"] = group["lr"]
    return made


def values_of(optimizer):
    keys = ("lr", "momentum", "betas", "weight_decay")
    return [{key: group[key] for key in keys if key in group} for group in optimizer.param_groups]


def plain_loop(make, every, *, kind=SGD, steps=TOTAL, **options):
    """The groups before each step of a loop as torch's documentation has it."""
    optimizer = bare_optimizer(kind, **options)
    scheduler = make(optimizer)
    found = []
    for step in range(steps):
        found.append(values_of(optimizer))
        optimizer.step()
        if every == "step" or (step + 1) % EPOCH == 0:
            scheduler.step()
    return found


def followed(schedule, optimizer, steps=range(TOTAL)):
    found = []
    for step in steps:
        assert schedule.set_groups(optimizer, step) == optimizer.param_groups[0]["lr"]
        found.append(values_of(optimizer))
    return found


def make(scheduler, optimizer, every="auto", total=TOTAL, **keywords):
    return make_torch_schedule(
        scheduler, optimizer, total_steps=total, steps_per_epoch=EPOCH, every=every, **keywords
    )


def low(optimizer):
    for group in optimizer.param_groups:
        group["lr"] = 0.003
    return theirs.LambdaLR(optimizer, lambda n: 1 / (n + 1))


CASES = {
    "set first": low,
    "lambda": lambda o: theirs.LambdaLR(o, [lambda n: 0.9**n, lambda n: 1 / (n + 1)]),
    "step": lambda o: theirs.StepLR(o, 2, 0.3),
    "cosine": lambda o: theirs.CosineAnnealingLR(o, 4, 1e-3),
    "restarts": lambda o: theirs.CosineAnnealingWarmRestarts(o, 3),
    "sequence": lambda o: theirs.SequentialLR(
        o, [theirs.LinearLR(o, 0.1, total_iters=2), theirs.ExponentialLR(o, 0.8)], milestones=[2]
    ),
    "chain": lambda o: theirs.ChainedScheduler(
        [theirs.ConstantLR(o, 0.5, total_iters=3), theirs.MultiStepLR(o, [2, 4])]
    ),
    "cyclic": lambda o: theirs.CyclicLR(o, 0.01, 0.1, step_size_up=4),
    "one cycle": lambda o: theirs.OneCycleLR(o, [0.3, 0.1], total_steps=TOTAL),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("every", ["step", "epoch"])
def test_scheduler_function_gives_the_values_of_a_plain_loop_bit_for_bit(name, every):
    optimizer = optimizer_of(momentum=0.9)
    before = values_of(optimizer)
    expected = plain_loop(CASES[name], every, momentum=0.9)
    schedule = make(CASES[name], optimizer, every)
    assert values_of(optimizer) == before
    if name in ("cyclic", "one cycle"):  # stepped by the batch, whatever the default
        assert followed(make(CASES[name], optimizer_of(momentum=0.9)), optimizer) == plain_loop(
            CASES[name], "step", momentum=0.9
        )
    assert followed(schedule, optimizer) == expected


@pytest.mark.parametrize("name", CASES)
def test_schedule_is_the_same_after_a_resume_at_any_step(name):
    whole = followed(
        make(CASES[name], optimizer_of(momentum=0.9), "step"), optimizer_of(momentum=0.9)
    )
    for start in (0, 1, 7, TOTAL - 1):
        optimizer = optimizer_of(momentum=0.9)
        resumed = make(CASES[name], optimizer, "step")
        assert followed(resumed, optimizer, range(start, TOTAL)) == whole[start:]
        assert followed(resumed, optimizer, [3]) == [whole[3]]  # and backwards


@pytest.mark.parametrize("name", CASES)
def test_instance_made_on_the_optimizer_is_followed_and_left_alone(name):
    optimizer = bare_optimizer(momentum=0.9)
    instance = CASES[name](optimizer)
    counted = instance.last_epoch if hasattr(instance, "last_epoch") else None
    schedule = make(instance, optimizer, "step")
    assert followed(schedule, optimizer) == plain_loop(CASES[name], "step", momentum=0.9)
    assert getattr(instance, "last_epoch", None) == counted


def test_momentum_and_betas_move_as_the_scheduler_says():
    def one_cycle(optimizer):
        return theirs.OneCycleLR(optimizer, 0.3, total_steps=TOTAL)

    optimizer = optimizer_of(Adam)
    found = followed(make(one_cycle, optimizer), optimizer)
    assert found == plain_loop(one_cycle, "step", kind=Adam)
    assert len({groups[0]["betas"] for groups in found}) > 10


def test_class_and_partial_get_the_length_of_the_run():
    def check(given, every, expected):
        optimizer = optimizer_of(momentum=0.9)
        wanted = plain_loop(expected, every, momentum=0.9)
        assert followed(make(given, optimizer, every), optimizer) == wanted

    check(theirs.CosineAnnealingLR, "step", lambda o: theirs.CosineAnnealingLR(o, TOTAL))
    check(theirs.CosineAnnealingLR, "epoch", lambda o: theirs.CosineAnnealingLR(o, TOTAL // EPOCH))
    check(
        functools.partial(theirs.CosineAnnealingLR, eta_min=1e-3),
        "step",
        lambda o: theirs.CosineAnnealingLR(o, TOTAL, 1e-3),
    )
    check(theirs.OneCycleLR, "step", lambda o: theirs.OneCycleLR(o, [0.1, 0.02], TOTAL))
    check(
        functools.partial(theirs.OneCycleLR, max_lr=0.5),
        "step",
        lambda o: theirs.OneCycleLR(o, 0.5, TOTAL),
    )
    check(functools.partial(theirs.StepLR, step_size=2), "epoch", lambda o: theirs.StepLR(o, 2))
    check("torch.optim.lr_scheduler:PolynomialLR", "epoch", theirs.PolynomialLR)


def test_timm_scheduler_counts_its_steps_and_epochs():
    def cosine(optimizer, in_epochs):
        length = TOTAL // EPOCH if in_epochs else TOTAL
        return CosineLRScheduler(
            optimizer, length, warmup_t=2, warmup_lr_init=1e-4, t_in_epochs=in_epochs
        )

    for in_epochs in (True, False):
        optimizer, plain = optimizer_of(), optimizer_of()
        scheduler = cosine(plain, in_epochs)
        expected = []
        for step in range(TOTAL):
            expected.append(values_of(plain))
            scheduler.step_update(step + 1)
            if (step + 1) % EPOCH == 0:
                scheduler.step((step + 1) // EPOCH)
        given = functools.partial(cosine, in_epochs=in_epochs)
        assert followed(make(given, optimizer), optimizer) == expected
        assert len({groups[0]["lr"] for groups in expected}) > 3


def test_plateau_becomes_the_schedule_that_is_saved():
    given = functools.partial(theirs.ReduceLROnPlateau, factor=0.5, patience=2, cooldown=1)
    assert make(given, optimizer_of()) == Plateau(
        mode="max", drop=0.5, patience=2, cooldown=1, floor=0.0
    )
    assert make(theirs.ReduceLROnPlateau, optimizer_of(), mode="min").mode == "min"
    optimizer = optimizer_of()
    instance = theirs.ReduceLROnPlateau(optimizer, "max", min_lr=[0.01, 0.002])
    assert make(instance, optimizer).floor == pytest.approx(0.1)


def test_factor_is_that_of_the_first_group():
    schedule = make(functools.partial(theirs.StepLR, step_size=1, gamma=0.5), optimizer_of())
    assert isinstance(schedule, TorchSchedule)
    assert [schedule.factor(step, TOTAL) for step in (0, EPOCH, 2 * EPOCH)] == [1, 0.5, 0.25]
    assert schedule.note == "learning rate: StepLR, stepped once an epoch (5 steps)"
    assert make(theirs.OneCycleLR, optimizer_of(momentum=0.5)).note == (
        "learning rate: OneCycleLR, stepped once a step"
    )


def test_learning_rate_in_a_tensor_is_written_in_place():
    optimizer = optimizer_of()
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(group["lr"], dtype=torch.float64)
    held = optimizer.param_groups[0]["lr"]
    schedule = make(functools.partial(theirs.ExponentialLR, gamma=0.5), optimizer, "step")
    assert schedule.set_groups(optimizer, 3) == 0.1 * 0.5**3
    assert optimizer.param_groups[0]["lr"] is held


def test_one_cycle_keeps_its_last_rate_where_a_budget_adds_steps():
    optimizer = optimizer_of(momentum=0.9)
    schedule = make(theirs.OneCycleLR, optimizer)
    last = schedule.set_groups(optimizer, TOTAL - 1)
    assert schedule.set_groups(optimizer, TOTAL + 7) == last
    assert math.isclose(last, 0.1 / 25 / 1e4)


def test_scheduler_error_texts():
    def error_of(given, optimizer=None, every="auto", **keywords):
        with pytest.raises(UsageError) as caught:
            make(given, optimizer or optimizer_of(), every, **keywords)
        return f"{caught.value.message} | {caught.value.hint}"

    assert error_of(theirs.StepLR) == (
        "the scheduler StepLR needs step_size, which the run doesn't know | give it with "
        "functools.partial(StepLR, step_size=...)"
    )
    assert error_of(theirs.StepLR(optimizer_of(), 3)) == (
        "the scheduler StepLR was made on another optimizer than that of the run | give that "
        "optimizer too, or a function: lambda optimizer: StepLR(optimizer, ...)"
    )
    assert error_of(lambda optimizer: 0.5) == (
        "the schedule gave a float, not a learning-rate scheduler | give a class of "
        "torch.optim.lr_scheduler, or a function of the optimizer that returns a scheduler; a "
        "formula of your own is LambdaLR(optimizer, lambda step: ...)"
    )
    assert error_of(lambda optimizer: 1 / 0).startswith(
        f"the scheduler <lambda> fails at {__file__}, line "
    )
    assert error_of(functools.partial(theirs.OneCycleLR, max_lr=1, total_steps=7)) == (
        "the learning-rate scheduler OneCycleLR ends before the run, which has 30 steps | leave "
        "its length out, and that of the run is filled in"
    )
    assert error_of(theirs.StepLR, every="week").startswith(
        "a scheduler is stepped every step or every epoch, got 'week'"
    )
    optimizer = optimizer_of()
    assert error_of(theirs.ReduceLROnPlateau(optimizer), optimizer) == (
        "ReduceLROnPlateau has mode='min', and the monitored metric counts upwards | give "
        "mode='max', or monitor the loss: --set train.monitor=val_loss"
    )
    assert error_of(functools.partial(theirs.ReduceLROnPlateau, threshold_mode="abs")) == (
        "ReduceLROnPlateau with threshold_mode='abs' is not supported | use threshold_mode='rel', "
        "and one min_lr in proportion to the learning rate"
    )
