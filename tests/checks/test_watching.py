"""Loops as people write them, with a mistake each, and sound ones."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import planted_models as planted
from torchloupe.checks.schedules import judge_length
from torchloupe.checks.watching import Watch, watching

Loop = Callable[[nn.Module, torch.optim.Optimizer, list[tuple[Tensor, Tensor]]], None]
LOOPS: dict[str, tuple[str, Loop]] = {}
SOUND: list[Loop] = []


class Net(planted.Net):
    """With dropout besides BatchNorm."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.dropout(self.features(x), 0.2, self.training))


def batches() -> list[tuple[Tensor, Tensor]]:
    images, labels = planted.data(48)
    return [(images[k : k + 8], labels[k : k + 8]) for k in range(0, 48, 8)]


def follow(loop: Loop, *, lr: float = 0.01) -> Watch:
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    with watching(model, optimizer) as watch:
        loop(model, optimizer, batches())
    return watch


def mistake(name: str) -> Callable[[Loop], Loop]:
    def keep(loop: Loop) -> Loop:
        LOOPS[f"{name}: {loop.__name__}"] = (name, loop)
        return loop

    return keep


@mistake("gradients-not-cleared")
def zero_grad_forgotten(model: Any, optimizer: Any, data: Any) -> None:
    for x, y in data:
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


@mistake("step-never-called")
def step_forgotten(model: Any, optimizer: Any, data: Any) -> None:
    for x, y in data:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()


@mistake("step-without-gradient")
def zero_grad_after_backward(model: Any, optimizer: Any, data: Any) -> None:
    for x, y in data:
        F.cross_entropy(model(x), y).backward()
        optimizer.zero_grad()
        optimizer.step()


@mistake("step-without-gradient")
def gradients_set_to_zero_after_backward(model: Any, optimizer: Any, data: Any) -> None:
    for x, y in data:
        F.cross_entropy(model(x), y).backward()
        optimizer.zero_grad(set_to_none=False)
        optimizer.step()


@mistake("step-without-gradient")
def a_loss_of_detached_outputs(model: Any, optimizer: Any, data: Any) -> None:
    for x, y in data:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x).detach().requires_grad_(), y)
        loss.backward()
        optimizer.step()


@mistake("step-without-gradient")
def backward_forgotten(model: Any, optimizer: Any, data: Any) -> None:
    for x, y in data:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y)
        optimizer.step()


@mistake("trained-in-eval-mode")
def train_forgotten_after_the_first_evaluation(model: Any, optimizer: Any, data: Any) -> None:
    for _ in range(3):
        for x, y in data:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            model(data[0][0])


@mistake("evaluated-in-train-mode")
def eval_forgotten(model: Any, optimizer: Any, data: Any) -> None:
    for x, y in data:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    with torch.no_grad():
        for x, _ in data:
            model(x)


@mistake("scheduler-before-optimizer")
@pytest.mark.filterwarnings("ignore")
def scheduler_first(model: Any, optimizer: Any, data: Any) -> None:
    import warnings

    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    for x, y in data:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scheduler.step()
        optimizer.step()


@mistake("same-batch-each-step")
def next_iter_each_time(model: Any, optimizer: Any, data: Any) -> None:
    for _ in range(10):
        x, y = next(iter(data))
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


@mistake("weights-unchanged")
def a_rate_of_zero(model: Any, optimizer: Any, data: Any) -> None:
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    for x, y in data:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


@mistake("weights-unchanged")
def a_rate_that_only_moves_what_begins_at_zero(model: Any, optimizer: Any, data: Any) -> None:
    for group in optimizer.param_groups:
        group["lr"] = 1e-13
    for x, y in data * 6:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


@mistake("non-finite-gradients")
def a_logarithm_of_zero(model: Any, optimizer: Any, data: Any) -> None:
    for x, y in data:
        optimizer.zero_grad()
        (F.cross_entropy(model(x), y) + (model(x) * 0).sqrt().sum()).backward()
        optimizer.step()


@mistake("optimizer-of-other-parameters")
def the_head_is_replaced_first(model: Any, optimizer: Any, data: Any) -> None:
    model.fc2 = nn.Linear(32, 5)
    for x, y in data:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


def step(model: Any, optimizer: Any, x: Tensor, y: Tensor) -> None:
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()


@mistake("backward-without-step")
def the_step_outside_the_loop_over_batches(model: Any, optimizer: Any, data: Any) -> None:
    for _ in range(3):
        for x, y in data:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
        optimizer.step()


@mistake("backward-twice")
def a_graph_that_is_kept_and_used_again(model: Any, optimizer: Any, data: Any) -> None:
    for x, y in data:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward(retain_graph=True)
        loss.backward()
        optimizer.step()


@mistake("batchnorm-of-few-images")
def two_images_at_a_time(model: Any, optimizer: Any, data: Any) -> None:
    for x, y in data:
        step(model, optimizer, x[:2], y[:2])


@mistake("weights-unchanged")
def gradients_clipped_to_nothing(model: Any, optimizer: Any, data: Any) -> None:
    for x, y in data * 4:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1e-9)
        optimizer.step()


def each_batch(make: Callable[[Any], Any], epochs: int) -> Loop:
    def loop(model: Any, optimizer: Any, data: Any) -> None:
        scheduler = make(optimizer)
        for x, y in data * epochs:
            step(model, optimizer, x, y)
            scheduler.step()

    return loop


def each_epoch(make: Callable[[Any], Any], epochs: int) -> Loop:
    def loop(model: Any, optimizer: Any, data: Any) -> None:
        scheduler = make(optimizer)
        for _ in range(epochs):
            for x, y in data:
                step(model, optimizer, x, y)
            scheduler.step()

    return loop


RATES = torch.optim.lr_scheduler
MADE: dict[str, Callable[[Any], Any]] = {
    "step": lambda rule: RATES.StepLR(rule, 7),
    "milestones": lambda rule: RATES.MultiStepLR(rule, [5, 8, 9]),
    "exponential": lambda rule: RATES.ExponentialLR(rule, 0.85),
    "lambda": lambda rule: RATES.LambdaLR(rule, lambda epoch: 0.85**epoch),
    "cosine of epochs": lambda rule: RATES.CosineAnnealingLR(rule, 10),
    "cosine of steps": lambda rule: RATES.CosineAnnealingLR(rule, 60),
    "one cycle": lambda rule: RATES.OneCycleLR(rule, 0.1, total_steps=60),
    "polynomial": lambda rule: RATES.PolynomialLR(rule, 60, 2.0),
    "restarts": lambda rule: RATES.CosineAnnealingWarmRestarts(rule, 6),
    "cycles": lambda rule: RATES.CyclicLR(rule, 1e-3, 1e-2, step_size_up=4),
    "warm-up, then cosine": lambda rule: RATES.SequentialLR(
        rule,
        [RATES.LinearLR(rule, 1e-3, total_iters=6), RATES.CosineAnnealingLR(rule, 54)],
        [6],
    ),
}


@pytest.mark.parametrize(
    "kind", ["step", "milestones", "exponential", "lambda", "cosine of epochs"]
)
def test_a_scheduler_of_epochs_that_is_stepped_each_batch_is_named(kind: str) -> None:
    names = [verdict.verdict for verdict in follow(each_batch(MADE[kind], 10)).verdicts]
    assert names == ["schedule-ended-early"]
    assert follow(each_epoch(MADE[kind], 10)).verdicts == []


@pytest.mark.parametrize("kind", ["cosine of steps", "one cycle", "polynomial"])
def test_a_scheduler_of_steps_that_is_stepped_each_epoch_is_named(kind: str) -> None:
    names = [verdict.verdict for verdict in follow(each_epoch(MADE[kind], 10)).verdicts]
    assert names == ["schedule-barely-begun"]
    assert follow(each_batch(MADE[kind], 10)).verdicts == []


@pytest.mark.parametrize("kind", ["restarts", "cycles", "warm-up, then cosine"])
def test_a_scheduler_made_for_batches_stays_quiet(kind: str) -> None:
    assert follow(each_batch(MADE[kind], 10)).verdicts == []


def test_a_scheduler_for_all_steps_of_a_run_is_named_where_it_is_stepped_each_epoch() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], 0.1)
    scheduler = RATES.CosineAnnealingLR(optimizer, 120)
    (found,) = judge_length(scheduler, 12, 120)
    assert (found.verdict, found.numbers) == (
        "schedule-barely-begun",
        {"scheduler_steps": 10, "length": 120},
    )
    assert judge_length(scheduler, 1, 120) == []
    assert judge_length(RATES.CosineAnnealingLR(optimizer, 10), 12, 120) == []
    assert judge_length(RATES.StepLR(optimizer, 120), 12, 120) == []


@pytest.mark.parametrize("title", LOOPS)
def test_a_mistake_in_a_loop_is_named(title: str) -> None:
    name, loop = LOOPS[title]
    names = [verdict.verdict for verdict in follow(loop).verdicts]
    assert name in names


def sound(loop: Loop) -> Loop:
    SOUND.append(loop)
    return loop


@sound
def as_in_a_tutorial(model: Any, optimizer: Any, data: Any) -> None:
    for _ in range(2):
        model.train()
        for x, y in data:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            for x, _ in data:
                model(x)


@sound
def cleared_after_the_step(model: Any, optimizer: Any, data: Any) -> None:
    for x, y in data:
        F.cross_entropy(model(x), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)


@sound
def gradients_accumulated(model: Any, optimizer: Any, data: Any) -> None:
    for number, (x, y) in enumerate(data):
        (F.cross_entropy(model(x), y) / 2).backward()
        if number % 2:
            optimizer.step()
            optimizer.zero_grad()


@sound
def with_a_warm_up_and_autocast(model: Any, optimizer: Any, data: Any) -> None:
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=4)
    for x, y in data:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        scheduler.step()


@sound
def statistics_estimated_anew(model: Any, optimizer: Any, data: Any) -> None:
    as_in_a_tutorial(model, optimizer, data)
    torch.optim.swa_utils.update_bn([x for x, _ in data], model)


@sound
def sharpness_aware(model: Any, optimizer: Any, data: Any) -> None:
    for x, y in data * 2:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        moves = [0.01 * p.grad / (p.grad.norm() + 1e-9) for p in model.parameters()]
        with torch.no_grad():
            torch._foreach_add_(list(model.parameters()), moves)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        with torch.no_grad():
            torch._foreach_sub_(list(model.parameters()), moves)
        optimizer.step()


@sound
def a_penalty_on_the_gradient_of_the_images(model: Any, optimizer: Any, data: Any) -> None:
    for x, y in data:
        optimizer.zero_grad()
        x = x.clone().requires_grad_()  # noqa: PLW2901
        loss = F.cross_entropy(model(x), y)
        (slope,) = torch.autograd.grad(loss, x, create_graph=True)
        (loss + slope.pow(2).sum()).backward()
        optimizer.step()


@sound
def some_steps_left_out(model: Any, optimizer: Any, data: Any) -> None:
    for number, (x, y) in enumerate(data * 3):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        if number % 5:
            optimizer.step()


@pytest.mark.parametrize("loop", SOUND, ids=lambda loop: loop.__name__)
def test_a_sound_loop_stays_quiet(loop: Loop) -> None:
    assert follow(loop).verdicts == []


def test_a_watched_loop_trains_the_same_bits_and_leaves_no_hook() -> None:
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    as_in_a_tutorial(model, optimizer, batches())
    watch = follow(as_in_a_tutorial)
    ours, theirs = model.state_dict(), watch.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not watch.model._forward_pre_hooks
    assert not watch.optimizer._optimizer_step_pre_hooks


def test_a_verdict_can_be_ignored() -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with watching(model, optimizer, ignore=["step-never-called"]) as watch:
        step_forgotten(model, optimizer, batches())
    assert watch.verdicts == []
