"""A trial of a model before training: what would go wrong silently is refused or noted.

It runs a forward and a backward with a few images. The networks of this package are not tried.
The model is left unchanged, except that lazy layers get their shapes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from torchloupe.checks.model import describe_idle, find_output_mistake, input_of
from torchloupe.checks.partings import (
    ALLOWED,
    describe_dependence,
    describe_parting,
    remedy_for_dependence,
    remedy_for_parting,
)
from torchloupe.checks.probabilities import describe_conversion, find_outputs
from torchloupe.config.settings import Settings
from torchloupe.data.feeds.feed import Batch
from torchloupe.errors import LoupeError, UsageError, printable
from torchloupe.hardware.layout import (
    crashes_in_channels_last,
    make_contiguous,
    require_contiguous,
    weights_laid_out,
)
from torchloupe.hardware.memory import is_out_of_memory
from torchloupe.lens.anatomy import explain_forward
from torchloupe.lens.batch_dependence import find_dependence, layer_outputs
from torchloupe.lens.hidden import find_attribute, recording_strangers, stateful_strangers
from torchloupe.lens.repetition import find_batch_norm, find_parting
from torchloupe.lens.step import StepTrace, trace_step
from torchloupe.lens.trace import trace_forward, unchanged
from torchloupe.model.losses import Loss
from torchloupe.model.norms import steady_norms
from torchloupe.model.optimizers import trainable_parameters
from torchloupe.model.outputs import hook_of
from torchloupe.model.transfer import is_from_this_package
from torchloupe.run.weights import refuse_extra_state
from torchloupe.system.counter_rng import hash_parts
from torchloupe.system.seeding import rng_preserved, seed_all

TRIED = 4  # images of a trial
_SETTING = "hardware.channels_last"
_LAZY = 0x1A27  # tells the seed of lazy layers apart from all others
_ALIKE = 1e-2  # allowed difference between memory formats, relative to the largest logit


@dataclass
class TrialResult:
    """What a trial showed: settings that follow from it, and notes for the user."""

    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)  # likely mistakes, told as verdicts too


def try_model(
    model: nn.Module,
    loss: Loss,
    batch: Batch,
    classes: int,
    settings: Settings,
) -> TrialResult:
    """Refuse a model that can't be trained correctly, and choose the memory format of images.

    Images are made contiguous from now on if hardware.channels_last is False, or if the model
    takes no others; the latter is refused if the user typed true. Raises UsageError.
    """
    config = settings.config
    channels_last = bool(config.hardware.channels_last)
    images = batch.images[:TRIED]
    plain = make_contiguous(images)
    explain_forward(model, plain[:2], classes)
    result = TrialResult()
    if settings.origin("optimizer.options") == "recipe":
        result.settings |= drop_fused(model, config.optimizer.options)
    if is_from_this_package(model):
        if not channels_last:
            require_contiguous(model)
        return result
    refuse_extra_state(model)
    trainable_parameters(model)  # refuses a model without any
    labels = batch.labels[:TRIED]
    try:
        refuse_hidden_layers(model, plain)
        step = _step(model, plain, labels, loss)
        refuse_hidden_tensors(model, step)
        refuse_stopped_gradients(step)
        refuse_sparse_gradients(step)
        refuse_nan(model, step, plain)
        result.notes += refuse_parting(model, plain, config.check.ignore)
        result.doubts += _doubts_on(model, step, labels, loss, plain)
        _settle_outputs(model, loss, plain, labels, config.model.outputs, result)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        result.notes.append("the model was not checked: a few images at once don't fit into memory")
    problem = why_not_channels_last(model, images, labels, loss) if channels_last else ""
    if problem and settings.origin(_SETTING) == "typed" and config.hardware.channels_last is True:
        raise UsageError(
            f"{_SETTING}=true was asked for, and {problem}",
            f"leave {_SETTING} out, or set it to false",
        )
    if problem:
        result.settings[_SETTING] = False
        result.notes.append(f"images are contiguous in memory: {problem}")
    if problem or not channels_last:
        require_contiguous(model)
    return result


def bring_to_life(model: nn.Module, images: Tensor, classes: int, seed: int) -> None:
    """Give lazy layers their shapes, and weights by `seed`; UsageError if forward fails."""
    tensors = (*model.parameters(), *model.buffers())
    if not any(is_lazy(tensor) for tensor in tensors):
        return
    with rng_preserved():
        seed_all(int(hash_parts(seed, _LAZY)))
        explain_forward(model, make_contiguous(images[:2]), classes)


def _settle_outputs(
    model: nn.Module,
    loss: Loss,
    images: Tensor,
    labels: Tensor,
    typed: str,
    result: TrialResult,
) -> None:
    """Have probabilities that the model gives taken for what they are, unless it was `typed`."""
    hook = hook_of(model)
    found = find_outputs(model, loss, images, labels) if hook and typed == "auto" else ""
    if hook and found:
        hook.outputs = found
        result.settings["model.outputs"] = found
        result.notes.append(describe_conversion(found))


def refuse_hidden_layers(model: nn.Module, images: Tensor) -> None:
    """UsageError if forward calls layers that are not part of the model."""
    with unchanged(model, images.device), recording_strangers(model) as calls, torch.no_grad():
        model.eval()
        model(images)
    hidden = stateful_strangers(model, calls.modules)
    if not hidden:
        return
    place = find_attribute(model, hidden[0])
    kind = type(hidden[0]).__name__
    if not place.name:
        raise UsageError(
            f"forward uses a {kind} that is not an attribute of the model: it is neither trained "
            "nor saved, and eval mode doesn't reach it",
            f"make it once, in __init__: self.layer = nn.{kind}(...)",
        )
    raise UsageError(
        f"forward uses {printable(place.name, 80)} ({kind}), and {printable(place.holder, 80)} is "
        f"a plain {place.kind}: what is in it is neither trained, moved to the device nor saved",
        _hint_for(place.holder, place.kind),
    )


def _hint_for(holder: str, kind: str) -> str:
    name = printable(holder.rpartition(".")[2], 80)
    holders = {"list": "ModuleList", "tuple": "ModuleList", "dict": "ModuleDict"}
    if kind in holders:
        return f"make it an nn.{holders[kind]}: self.{name} = nn.{holders[kind]}(...)"
    return f"make the layers attributes of the model, in an nn.ModuleList: self.{name} = ..."


def refuse_hidden_tensors(model: nn.Module, step: StepTrace) -> None:
    """UsageError if a tensor gets a gradient and is not a parameter of the model."""
    if not step.strangers:
        return
    tensor = step.strangers[0]
    place = find_attribute(model, tensor)
    shown = list(tensor.shape)
    if not place.name:
        raise UsageError(
            f"forward uses a tensor {shown} that requires a gradient but is not a parameter of the "
            "model: it is neither trained nor saved",
            "make it a parameter in __init__: self.weight = nn.Parameter(...)",
        )
    several = "nn.ParameterDict" if place.kind == "dict" else "nn.ParameterList"
    name = printable(place.holder.rpartition(".")[2], 80)
    kind = "nn.Parameter" if place.name == place.holder else several
    raise UsageError(
        f"{printable(place.name, 80)} {shown} requires a gradient but is not a parameter of the "
        "model: it is neither trained nor saved",
        f"make it one: self.{name} = {kind}(...)",
    )


def refuse_stopped_gradients(step: StepTrace) -> None:
    """UsageError if no parameter gets a gradient."""
    if step.loss is not None:
        return
    if step.first_without and not step.last_with:
        where = f"the output of layer {printable(step.first_without, 80)}, the first, has none"
    elif step.last_with:
        where = f"the output of layer {printable(step.last_with, 80)} is the last that has one"
    else:
        where = "no layer's output has one"
    raise UsageError(
        f"no parameter gets a gradient: {where}",
        "take torch.no_grad(), .detach(), .data, .item() and numpy out of forward",
    )


def refuse_sparse_gradients(step: StepTrace) -> None:
    """UsageError if a gradient is sparse: few optimizers take it, and no fused one."""
    if step.sparse:
        raise UsageError(
            f"{printable(step.sparse[0], 80)} gets a sparse gradient, training takes dense ones",
            "leave out sparse=True in its nn.Embedding: the numbers are the same",
        )


def refuse_nan(model: nn.Module, step: StepTrace, images: Tensor) -> None:
    """UsageError if the logits of finite `images` are NaN, whatever was trained."""
    if not bool(step.logits.isnan().any(dim=1).all()) or not bool(images.isfinite().all()):
        return
    before = ""
    for name, output in layer_outputs(model, images, row=0):
        title = f"{printable(name, 80)} ({type(model.get_submodule(name)).__name__})"
        if bool(output.isnan().any()):
            where = f"layer {title} is the first that gives NaN" if name else "no layer gives NaN"
            raise UsageError(
                f"the logits are NaN before any step: {where}{before}",
                "look there for log and sqrt of negative numbers, 0 / 0 and overflows; for "
                "weights, look for NaN in what was loaded",
            )
        before = f", after layer {title}" if name else ""


def refuse_parting(model: nn.Module, images: Tensor, ignored: Sequence[str]) -> list[str]:
    """UsageError if the logits of an image in eval mode change from forward to forward, or depend
    on the others in its batch. A note where the first of the two is `ignored`.
    """
    parting = find_parting(model, images)
    if parting is None:
        refuse_mixing(model, images)
        return []
    if ALLOWED in ignored:
        return [describe_parting(parting)]
    raise UsageError(
        describe_parting(parting),
        f"{remedy_for_parting(parting)}; for a model that is random on purpose: check.ignore="
        f"{ALLOWED}",
    )


def refuse_mixing(model: nn.Module, images: Tensor) -> None:
    """UsageError if the logits of an image in eval mode depend on the others in its batch."""
    found = find_dependence(model, images)
    if found is not None:
        remedy = remedy_for_dependence(found, find_batch_norm(model, images))
        raise UsageError(describe_dependence(found), remedy)


def why_not_channels_last(model: nn.Module, images: Tensor, labels: Tensor, loss: Loss) -> str:
    """Why the model can't be trained on channels_last images; empty if it can.

    It works on contiguous ones, with which its logits are compared.
    """
    if crashes_in_channels_last(model):
        return "models of this family have crashed in channels_last"
    plain = make_contiguous(images)
    wanted = trace_forward(model, plain).output
    with weights_laid_out(model, torch.channels_last):
        given = trace_forward(model, images)
        error = given.error or _error_of_step(model, images, labels, loss)
    if error is not None:
        reason = printable(str(error).strip().partition("\n")[0], 120)
        return f"the model fails in channels_last ({type(error).__name__}: {reason})"
    difference = (given.output - wanted).abs().nan_to_num().max()
    if not difference <= _ALIKE * wanted.abs().nan_to_num().max().clamp_min(1e-6):
        return "the model gives other logits in channels_last"
    return ""


def _error_of_step(
    model: nn.Module, images: Tensor, labels: Tensor, loss: Loss
) -> Exception | None:
    """The error of a step; None if it succeeds or runs out of memory, which any format would."""
    try:
        _step(model, images, labels, loss)
    except LoupeError:
        raise
    except Exception as error:
        return None if is_out_of_memory(error) else error
    return None


def _step(model: nn.Module, images: Tensor, labels: Tensor, loss: Loss) -> StepTrace:
    with steady_norms(model, images):
        return trace_step(model, images, labels, loss)


def _doubts_on(
    model: nn.Module, step: StepTrace, labels: Tensor, loss: Loss, images: Tensor
) -> list[str]:
    """What a step that went well still shows."""
    idle = step.idle
    if idle:  # a layer that is dropped at random in this step is used in others
        with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
            torch.manual_seed(1)
            again = _step(model, images, labels, loss).idle
        idle = [name for name in idle if name in again]
    multi_label = labels.ndim == 2
    total = sum(p.requires_grad for p in model.parameters())
    takes = input_of(loss.name, loss.criterion, multi_label)
    lines = [
        describe_idle(idle, total),
        find_output_mistake(takes, step.logits, step.function),
    ]
    return [line for line in lines if line]


def drop_fused(model: nn.Module, options: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without the fused optimizer where the model's parameters don't allow it."""
    odd = [n for n, p in model.named_parameters() if p.requires_grad and not p.is_floating_point()]
    if not odd or not options.get("fused"):
        return {}
    return {"optimizer.options": {k: v for k, v in options.items() if k != "fused"}}
