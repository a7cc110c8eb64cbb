"""A few real steps on copies: does the learning rate suit, and can one batch be learned.

A verdict is given only where another rate does what this one doesn't, on the same images.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch.optim import Optimizer

from torchloupe.checks.subject import Subject
from torchloupe.model.closures import lacks_closure
from torchloupe.run.events import Verdict

SHARE = 0.005  # of the time of a run, for trial steps
CHECKED = 0.005  # of the time of a run, for the checks before these
FLOOR = 3.0  # seconds that these may always take
STEP_FORWARDS = 3  # what a step takes, in forwards of its images
EXAMINATION_FORWARDS = 24  # what the checks before the trial steps take
STEPS = 20
HEART_STEPS = 40
HEART_RATES = (1e-3, 1e-2, 1e-4)  # of Adam
LEARNED = 0.9  # share of the first loss below which something was learned
NOTHING_LEFT = 0.05  # a first loss of a model that knows these images already
STILL = 1e-3  # share of the first loss by which nothing has happened


@dataclass
class Clock:
    """How much time the trials may still take."""

    ends: float
    step_seconds: float = 0.0  # of a step of this subject
    run_steps: float = 0.0  # such steps that the run will take; 0: there is no run to spare

    def know(self, step_seconds: float) -> None:
        """How long a step takes; of a run, trials may take SHARE."""
        self.step_seconds = step_seconds
        if self.run_steps:
            now = time.perf_counter()
            self.ends = min(self.ends, now + SHARE * self.run_steps * step_seconds)

    def afford(self, image_seconds: float, most: int) -> int:
        """How many images the checks of steps may take, if a forward of one takes so long.

        They have what is left, of a run CHECKED of its time, and FLOOR seconds always.
        """
        left = self.ends - time.perf_counter()
        if self.run_steps:
            left = min(left, CHECKED * self.run_steps * most * STEP_FORWARDS * image_seconds)
        return min(most, int(max(left, FLOOR) / (EXAMINATION_FORWARDS * max(image_seconds, 1e-9))))

    @classmethod
    def of(cls, seconds: float) -> "Clock":
        """A clock that ends in `seconds`."""
        return cls(time.perf_counter() + seconds)

    def has_time(self, steps: int) -> bool:
        """Whether so many steps still fit."""
        return time.perf_counter() + steps * self.step_seconds < self.ends


@dataclass
class Course:
    """The losses of some steps on one batch."""

    losses: list[float] = field(default_factory=list)
    accuracy: float = 0.0  # on that batch, at the end; 0 where it has no classes
    is_cut: bool = False  # the clock ended it
    update: float = math.inf  # of a step, over the weights; the median over tensors

    @property
    def last(self) -> float:
        """The median of the last losses."""
        return sorted(self.losses[-5:])[len(self.losses[-5:]) // 2]

    @property
    def broke(self) -> bool:
        """Whether a loss was not finite."""
        return not all(math.isfinite(loss) for loss in self.losses)

    def learned(self, share: float = LEARNED) -> bool:
        """Whether the loss went below this share of what it was."""
        first = self.losses[0]
        return not self.broke and self.last < first - (1 - share) * max(abs(first), 0.05)


def take_steps(
    subject: Subject, make: Callable[[Subject], Optimizer], steps: int, clock: Clock
) -> Course:
    """Steps on a copy of `subject`, in training mode, with the optimizer that `make` gives."""
    trial = subject.copied()
    trial.model.train()
    optimizer = make(trial)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    course = Course()
    for step in range(steps + 1):
        outputs, value = trial.backward()
        course.losses.append(float(value))
        course.is_cut = not clock.has_time(0)
        if not math.isfinite(course.losses[-1]) or step == steps or course.is_cut:
            break
        before = [p.detach().clone() for p in parameters] if step == 1 else []
        _step(optimizer, trial)
        if before:
            course.update = _median_update(before, parameters)
    if outputs.ndim == 2 and trial.labels.ndim == 1 and outputs.shape[1] > 1:
        course.accuracy = float((outputs.argmax(dim=1) == trial.labels).float().mean())
    return course


def _step(optimizer: Optimizer, trial: Subject) -> None:
    """A step; with a closure for optimizers that need one, as the user's own loop gives it."""
    try:
        optimizer.step()
    except Exception as error:
        if not lacks_closure(error):
            raise
        optimizer.step(lambda: float(trial.backward()[1]))


def _median_update(before: list[torch.Tensor], parameters: list[torch.Tensor]) -> float:
    shares = [
        float((now.detach() - old).norm() / old.norm().clamp_min(1e-12))
        for old, now in zip(before, parameters, strict=True)
        if old.ndim > 1 and now.grad is not None
    ]
    return sorted(shares)[len(shares) // 2] if shares else math.inf


def with_rate(factor: float) -> Callable[[Subject], Optimizer]:
    """The subject's own optimizer, its base learning rate times `factor`."""

    def make(subject: Subject) -> Optimizer:
        assert subject.optimizer is not None
        for group in subject.optimizer.param_groups:
            group["lr"] = _base_rate(group) * factor
        return subject.optimizer

    return make


def _base_rate(group: dict[str, float]) -> float:
    return max(float(group["lr"]), float(group.get("initial_lr", 0.0)))


def with_adam(rate: float) -> Callable[[Subject], Optimizer]:
    """Adam over all that can be trained."""

    def make(subject: Subject) -> Optimizer:
        weights = [p for p in subject.model.parameters() if p.requires_grad]
        return torch.optim.Adam(weights, lr=rate)

    return make


def judge_learning(subject: Subject, clock: Clock) -> list[Verdict]:
    """Verdicts on learning rate and model, as far as the clock allows."""
    if subject.optimizer is not None and clock.has_time(STEPS):
        found = judge_rate(subject, clock)
        if found:
            return found
    return judge_by_heart(subject, clock)


def judge_rate(subject: Subject, clock: Clock) -> list[Verdict]:
    """An error where the optimizer's rate blows up or moves nothing, and another one learns."""
    assert subject.optimizer is not None
    rates = [_base_rate(group) for group in subject.optimizer.param_groups]
    rate = max(rates)
    if rate == 0:
        return [_too_low("the learning rate is 0", "set one: 1e-3 for Adam, 0.1 for SGD", rate)]
    course = take_steps(subject, with_rate(1.0), STEPS, clock)
    if course.is_cut:
        return []
    size = max(abs(course.losses[0]), 0.05)
    rises = course.broke or course.last > course.losses[0] + 0.5 * size
    jumps = not course.learned(0.98) and max(course.losses) > course.losses[0] + 2 * size
    if rises or jumps:
        return _judge_rise(subject, course, rate, clock)
    moved = abs(course.last - course.losses[0])
    if course.update < 1e-6 and moved < STILL * size and clock.has_time(STEPS):
        return _judge_standstill(subject, course, rate, clock)
    return []


def _judge_rise(subject: Subject, course: Course, rate: float, clock: Clock) -> list[Verdict]:
    for factor in (1 / 30, 1e-3):
        other = take_steps(subject, with_rate(factor), STEPS, clock)
        if other.is_cut:
            return []
        if other.learned(0.98):
            return [_too_high(course, rate, factor, f"it falls to {other.last:.4g}")]
    if course.broke or course.last > course.losses[0] + 10 * max(abs(course.losses[0]), 0.05):
        return [_too_high(course, rate, 1e-3, "it doesn't")]
    return []


def _judge_standstill(subject: Subject, course: Course, rate: float, clock: Clock) -> list[Verdict]:
    other = take_steps(subject, with_rate(1000.0), STEPS, clock)
    first = other.losses[0]
    is_still = abs(other.last - first) < STILL * max(abs(first), 0.05)
    if other.is_cut or not (is_still or other.learned(0.97)):
        return []
    seen = (
        f"{STEPS} steps with learning rate {rate:g} move the loss from {course.losses[0]:.4g} to "
        f"{course.last:.4g}; a step changes the weights by {course.update:.1g} of their size"
    )
    return [_too_low(seen, f"try {rate * 1000:.2g}", rate, course.update)]


def _too_high(course: Course, rate: float, factor: float, then: str) -> Verdict:
    reached = "NaN or infinity" if course.broke else f"{max(course.losses):.4g}"
    return Verdict(
        "learning-rate-too-high",
        "error",
        seen=f"with learning rate {rate:g} the loss of one batch goes from "
        f"{course.losses[0]:.4g} to {reached} within {len(course.losses) - 1} steps; with "
        f"{rate * factor:.2g} {then}",
        remedy=f"try {rate * factor:.2g}, or a warm-up (--set schedule.warmup_fraction=0.1)",
        where="optimizer",
        why="the first steps throw the weights where they don't come back from",
        numbers={"lr": rate, "first_loss": course.losses[0], "other_lr": rate * factor},
    )


def _too_low(seen: str, remedy: str, rate: float, update: float = 0.0) -> Verdict:
    return Verdict(
        "learning-rate-too-low",
        "warning" if rate else "error",
        seen=seen,
        remedy=remedy,
        where="optimizer",
        why="nothing is learned in a usual number of steps",
        numbers={"lr": rate, "update_over_weight": update},
    )


def judge_by_heart(subject: Subject, clock: Clock) -> list[Verdict]:
    """An error where no rate lets the model learn one batch by heart."""
    if bool((subject.images == subject.images[:1]).all()):
        return []
    best = math.inf
    for rate in HEART_RATES:
        if not clock.has_time(HEART_STEPS):
            return []
        course = take_steps(subject, with_adam(rate), HEART_STEPS, clock)
        if course.is_cut or math.isnan(course.losses[0]) or abs(course.losses[0]) < NOTHING_LEFT:
            return []
        if course.learned() or (course.accuracy > 0.8 and course.learned(0.99)):
            return []
        best = min(best, course.last)
    first = course.losses[0]
    return [
        Verdict(
            "batch-not-learned",
            "error",
            seen=f"{HEART_STEPS} steps of Adam on {len(subject.images)} images don't bring the "
            f"loss from {first:.4g} below {best:.4g}, at any of {len(HEART_RATES)} learning rates",
            remedy="look for layers that are frozen, dead or cut off, for labels in another order "
            "than the images, and for a loss that takes something else than the outputs",
            why="a model that can't learn a few images by heart won't learn many",
            numbers={"first_loss": first, "best_loss": best},
        )
    ]
