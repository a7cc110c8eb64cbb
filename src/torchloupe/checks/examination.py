"""All checks of a model with its loss and its optimizer, on a few images."""

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchloupe.checks.batches import generators_kept, judge_images, judge_labels, read_batches
from torchloupe.checks.behaviour import judge_behaviour, judge_blindness
from torchloupe.checks.coverage import judge_coverage
from torchloupe.checks.decay import judge_decay
from torchloupe.checks.flow import WARM_STEPS, Flow, judge_flow, judge_linearity, trace_flow
from torchloupe.checks.functions import recording_functions
from torchloupe.checks.images import judge_scale
from torchloupe.checks.learning import Clock, judge_learning
from torchloupe.checks.modes import find_odd_norms, find_repeated_blocks, find_stuck_modes, norms_of
from torchloupe.checks.outputs import (
    find_other_output,
    judge_count,
    judge_dropout,
    judge_first_loss,
    judge_outputs,
)
from torchloupe.checks.parameters import find_frozen_random, find_unoptimized
from torchloupe.checks.probing import judge_loss, judge_squashing, what_it_takes
from torchloupe.checks.registration import find_hidden_layers, find_hidden_tensors
from torchloupe.checks.subject import Subject, as_tensor, isolated, make_callable, unwrapped
from torchloupe.checks.targets import judge_finite, judge_targets, maximizes
from torchloupe.checks.verdicts import sift
from torchloupe.config.schema import CheckConfig
from torchloupe.errors import LoupeError, printable
from torchloupe.hardware.memory import is_out_of_memory
from torchloupe.model.losses import make_loss
from torchloupe.model.optimizers import make_optimizer
from torchloupe.model.outputs import hook_of
from torchloupe.model.shares import counts_none
from torchloupe.run.events import Verdict

FEWEST = 2  # images that the checks of steps need
SLOW = 2.0  # seconds of a forward that is not timed again
SCALE = "images-badly-scaled"
UNUSABLE = ("images-not-finite", "blank-images", "one-image-for-all")  # for any step


def check(
    model: nn.Module,
    batches: Any,
    *,
    loss: Any = "auto",
    optimizer: Any = None,
    ignore: Sequence[str] = (),
    seconds: float = 10.0,
) -> list[Verdict]:
    """Verdicts on a model, its loss and its optimizer, before a loop of one's own trains it.

    `batches` gives (images, labels) as the model and the loss take them: a DataLoader, any
    iterable, or one such pair. `loss` is a name, class, module or function of (outputs, labels);
    "auto" is cross entropy, or binary cross entropy for rows of 0 and 1. `optimizer` is an
    Optimizer over this model, or a name, class or function of the parameters; None leaves its
    checks out. Model, optimizer and random generators are as before; trials take up to `seconds`.
    """
    model = unwrapped(model)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    with isolated(device), generators_kept(batches):
        read = read_batches(batches)
        images, labels = read.images.to(device), read.labels.to(device)
        if optimizer is not None and not isinstance(optimizer, Optimizer):
            optimizer = make_optimizer(optimizer, model)
        subject = Subject(model, _make_loss(loss, labels, images), images, labels, optimizer)
        if loss == "auto":
            name = "binary" if labels.ndim == 2 else "cross_entropy"
            subject = Subject(model, subject.loss, images, labels, optimizer, loss_name=name)
        found = [*judge_images(read.images), *judge_labels(read.all_labels)]
        if any(verdict.verdict in UNUSABLE for verdict in found):
            return sift(found, CheckConfig(ignore=tuple(ignore)))
        if any(v.verdict == SCALE for v in found) and _is_scaled_inside(subject):
            found = [v for v in found if v.verdict != SCALE]
        found += examine(subject, torch.cat(read.all_labels), Clock.of(seconds))
    return sift(found, CheckConfig(ignore=tuple(ignore)))


def _is_scaled_inside(subject: Subject) -> bool:
    """Whether forward brings the images to a usual scale before its first layer with weights."""
    try:
        trial = subject.copied()
        with torch.no_grad(), recording_functions(trial.model) as functions:
            trial.model(trial.images.clone())
    except Exception:  # told by the checks of steps
        return False
    entry = functions.entry
    return entry is not None and entry.ndim == 4 and not judge_scale(entry.float().cpu().numpy())


def _make_loss(loss: Any, labels: Tensor, images: Tensor) -> Any:
    del images
    if loss == "auto":
        return make_callable(nn.BCEWithLogitsLoss if labels.ndim == 2 else nn.CrossEntropyLoss)
    if isinstance(loss, str):
        classes = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
        return make_loss(loss, classes=classes, multi_label=labels.ndim == 2)
    return make_callable(loss)


def examine(subject: Subject, seen: Tensor, clock: Clock) -> list[Verdict]:
    """Every verdict on `subject`; call it in `isolated`. `seen` are all labels that are known."""
    model = subject.model
    found = [*find_repeated_blocks(model), *find_odd_norms(model), *find_frozen_random(model)]
    if subject.optimizer is not None:
        found += find_unoptimized(model, subject.optimizer)
    try:
        trial = subject.copied()
    except Exception as error:
        return [*found, _not_copied(error)]
    if len(subject.images) < 2:
        return found
    try:
        seconds, hidden = _time_forward(trial)
        found += [*hidden, *find_stuck_modes(trial.model)]
        count = clock.afford(seconds / FEWEST, len(subject.images))
        if count < FEWEST:
            return [*found, _left_out(seconds)]
        subject, trial = subject.of_first(count), trial.of_first(count)
        found += _examine_steps(subject, trial, seen, clock, hidden=bool(hidden))
    except LoupeError as error:
        found.append(_raises(error, error.message))
    except Exception as error:
        if not is_out_of_memory(error):
            found.append(_raises(error, f"{type(error).__name__}: {error}"))
    return found


def _time_forward(trial: Subject) -> tuple[float, list[Verdict]]:
    """The seconds of a forward of FEWEST images, and the verdicts on layers that it hides."""
    took: list[float] = []
    hidden: list[Verdict] = []
    while len(took) < 2 and sum(took) < SLOW:  # the first one makes the kernels
        began = time.perf_counter()
        hidden = find_hidden_layers(trial.model, trial.images[:FEWEST].clone())
        took.append(time.perf_counter() - began)
    return min(took), hidden


def _left_out(seconds: float) -> Verdict:
    return Verdict(
        "checks-left-out",
        "note",
        seen=f"a forward of {FEWEST} images takes {seconds:.2g} s, so that checks of steps would "
        "take longer than they may",
        remedy="run loupe check with this model, or loupe.check(..., seconds=60)",
        why="mistakes that only a step shows are not looked for",
        numbers={"seconds": seconds},
    )


def _examine_steps(
    subject: Subject, trial: Subject, seen: Tensor, clock: Clock, *, hidden: bool
) -> list[Verdict]:
    """Verdicts on real steps; `hidden`: forward uses layers that the model doesn't have."""
    if counts_none(trial.loss, trial.labels):
        return []
    if other := find_other_output(subject.copied()):
        return other
    statistics = {name: norm.running_var.clone() for name, norm in norms_of(trial.model)}  # type: ignore[union-attr]
    started = time.perf_counter()
    flow = trace_flow(trial)
    clock.know((time.perf_counter() - started) / (WARM_STEPS + 2))
    found = judge_finite(flow.outputs, flow.loss)
    if found:
        return found
    found = _judge_end(subject, flow, seen)
    if not hidden:
        found += find_hidden_tensors(trial.model, flow.strangers)
    if not hidden and all(v.verdict != "loss-without-gradient" for v in found):
        found += judge_flow(trial.model, flow)
    if trial.optimizer is not None:
        found += judge_decay(trial.optimizer, trial.model, flow.gradients)
    found += [*judge_linearity(flow), *flow.scaled]
    found += _judge_statistics(trial.model, statistics, flow)
    if not flow.has_gradient:
        return found
    trial.model.register_forward_hook(lambda _module, _inputs, output: as_tensor(output))
    found += judge_behaviour(trial.model, trial.images)
    if all(v.verdict != "output-differs-between-evaluations" for v in found):
        found += judge_blindness(trial.model, trial.images)
    if any(v.level == "error" for v in found) or maximizes(subject.optimizer):
        return found  # what climbs is not judged by a loss that falls
    return found + judge_learning(subject, clock)


def _judge_end(subject: Subject, flow: Flow, seen: Tensor) -> list[Verdict]:
    """Verdicts on outputs and loss, on a copy of the loss."""
    asked = subject.copied().of_tensors()
    outputs = flow.outputs
    takes = what_it_takes(asked, outputs)
    hook = hook_of(subject.model)
    is_settled = hook is not None and hook.outputs in ("softmax", "sigmoid")
    last_layer = flow.functions.last_layer
    found = [] if is_settled else judge_outputs(takes, outputs, flow.function, last_layer)
    found = found or judge_squashing(asked, takes, outputs)
    found += judge_dropout(subject.model, last_layer)
    found += judge_loss(asked, outputs) or judge_targets(asked, takes, outputs)
    found += judge_count(outputs, seen, subject.classes)
    found += judge_coverage(asked, outputs)
    if not found:
        found += judge_first_loss(subject, takes, outputs, flow.loss)
    return found


def _judge_statistics(model: nn.Module, before: dict[str, Tensor], flow: Flow) -> list[Verdict]:
    """BatchNorm that was called in training mode and whose statistics are as before."""
    still = [
        name
        for name, norm in norms_of(model)
        if name in flow.functions.called
        and norm.training
        and norm.momentum != 0
        and torch.equal(norm.running_var, before[name])  # type: ignore[arg-type]
    ]
    if not still:
        return []
    return [
        Verdict(
            "batchnorm-never-moves",
            "error",
            seen=f"the running statistics of {printable(still[0], 80)} are the same after "
            "several steps in training mode",
            remedy="let forward call the BatchNorm module itself, with images that vary",
            where=printable(still[0], 80),
            why="evaluation computes something else than training",
            numbers={"layers": len(still)},
        )
    ]


def _raises(error: Exception, text: str) -> Verdict:
    hint = error.hint if isinstance(error, LoupeError) else ""
    return Verdict(
        "step-raises",
        "error",
        seen=f"a forward and backward of a few images fails: {printable(text, 500)}",
        remedy=printable(hint, 500) or "mend it first: the other checks need a step",
        why="nothing can be trained",
    )


def _not_copied(error: Exception) -> Verdict:
    seen = f"model, loss or optimizer can't be copied, and trials need a copy: {error}"
    remedy = "keep generators and connections out of their attributes"
    if isinstance(error, LoupeError):  # of torch.jit modules
        seen, remedy = error.message, error.hint
    return Verdict(
        "model-not-copied",
        "note",
        seen=printable(seen, 400),
        remedy=printable(remedy, 300),
        why="most checks were left out",
    )
