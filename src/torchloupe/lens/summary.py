"""What a model costs, layer by layer and in all: parameters, FLOPs, bytes and seconds.

FLOPs are those of torch's flop counter, two for a multiplication with its addition: products of
matrices and convolutions count, norms and activations don't. Half of them are the
"multiply-adds" that papers give.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from torchloupe.lens.anatomy import THE_MODEL, hidden_parts, is_layer, layer_table, own_parameters
from torchloupe.lens.costs import CallCost, CostRecorder, fastest
from torchloupe.lens.selection import plain_model
from torchloupe.lens.trace import Shape

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


@dataclass(frozen=True)
class Layer:
    """One call of one layer; None if it was not called, or nothing was timed.

    `activation_bytes` is what the layer adds: 0 if it gives back what it took (in-place
    ReLU, flatten). A parameter shared by several layers, or a layer called twice, counts once.
    `feeds` are the numbers of the layers that take its output, `joins` those whose output is
    added to or concatenated with it.
    """

    name: str
    type: str
    input_shape: Shape | None
    output_shape: Shape | None
    parameters: int
    flops: int
    activation_bytes: int
    forward_seconds: float | None
    backward_seconds: float | None
    feeds: tuple[int, ...] = ()
    joins: tuple[int, ...] = ()


@dataclass(frozen=True)
class Summary:
    """The layers of a model for one batch of images, and the totals.

    Seconds are those of whole passes, the work between the layers included.
    """

    input_shape: Shape
    layers: tuple[Layer, ...]
    parts: Mapping[str, str]  # the type of every module by name, those made of layers too
    parameters: int
    trainable: int
    flops: int
    weight_bytes: int  # parameters and buffers
    gradient_bytes: int
    optimizer_bytes: int
    optimizer: str
    activation_bytes: int
    forward_seconds: float | None
    backward_seconds: float | None


def summarise(
    model: nn.Module,
    images: Tensor,
    *,
    optimizer: MakeOptimizer = torch.optim.AdamW,
    timed: bool = True,
) -> Summary:
    """The costs of one step of `model` over `images` [B, C, H, W], on their device.

    Several forwards and backwards are run; the model, its gradients and all random states are
    left as they were. Seconds are those of the fastest pass, in training mode where there are
    two images or more. `optimizer` makes one from parameters, of which only the bytes it would
    keep are counted. Raises UsageError, as `explain_forward` does, for a model that fails.
    """
    model = plain_model(model)
    layer_table(model, images)  # refuses what doesn't run, and gives lazy layers their shapes
    recorder = CostRecorder(model)
    recorder.count(images)
    recorder.follow(images)
    if timed and images.device.type != "meta":
        recorder.measure(images)
    layers = tuple(_layers(model, recorder))
    parameters = [p for p in model.parameters() if not is_lazy(p)]
    trainable = [p for p in parameters if p.requires_grad]
    optimizer_name, optimizer_bytes = weigh_optimizer(trainable, optimizer)
    return Summary(
        input_shape=tuple(images.shape),
        layers=layers,
        parts={name: type(module).__name__ for name, module in model.named_modules()},
        parameters=sum(p.numel() for p in parameters),
        trainable=sum(p.numel() for p in trainable),
        flops=sum(entry.own_flops for entry in recorder.entries),
        weight_bytes=_bytes_of(parameters) + _bytes_of(model.buffers()),
        gradient_bytes=_bytes_of(trainable),
        optimizer_bytes=optimizer_bytes,
        optimizer=optimizer_name,
        activation_bytes=sum(layer.activation_bytes for layer in layers),
        forward_seconds=fastest(recorder.forward_seconds),
        backward_seconds=fastest(recorder.backward_seconds),
    )


def weigh_optimizer(
    parameters: Sequence[nn.Parameter], make: MakeOptimizer, device: str = "meta"
) -> tuple[str, int]:
    """An optimizer's name, and the bytes of its state, from a step on stand-in parameters.

    They are meta tensors, which cost nothing, or real ones for optimizers that refuse those.
    """
    if not parameters:
        return "", 0
    copies = [nn.Parameter(torch.zeros(p.shape, dtype=p.dtype, device=device)) for p in parameters]
    for copy in copies:
        copy.grad = torch.zeros_like(copy)
    try:
        optimizer = make(copies)
        optimizer.step()
    except Exception:
        if device == "cpu":
            raise
        return weigh_optimizer(parameters, make, "cpu")
    kept = sum(_bytes_of(state.values()) for state in optimizer.state.values())
    return type(optimizer).__name__, kept


def _layers(model: nn.Module, recorder: CostRecorder) -> Iterable[Layer]:
    hidden, counted = hidden_parts(model), set[int]()
    shown = [
        number
        for number, entry in enumerate(recorder.entries)
        if entry.module not in hidden and (is_layer(entry.module) or entry.own_flops)
    ]
    places = {number: place for place, number in enumerate(shown)}
    for number in shown:
        entry = recorder.entries[number]
        feeds, joins = (
            tuple(sorted(places[n] for n in ways if n in places))
            for ways in (entry.feeds, entry.joins)
        )
        yield replace(_layer(entry, counted), feeds=feeds, joins=joins)
    called = {entry.module for entry in recorder.entries}
    for name, module in model.named_modules():
        if module not in called and module not in hidden:
            layer = _layer(CallCost(name, module, None), counted)
            if layer.parameters:
                yield layer


def _layer(entry: CallCost, counted: set[int]) -> Layer:
    new = [p for p in own_parameters(entry.module) if id(p) not in counted and not is_lazy(p)]
    counted.update(id(p) for p in new)
    return Layer(
        name=entry.name or THE_MODEL,
        type=type(entry.module).__name__,
        input_shape=entry.input_shape,
        output_shape=entry.output_shape,
        parameters=sum(p.numel() for p in new),
        flops=entry.own_flops,
        activation_bytes=entry.output_bytes,
        forward_seconds=fastest(entry.forward_seconds),
        backward_seconds=fastest(entry.backward_seconds),
    )


def _bytes_of(values: Iterable[Any]) -> int:
    return sum(v.numel() * v.element_size() for v in values if isinstance(v, Tensor))
