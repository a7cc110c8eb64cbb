"""Signals forward and gradients backward: where they end, die, saturate or vanish.

The evidence is a forward of fresh weights, and a backward after a few small steps of Adam, since
layers that begin at zero on purpose get their gradient only then.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from torchloupe.checks.functions import Activation, Functions, recording_functions
from torchloupe.checks.model import list_names
from torchloupe.checks.randomness import weighted_layers
from torchloupe.checks.scaling import judge_scaling
from torchloupe.checks.subject import Subject
from torchloupe.errors import printable
from torchloupe.lens.step import last_function, strangers_of
from torchloupe.run.events import Verdict
from torchloupe.units import plural

WARM_STEPS = 3
DRAWS = 12  # of a step, before a gradient of 0 is believed
WARM_RATE = 1e-3  # of Adam, which moves each weight by about this much
DEAD = 0.95  # share of dead units from which a layer is told
SATURATED = 0.9
FEWEST_UNITS = 8
VANISHED = 1e-7  # gradient of a layer over the largest of all layers, each its root mean square


@dataclass
class Flow:
    """What a few steps on a copy showed."""

    outputs: Tensor  # at the beginning, detached
    loss: float
    function: str  # the last operation, as autograd calls it
    functions: Functions
    has_gradient: bool
    strangers: list[Tensor] = field(default_factory=list)  # leaves that are no parameters
    idle: list[str] = field(default_factory=list)  # trainable, and never with a gradient
    gradients: Mapping[str, Tensor] = field(default_factory=dict)  # after the small steps
    activations: list[Activation] = field(default_factory=list)  # dead or saturated, and stay so
    scaled: list[Verdict] = field(default_factory=list)  # on images that forward scales again
    first_without: str = ""  # the first layer with weights whose output has no gradient


def trace_flow(subject: Subject) -> Flow:
    """Steps on the copy that `subject` is; its weights change."""
    model = subject.model
    model.train()
    model.zero_grad(set_to_none=True)
    cut: list[str] = []
    hooks = [
        module.register_forward_hook(_note_cut(name, cut)) for name, module in model.named_modules()
    ]
    images = subject.images.clone()  # forward may change them in place
    with recording_functions(model) as functions:
        outputs, value = subject.forward()
    for hook in hooks:
        hook.remove()
    flow = Flow(
        outputs.detach(),
        float(value.detach()),
        last_function(outputs),
        functions,
        has_gradient=outputs.requires_grad,
        scaled=judge_scaling(images, functions.entry),
        first_without=cut[0] if cut else "",
    )
    flow.strangers = strangers_of(model, outputs, images)
    named = {n: p for n, p in model.named_parameters() if p.requires_grad}
    idle = set(named)
    if not value.requires_grad or not math.isfinite(flow.loss) or not named:
        flow.idle = sorted(idle)
        return flow
    adam = torch.optim.Adam(named.values(), lr=WARM_RATE)
    value.backward()  # type: ignore[no-untyped-call]
    for _ in range(WARM_STEPS):
        idle -= {name for name, p in named.items() if p.grad is not None}
        adam.step()
        subject.backward()
    with recording_functions(model) as later:
        adam.step()
        subject.backward()
    flow.activations = [
        then
        for now, then in zip(functions.activations, later.activations, strict=False)
        if min(now.dead_fraction, then.dead_fraction) >= DEAD
        or min(now.saturated_fraction, then.saturated_fraction) >= SATURATED
    ]
    idle -= {name for name, p in named.items() if p.grad is not None}
    flow.idle = [name for name in named if name in idle]
    flow.gradients = {n: p.grad.detach() for n, p in named.items() if p.grad is not None}
    flow.gradients |= _draw_again(subject, flow.gradients)
    return flow


def _draw_again(subject: Subject, gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gradients of other draws for those that are exactly 0: a layer may have been left out.

    Stochastic depth leaves out a layer for the whole batch.
    """
    zero = {name for name, gradient in gradients.items() if not bool(gradient.any())}
    found: dict[str, Tensor] = {}
    for _ in range(DRAWS if zero else 0):
        subject.backward()
        for name, p in subject.model.named_parameters():
            if name in zero and p.grad is not None and bool(p.grad.any()):
                found[name] = p.grad.detach()
        zero -= found.keys()
        if not zero:
            break
    return found


def _note_cut(name: str, cut: list[str]):  # type: ignore[no-untyped-def]
    def look(module: nn.Module, _inputs: object, output: object) -> None:
        if not isinstance(output, Tensor) or output.requires_grad:
            return
        if any(p.requires_grad for p in module.parameters(recurse=False)):
            cut.append(name)

    return look


def judge_flow(model: nn.Module, flow: Flow) -> list[Verdict]:
    """Verdicts on gradients and activations; `model` is the copy after the steps."""
    if not flow.has_gradient:
        where = printable(flow.first_without, 80)
        place = f"the output of layer {where}, the first, has none" if where else "no layer has one"
        return [
            Verdict(
                "no-gradient-at-all",
                "error",
                seen=f"no parameter gets a gradient: {place}",
                remedy="take torch.no_grad(), .detach(), .data, .item() and numpy out of forward",
                where=where,
                why="nothing is trained",
            )
        ]
    found = [*_judge_idle(model, flow), *_judge_activations(flow), *_judge_symmetry(model, flow)]
    if not found:
        found += _judge_sizes(model, flow)
    return found


def _judge_idle(model: nn.Module, flow: Flow) -> list[Verdict]:
    """Parameters that never get a gradient: of branches that are not called, or cut off."""
    unused, cut = [], []
    lists = {n for n, m in model.named_modules() if isinstance(m, (nn.ModuleList, nn.ModuleDict))}
    for name in flow.idle:
        owner = name.rpartition(".")[0]
        parts = owner.split(".") if owner else []
        above = [".".join(parts[: k + 1]) for k in range(len(parts))]
        quiet = next((part for part in above if part not in flow.functions.called | lists), "")
        (unused.append(quiet) if quiet else cut.append(name))
    found = []
    branches = list(dict.fromkeys(unused))
    if branches:
        count = len(unused)
        found.append(
            Verdict(
                "unused-branch",
                "warning",
                seen=f"forward never calls {list_names(branches)}: {plural(count, 'parameter')} "
                "without a gradient",
                remedy="call it in forward, or remove it from __init__",
                where=printable(branches[0], 80),
                why="what is not called is not trained, and is saved and counted all the same",
                numbers={"parameters": count},
            )
        )
    if cut:
        total = sum(p.requires_grad for p in model.parameters())
        found.append(
            Verdict(
                "parameters-without-gradient",
                "error",
                seen=f"{len(cut)} of {plural(total, 'trainable parameter')} get no gradient "
                f"although their layers run: {list_names(cut)}",
                remedy="take .detach(), .data, torch.no_grad() and numpy out of forward behind "
                "them; freeze on purpose with requires_grad_(False)",
                where=printable(cut[0], 80),
                why="they stay as they were drawn",
                numbers={"parameters": len(cut), "of": total},
            )
        )
    return found


def _judge_activations(flow: Flow) -> list[Verdict]:
    found = []
    dead = [a for a in flow.activations if a.dead_fraction >= DEAD and a.units >= FEWEST_UNITS]
    ends = [
        a
        for a in flow.activations
        if a.saturated_fraction >= SATURATED and a.units >= FEWEST_UNITS and a.layer
    ]
    if dead:
        worst = max(dead, key=lambda a: a.dead_fraction)
        found.append(
            Verdict(
                "dead-relus",
                "error" if worst.dead_fraction == 1 else "warning",
                seen=f"{worst.dead_fraction:.0%} of the {worst.units} units after "
                f"{printable(worst.layer, 80) or 'a layer'} are 0 for every image",
                remedy="initialise its bias with 0 and its weights by nn.init.kaiming_normal_, and "
                "normalise the images",
                where=printable(worst.layer, 80),
                why="a ReLU that is 0 for all images passes no gradient and never recovers",
                numbers={"dead_fraction": worst.dead_fraction, "layers": len(dead)},
            )
        )
    if ends:
        worst = max(ends, key=lambda a: a.saturated_fraction)
        found.append(
            Verdict(
                "saturated-activations",
                "warning",
                seen=f"{worst.saturated_fraction:.0%} of what {worst.function} gives after "
                f"{printable(worst.layer, 80)} is at the ends of its range",
                remedy="draw smaller weights (nn.init.xavier_uniform_), normalise the images, or "
                "put a BatchNorm before it",
                where=printable(worst.layer, 80),
                why="a saturated unit passes hardly any gradient",
                numbers={"saturated_fraction": worst.saturated_fraction, "layers": len(ends)},
            )
        )
    return found


def _judge_symmetry(model: nn.Module, flow: Flow) -> list[Verdict]:
    """Layers all of whose units are still copies of each other after the steps."""
    alike = []
    for name, layer in weighted_layers(model).items():
        weight = layer.weight
        assert isinstance(weight, Tensor)
        rows = weight.detach().flatten(1)
        if f"{name}.weight" not in flow.gradients or min(rows.shape) < 2 or len(rows) < 3:
            continue
        if torch.equal(rows, rows[:1].expand_as(rows)):
            alike.append(name)
    if not alike:
        return []
    return [
        Verdict(
            "symmetric-weights",
            "error",
            seen=f"all units of {list_names(alike)} are copies of each other, and stay so "
            f"over {WARM_STEPS} steps",
            remedy="draw its weights at random: nn.init.kaiming_normal_(weight), or leave torch's "
            "own initialisation",
            where=printable(alike[0], 80),
            why="units that begin alike get the same gradient, so that a layer is worth one unit",
            numbers={"layers": len(alike)},
        )
    ]


def _judge_sizes(model: nn.Module, flow: Flow) -> list[Verdict]:
    """Gradients that vanish on the way back, or are exactly 0."""
    order = {name: place for place, name in enumerate(flow.functions.weighted)}
    sizes = {
        name: float(flow.gradients[f"{name}.weight"].double().square().mean().sqrt())
        for name in sorted(weighted_layers(model), key=lambda name: order.get(name, 0))
        if f"{name}.weight" in flow.gradients and name in order
    }
    largest = max(sizes.values(), default=0.0)
    small = [name for name, size in sizes.items() if size < VANISHED * largest]
    if len(sizes) < 2 or not largest or not small:
        return []
    least = min(sizes[name] for name in small) / largest
    is_cut = least == 0
    return [
        Verdict(
            "vanishing-gradients",
            "error" if is_cut else "warning",
            seen=f"the gradient of {list_names(small)} is {least:.1g} of the largest"
            if not is_cut
            else f"the gradient of {list_names(small)} is exactly 0",
            remedy="look at what stands behind it: rounding, sign and argmax pass no gradient"
            if is_cut
            else "use ReLU or GELU, a normalisation layer, or residual connections",
            where=printable(small[0], 80),
            why="these layers hardly learn",
            numbers={"ratio": least, "layers": len(small)},
        )
    ]


def judge_linearity(flow: Flow) -> list[Verdict]:
    """Weighted layers with no non-linearity between them that are worth one layer."""
    functions = flow.functions
    if len(functions.weighted) < 2:
        return []
    if functions.bends in ([], ["softmax"], ["log_softmax"]):
        only = " but a maximum over neighbours" if functions.pooled else ""
        return [
            _no_bend(
                f"between the {len(functions.weighted)} layers with weights is no "
                f"non-linearity{only}",
                functions.weighted[0],
            )
        ]
    for pair in functions.pairs:
        one, two = pair.shapes
        linear = len(one) == len(two) == 2 and one[0] >= min(one[1], two[0])
        convolutions = (
            len(one) == len(two) == 4
            and min(*one[2:], *two[2:]) > 1
            and pair.groups == 1
            and one[0] >= min(one[1], two[0])
        )
        if linear or convolutions:
            shown = f"{printable(pair.first, 80)} and {printable(pair.second, 80)}"
            return [_no_bend(f"between {shown} is no non-linearity", pair.first)]
    return []


def _no_bend(seen: str, where: str) -> Verdict:
    return Verdict(
        "no-nonlinearity",
        "warning",
        seen=seen,
        remedy="put an activation between them: nn.ReLU()",
        where=printable(where, 80),
        why="two linear layers in a row compute what one could",
    )
