"""A training loop of one's own, followed by hooks: forwards, backwards and steps in their order.

Nothing is changed and no step is delayed: tensors are looked at in the first steps alone, since
on a GPU a look waits for the device.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.optim import Optimizer

from torchloupe.checks.parameters import find_unoptimized
from torchloupe.checks.schedules import (
    LOW,
    ScheduleFacts,
    find_scheduler,
    judge_schedule,
    length_of,
    swings,
)
from torchloupe.checks.verdicts import sift
from torchloupe.config.schema import CheckConfig
from torchloupe.run.events import Level, Verdict

LOOKS = 20  # steps in which tensors are looked at
PROBES = 6  # parameters that are looked at
FEWEST = 3  # backwards without a step, and steps without a change, from which something is said
TINY = 2  # images of a batch, whose mean and variance say little
SMALL = 1e-3  # a weight
UNMOVED = 1e-7  # of a weight, which is less than its rounding


@contextmanager
def watching(
    model: nn.Module, optimizer: Optimizer, *, ignore: Sequence[str] = ()
) -> Iterator["Watch"]:
    """Inside, follows a loop that trains `model` with `optimizer`; `.verdicts` is what was seen.

    Hooks are removed at the end. The loop runs as it would without.
    """
    watch = Watch(model, optimizer, tuple(ignore))
    handles = watch._hook()
    try:
        yield watch
    finally:
        for handle in handles:
            handle.remove()


class Watch:
    """What a loop has done so far."""

    def __init__(
        self, model: nn.Module, optimizer: Optimizer, ignore: tuple[str, ...] = ()
    ) -> None:
        self.model, self.optimizer, self.ignore = model, optimizer, ignore
        trainable = [p for p in model.parameters() if p.requires_grad]
        stride = max(1, len(trainable) // PROBES)
        self.probes = trainable[::-1][::stride][:PROBES]  # the last one first
        self.before = [p.detach().clone() for p in self.probes]
        self.minds_mode = any(
            isinstance(m, _BatchNorm) or (isinstance(m, _DropoutNd) and m.p > 0)
            for m in model.modules()
        )
        self.backwards = self.steps = 0
        self.uncleared = self.empty = self.zeroed = self.infinite = 0
        self.in_eval_mode = self.evaluated_training = self.early_schedule = 0
        self.same_batch, self.looked_batches, self.tiny_batches = 0, 0, 0
        self.wasted = 0  # backwards whose gradients were cleared before a step
        self.doubled = 0  # steps with more backwards than forwards
        self._step_forwards = self._step_backwards = 0
        self.low_steps, self.peak_rate = 0, 0.0
        self.scheduler: Any = None
        self._scheduler_began = self._searches = 0
        self._is_pending = self._is_new_forward = False
        self._first_image: Tensor | None = None
        self._rates: list[float] = []
        self._has_backward = self._has_stepped = False
        self._structure: list[Verdict] = []

    @property
    def verdicts(self) -> list[Verdict]:
        """The verdicts on what was seen so far, errors first."""
        found = [*self._structure, *_judge_steps(self), *_judge_modes(self)]
        found += judge_schedule(self._schedule())
        return sift(found, CheckConfig(ignore=self.ignore))

    def _schedule(self) -> ScheduleFacts:
        if self.scheduler is None:
            return ScheduleFacts(self.steps, self.low_steps)
        return ScheduleFacts(
            self.steps,
            self.low_steps,
            self.scheduler.last_epoch - self._scheduler_began,
            type(self.scheduler).__name__,
            length_of(self.scheduler),
            swings(self.scheduler),
        )

    def _hook(self) -> list[Any]:
        handles: list[Any] = [self.model.register_forward_pre_hook(self._on_forward)]
        handles += [p.register_hook(self._on_gradient(p)) for p in self.probes]  # type: ignore[no-untyped-call]
        handles.append(self.optimizer.register_step_pre_hook(self._on_step))
        handles.append(self.optimizer.register_step_post_hook(self._after_step))
        return handles

    def _on_forward(self, _module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not torch.is_grad_enabled():
            re_estimates = any(
                isinstance(m, _BatchNorm) and m.momentum is None for m in self.model.modules()
            )
            if self.model.training and self.minds_mode and self.steps and not re_estimates:
                self.evaluated_training += 1
            return
        if not self.steps and not self._rates:
            self._rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self._is_new_forward = True
        self._step_forwards += 1
        image = next((each for each in inputs if isinstance(each, Tensor) and each.ndim), None)
        if image is None or self.looked_batches >= LOOKS:
            return
        self.looked_batches += 1
        self.tiny_batches += len(image) <= TINY and any(
            isinstance(m, _BatchNorm) and m.training for m in self.model.modules()
        )
        if self._first_image is None:
            self._first_image = image[:1].detach().clone()
        elif self._first_image.shape == image[:1].shape:
            self.same_batch += bool(torch.equal(self._first_image, image[:1].detach()))

    def _on_gradient(self, parameter: Tensor) -> Any:
        def look(_gradient: Tensor) -> None:
            self._step_backwards += parameter is self.probes[0]
            if parameter is self.probes[0] or not self._has_backward:
                self.backwards += 1
                if self._has_stepped and self.steps <= LOOKS:
                    left = parameter.grad
                    self.uncleared += bool(left is not None and left.any())
                self._has_stepped = False
            if parameter is self.probes[0] and self._is_new_forward:
                if self._is_pending and self.backwards <= 3 * LOOKS:
                    left = parameter.grad
                    self.wasted += left is None or not bool(left.any())
                self._is_pending, self._is_new_forward = True, False
            self._has_backward = True

        return look

    def _on_step(self, *_: Any) -> None:
        self.steps += 1
        self._look_at_rate()
        if self.steps == 1:
            self._structure = find_unoptimized(self.model, self.optimizer)
            rates = [float(group["lr"]) for group in self.optimizer.param_groups]
            self.early_schedule += bool(self._rates) and rates != self._rates
        held = [p.grad for group in self.optimizer.param_groups for p in group["params"]]
        gradients = [gradient for gradient in held if gradient is not None]
        if not self._has_backward or not gradients:
            self.empty += 1
        elif self.steps <= LOOKS:
            self.zeroed += not any(bool(gradient.any()) for gradient in gradients[-PROBES:])
            finite = all(bool(torch.isfinite(gradient).all()) for gradient in gradients[-PROBES:])
            self.infinite += not finite
        self.doubled += 0 < self._step_forwards < self._step_backwards
        self._step_forwards = self._step_backwards = 0
        self.in_eval_mode += self.minds_mode and not self.model.training
        self._has_backward = self._is_pending = False

    def _look_at_rate(self) -> None:
        rates = [group["lr"] for group in self.optimizer.param_groups]
        if any(isinstance(rate, Tensor) for rate in rates):  # to read it would wait for the device
            return
        rate = max(map(float, rates))
        has_moved = bool(self.peak_rate) and rate != self.peak_rate
        self.peak_rate = max(self.peak_rate, rate)
        self.low_steps += rate < LOW * self.peak_rate
        is_due = (self.steps == 2 and not self._searches) or (has_moved and self._searches < 2)
        if self.scheduler is None and is_due:
            self._searches += 1
            self.scheduler = find_scheduler(self.optimizer)
            if self.scheduler is not None:
                self._scheduler_began = max(0, self.scheduler.last_epoch - self.steps)

    def _after_step(self, *_: Any) -> None:
        self._has_stepped = True


def _judge_steps(watch: Watch) -> list[Verdict]:
    steps, looked = watch.steps, min(watch.steps, LOOKS)
    found = []
    if watch.backwards >= FEWEST and not steps:
        found.append(
            _say(
                "step-never-called",
                f"{watch.backwards} backwards and no step of this optimizer",
                "call optimizer.step() after backward",
                "nothing is trained",
            )
        )
    if steps and 2 * (watch.empty + watch.zeroed) > looked:
        kind = "without a gradient from a backward" if watch.empty else "with gradients of 0"
        found.append(
            _say(
                "step-without-gradient",
                f"{watch.empty + watch.zeroed} of {steps} steps {kind}",
                "zero_grad, forward, loss, backward, step, in that order, with a loss that is "
                "computed from the model's own outputs",
                "the optimizer has nothing to follow",
            )
        )
    elif watch.uncleared and 2 * watch.uncleared >= max(1, looked - 1):
        found.append(
            _say(
                "gradients-not-cleared",
                f"after {watch.uncleared} of {looked} steps the gradients of the step before were "
                "still there",
                "call optimizer.zero_grad() once a step",
                "each step follows the sum of all gradients so far",
            )
        )
    if watch.infinite:
        found.append(
            _say(
                "non-finite-gradients",
                f"{watch.infinite} of the first {looked} steps had NaN or infinite gradients",
                "leave such steps out, and look for a log or a division by 0, or too high a rate",
                "one such step makes all weights NaN",
            )
        )
    return [*found, *_judge_backwards(watch), *_judge_weights(watch)]


def _judge_backwards(watch: Watch) -> list[Verdict]:
    wasted, backwards = watch.wasted, min(watch.backwards, 3 * LOOKS)
    found = []
    if watch.steps and wasted >= FEWEST and wasted > 0.6 * backwards:
        found.append(
            _say(
                "backward-without-step",
                f"the gradients of {wasted} of {backwards} backwards were cleared before a step",
                "call optimizer.step() after each backward, inside the loop over the batches",
                "all other batches are read and never learned from",
            )
        )
    if watch.doubled >= FEWEST and watch.doubled > 0.6 * watch.steps:
        found.append(
            _say(
                "backward-twice",
                f"{watch.doubled} of {watch.steps} steps had more backwards than forwards",
                "call backward() once, on the sum of all losses, without retain_graph",
                "the gradients of the backwards add up",
                "note",
            )
        )
    return found


def _judge_weights(watch: Watch) -> list[Verdict]:
    """An error where the weights are as before, or have moved less than they are rounded."""
    moved = _largest_change(watch) if watch.steps >= FEWEST else 1.0
    is_still = moved == 0 or (watch.steps >= LOOKS and moved < UNMOVED)
    if not is_still or watch.empty or watch._structure:
        return []
    return [
        _say(
            "weights-unchanged",
            f"{watch.steps} steps, and the weights are bit for bit as before"
            if not moved
            else f"{watch.steps} steps have changed the weights by {moved:.1g} of their size",
            "look at the learning rate, at clipping, and at which parameters the optimizer has",
            "nothing is trained",
        )
    ]


def _size_of(weights: Tensor) -> float:
    """The norm of a parameter; of one that begins at 0 that of small weights."""
    least: float = SMALL * weights.numel() ** 0.5
    return max(float(weights.norm()), least)


def _largest_change(watch: Watch) -> float:
    """The largest change of a parameter that is looked at, as a share of its size."""
    pairs = zip(watch.probes, watch.before, strict=True)
    changes = [float((now.detach() - old).norm()) / _size_of(old) for now, old in pairs]
    return max(changes, default=1.0)


def _judge_modes(watch: Watch) -> list[Verdict]:
    found = []
    if 2 * watch.in_eval_mode > watch.steps > 0:
        found.append(
            _say(
                "trained-in-eval-mode",
                f"{watch.in_eval_mode} of {watch.steps} steps with the model in eval mode",
                "call model.train() at the beginning of each epoch, after the evaluation",
                "dropout is off, and BatchNorm's statistics stand still",
            )
        )
    if watch.evaluated_training:
        found.append(
            _say(
                "evaluated-in-train-mode",
                f"{watch.evaluated_training} forwards without gradients in training mode",
                "call model.eval() before the evaluation, and model.train() after it",
                "dropout is on, and BatchNorm learns from the evaluated images",
                "warning",
            )
        )
    if watch.early_schedule:
        found.append(
            _say(
                "scheduler-before-optimizer",
                "the learning rate changed between the first forward and the first step",
                "call scheduler.step() after optimizer.step()",
                "the first rate of the schedule is never used",
                "warning",
            )
        )
    if watch.looked_batches >= FEWEST and 2 * watch.tiny_batches > watch.looked_batches:
        found.append(
            _say(
                "batchnorm-of-few-images",
                f"{watch.tiny_batches} of {watch.looked_batches} batches hold at most {TINY} "
                "images, and the model has BatchNorm",
                "use larger batches, or GroupNorm",
                "the mean and variance of one or two images are noise, and evaluation uses others",
                "warning",
            )
        )
    if watch.looked_batches > FEWEST + 2 and watch.same_batch == watch.looked_batches - 1:
        found.append(
            _say(
                "same-batch-each-step",
                f"{watch.looked_batches} forwards in a row began with the same image",
                "iterate over the loader: next(iter(loader)) begins anew each time",
                "all other images are never trained on, unless the batch has all of them",
                "note",
            )
        )
    return found


def _say(name: str, seen: str, remedy: str, why: str, level: Level = "error") -> Verdict:
    return Verdict(name, level, seen=seen, remedy=remedy, where="loop", why=why)
