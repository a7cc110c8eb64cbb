"""All checks of a model with its loss and its optimizer, on a few images."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchloupe.checks.behaviour import judge_behaviour, judge_blindness
from torchloupe.checks.flow import WARM_STEPS, Flow, judge_flow, judge_linearity, trace_flow
from torchloupe.checks.learning import Clock, judge_learning
from torchloupe.checks.modes import find_odd_norms, find_repeated_blocks, find_stuck_modes, norms_of
from torchloupe.checks.outputs import judge_count, judge_dropout, judge_first_loss, judge_outputs
from torchloupe.checks.parameters import find_frozen_random, find_unoptimized
from torchloupe.checks.probing import judge_loss, what_it_takes
from torchloupe.checks.registration import find_hidden_layers, find_hidden_tensors
from torchloupe.checks.subject import Subject, as_tensor, isolated, make_callable, unwrapped
from torchloupe.checks.verdicts import sift
from torchloupe.config.schema import CheckConfig
from torchloupe.errors import LoupeError, UsageError, printable
from torchloupe.hardware.memory import is_out_of_memory
from torchloupe.model.losses import make_loss
from torchloupe.model.optimizers import make_optimizer
from torchloupe.run.events import Verdict

IMAGES = 16  # of a trial
FEW_IMAGES = 6  # where they are large
LARGE = 3 * 128**2  # numbers of an image
LABELS = 4096  # that are read to count classes
BATCHES = 32


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
        images, labels, seen = _collect(batches)
        images, labels = images.to(device), labels.to(device)
        if optimizer is not None and not isinstance(optimizer, Optimizer):
            optimizer = make_optimizer(optimizer, model)
        subject = Subject(model, _make_loss(loss, labels, images), images, labels, optimizer)
        if loss == "auto":
            name = "binary" if labels.ndim == 2 else "cross_entropy"
            subject = Subject(model, subject.loss, images, labels, optimizer, loss_name=name)
        found = examine(subject, seen, Clock.of(seconds))
    return sift(found, CheckConfig(ignore=tuple(ignore)))


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
        hidden = find_hidden_layers(trial.model, trial.images)
        found += [*hidden, *find_stuck_modes(trial.model)]
        found += _examine_steps(subject, trial, seen, clock, hidden=bool(hidden))
    except LoupeError as error:
        found.append(_raises(error, error.message))
    except Exception as error:
        if not is_out_of_memory(error):
            found.append(_raises(error, f"{type(error).__name__}: {error}"))
    return found


def _examine_steps(
    subject: Subject, trial: Subject, seen: Tensor, clock: Clock, *, hidden: bool
) -> list[Verdict]:
    """Verdicts on real steps; `hidden`: forward uses layers that the model doesn't have."""
    statistics = {name: norm.running_var.clone() for name, norm in norms_of(trial.model)}  # type: ignore[union-attr]
    started = time.perf_counter()
    flow = trace_flow(trial)
    clock.know((time.perf_counter() - started) / (WARM_STEPS + 2))
    found = _judge_end(subject, flow, seen)
    if not hidden:
        found += find_hidden_tensors(trial.model, flow.strangers)
    if not hidden and all(v.verdict != "loss-without-gradient" for v in found):
        found += judge_flow(trial.model, flow)
    found += judge_linearity(flow)
    found += _judge_statistics(trial.model, statistics, flow)
    if not flow.has_gradient:
        return found
    trial.model.register_forward_hook(lambda _module, _inputs, output: as_tensor(output))
    found += judge_behaviour(trial.model, trial.images)
    if all(v.verdict != "output-differs-between-evaluations" for v in found):
        found += judge_blindness(trial.model, trial.images)
    if any(v.level == "error" for v in found):
        return found
    return found + judge_learning(subject, clock)


def _judge_end(subject: Subject, flow: Flow, seen: Tensor) -> list[Verdict]:
    """Verdicts on outputs and loss, on a copy of the loss."""
    asked = subject.copied().of_tensors()
    outputs = flow.outputs
    takes = what_it_takes(asked, outputs)
    found = judge_outputs(takes, outputs, flow.function, flow.functions.last_layer)
    found += judge_dropout(subject.model, flow.functions.last_layer)
    found += judge_loss(asked, outputs)
    found += judge_count(outputs, seen, subject.classes)
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
    return Verdict(
        "model-not-copied",
        "note",
        seen=f"model, loss or optimizer can't be copied, and trials need a copy: "
        f"{printable(error, 300)}",
        remedy="keep locks, files and generators out of their attributes",
        why="most checks were left out",
    )


def _collect(batches: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Up to IMAGES images with their labels, and the labels of some more."""
    images: list[Tensor] = []
    labels: list[Tensor] = []
    for batch in _pairs(batches):
        if not isinstance(batch, (tuple, list)) or len(batch) < 2:
            raise UsageError(
                f"a batch is a {type(batch).__name__}, and checks take (images, labels)",
                "give a DataLoader or an iterable of such pairs",
            )
        if sum(map(len, images)) < IMAGES:
            images.append(torch.as_tensor(batch[0]))
        labels.append(torch.as_tensor(batch[1]))
        if len(labels) >= BATCHES or sum(map(len, labels)) >= LABELS:
            break
    if not images:
        raise UsageError("there is no batch to check with", "give (images, labels)")
    seen = torch.cat(labels)
    most = FEW_IMAGES if images[0][:1].numel() > LARGE else IMAGES
    rows = _various(seen[: sum(map(len, images))], most)
    return torch.cat(images)[rows], seen[rows], seen


def _pairs(batches: Any) -> Iterator[Any]:
    is_pair = isinstance(batches, (tuple, list)) and len(batches) == 2
    if is_pair and isinstance(batches[0], Tensor) and isinstance(batches[1], Tensor):
        return iter([batches])
    return iter(batches)


def _various(labels: Tensor, most: int) -> Tensor:
    """Rows of up to `most` labels, different ones first."""
    if labels.ndim > 1:
        return torch.arange(min(len(labels), most))
    order: list[int] = []
    turns: dict[int, int] = {}
    keyed = []
    for row, label in enumerate(labels.tolist()):
        turns[label] = turns.get(label, 0) + 1
        keyed.append((turns[label], row))
    order = [row for _, row in sorted(keyed)[:most]]
    return torch.tensor(order)


@contextmanager
def generators_kept(batches: Any) -> Iterator[None]:
    """Inside, generators that a DataLoader or its sampler hold may be drawn from."""
    holders = [batches, getattr(batches, "sampler", None), getattr(batches, "dataset", None)]
    found = {
        id(generator): (generator, generator.get_state())
        for holder in holders
        if isinstance(generator := getattr(holder, "generator", None), torch.Generator)
    }
    try:
        yield
    finally:
        for generator, state in found.values():
            generator.set_state(state)
