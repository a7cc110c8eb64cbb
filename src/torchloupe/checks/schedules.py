"""Schedules that were stepped once a batch where once an epoch was meant, or the reverse."""

import gc
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
)

from torchloupe.run.events import Verdict

LOW = 0.01  # of the highest rate, below which hardly anything is learned
FEWEST_STEPS = 10
_LENGTHS = ("T_max", "total_steps", "total_iters")


@dataclass(frozen=True)
class ScheduleFacts:
    """What a loop has done with its learning rate."""

    steps: int  # of the optimizer
    low_steps: int  # of those, with less than LOW of the highest rate before them
    scheduler_steps: int = 0
    name: str = ""  # of the scheduler; empty: there is none
    length: int | None = None  # the scheduler steps that it is made for; None: it has no end
    swings: bool = False  # its rate rises again after its length


def find_scheduler(optimizer: Optimizer) -> LRScheduler | None:
    """The torch scheduler that moves `optimizer`; None where there is none, or several.

    Asks the garbage collector who holds the optimizer, which takes some 50 ms.
    """
    holders = gc.get_referrers(optimizer)
    for each in list(holders):  # attributes may lie in a dict of their own
        if type(each) is dict and each.get("optimizer") is optimizer:
            holders += gc.get_referrers(each)
    found = [
        each
        for each in {id(each): each for each in holders}.values()
        if isinstance(each, LRScheduler)
        and not isinstance(each, ReduceLROnPlateau)
        and vars(each).get("optimizer") is optimizer
    ]
    parts = {id(part) for each in found for part in vars(each).get("_schedulers", ())}
    whole = [each for each in found if id(each) not in parts]
    return whole[0] if len(whole) == 1 else None


def length_of(scheduler: Any) -> int | None:
    """The steps a scheduler is made for."""
    return next((vars(scheduler)[n] for n in _LENGTHS if n in vars(scheduler)), None)


def swings(scheduler: Any) -> bool:
    """Whether the rate rises again after the scheduler's length."""
    return type(scheduler) is CosineAnnealingLR


def judge_schedule(facts: ScheduleFacts) -> list[Verdict]:
    """A warning where a schedule ended long before the training, or hardly began."""
    steps, length = facts.steps, facts.length
    if steps < FEWEST_STEPS:
        return []
    is_each_step = facts.scheduler_steps >= 0.9 * steps
    what = f"{facts.name} was stepped {facts.scheduler_steps} times in {steps} steps"
    if is_each_step and facts.swings and length and facts.scheduler_steps >= 2 * length:
        seen = f"{what}, and is made for {length}: the learning rate falls and rises again"
        return [_ended_early(seen, facts)]
    share = 0.25 if is_each_step else 0.4
    if facts.low_steps > share * steps:
        seen = f"{facts.low_steps} of {steps} steps had less than {LOW:.0%} of the highest rate"
        return [_ended_early(f"{seen}; {what}" if facts.name else seen, facts)]
    if length and length == steps and 3 * facts.scheduler_steps <= steps:
        return [barely_begun(facts.name, facts.scheduler_steps, length)]
    return []


def judge_length(scheduler: Any, steps_between: int, total_steps: int) -> list[Verdict]:
    """A warning where a scheduler made for all steps of a run is stepped once an epoch."""
    length = length_of(scheduler)
    if steps_between < 3 or length != total_steps or isinstance(scheduler, OneCycleLR):
        return []
    return [barely_begun(type(scheduler).__name__, total_steps // steps_between, total_steps)]


def _ended_early(seen: str, facts: ScheduleFacts) -> Verdict:
    return Verdict(
        "schedule-ended-early",
        "warning",
        seen=seen,
        remedy="step it once an epoch, after the loop over the batches; or give its lengths in "
        "steps: epochs * len(loader)",
        where="scheduler",
        why="nothing is learned any more with a rate near 0",
        numbers={"low_steps": facts.low_steps, "steps": facts.steps},
    )


def barely_begun(name: str, done: int, length: int) -> Verdict:
    """A schedule made for `length` steps that takes `done`."""
    return Verdict(
        "schedule-barely-begun",
        "warning",
        seen=f"{name} is made for {length} steps, and does {done} of them in {length} steps of "
        "the optimizer",
        remedy="step it after each optimizer.step(), or give its lengths in epochs "
        "(--set schedule.every=step in a run)",
        where="scheduler",
        why="the learning rate stays near its first value, a warm-up never ends",
        numbers={"scheduler_steps": done, "length": length},
    )
