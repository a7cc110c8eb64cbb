"""One forward and backward, watched: which parameters get a gradient, and where gradients stop.

Weights, gradients, buffers, modes and random states are as before afterwards.
"""

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torchloupe.errors import UsageError, printable
from torchloupe.lens.trace import unchanged

Loss = Callable[[Tensor, Tensor], Tensor]
# Nodes of a graph that change neither the numbers nor what they mean.
_PASSING = ("View", "UnsafeView", "Reshape", "Clone", "ToCopy", "Squeeze", "Unsqueeze", "Alias")


@dataclass
class StepTrace:
    """What one step showed; `loss` is None if no gradient could flow."""

    logits: Tensor  # [B, K], detached
    loss: float | None = None
    function: str = ""  # the last operation of the forward: Softmax, LogSoftmax, Sigmoid, Addmm
    idle: list[str] = field(default_factory=list)  # trainable parameters without a gradient
    sparse: list[str] = field(default_factory=list)  # parameters whose gradient is sparse
    strangers: list[Tensor] = field(default_factory=list)  # with a gradient, and no parameters
    last_with: str = ""  # the last layer whose output has a gradient
    first_without: str = ""  # the first layer with trainable parameters whose output has none


def trace_step(model: nn.Module, images: Tensor, labels: Tensor, loss: Loss) -> StepTrace:
    """A step in training mode without an update; errors of model and loss are raised."""
    named = dict(model.named_parameters())
    kept = {name: parameter.grad for name, parameter in named.items()}
    flow = _Flow(model)
    with unchanged(model, images.device), torch.enable_grad():
        model.train()
        try:
            for parameter in named.values():
                parameter.grad = None
            with flow.watched():
                logits = model(images.clone())  # forward may ask for a gradient of its input
            trace = StepTrace(logits.detach(), function=last_function(logits))
            trace.last_with, trace.first_without = flow.last_with, flow.first_without
            if not logits.requires_grad:
                return trace
            value = loss(logits, labels)
            trace.strangers = strangers_of(model, value, images)
            _go_back(value, lambda: loss(model(images), labels))
            trace.loss = float(value.detach())
            trace.idle = [n for n, p in named.items() if p.requires_grad and p.grad is None]
            trace.sparse = [n for n, p in named.items() if p.grad is not None and p.grad.is_sparse]
        finally:
            for name, parameter in named.items():
                parameter.grad = kept[name]
    return trace


def _go_back(value: Tensor, again: Callable[[], Tensor]) -> None:
    """The backward pass of `value`; `again` computes it once more, where it has to be explained.

    UsageError where a tensor that a gradient needs was changed in place, with the line of its use.
    """
    try:
        value.backward()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        if "modified by an inplace operation" not in str(error):
            raise
        place = _find_changed(again)
        raise UsageError(
            "no gradients can be computed: a tensor that they need is changed in place"
            + (f" after {printable(place)} has used it" if place else ""),
            "write x = x + y for x += y, stack a list for x[i] = y, and leave out inplace=True",
        ) from None


def _find_changed(again: Callable[[], Tensor]) -> str:
    """The file and line of the forward whose tensor was changed, as autograd tells it; "" if not.

    In anomaly mode a failing backward warns with the traceback of the operation in the forward.
    """
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with suppress(RuntimeError), torch.autograd.set_detect_anomaly(True, check_nan=False):
            again().backward()  # type: ignore[no-untyped-call]
    told = "\n".join(str(one.message) for one in said)
    library = str(Path(torch.__file__).parent)
    frames = re.findall(r'File "([^"]+)", line (\d+)', told)
    own = [f"{file}, line {line}" for file, line in frames if not file.startswith(library)]
    return own[-1] if own else ""


def last_function(output: Tensor) -> str:
    """The operation that made `output`, as autograd calls it: Softmax, Addmm; empty for none.

    Of a padded output it is the padding and what was padded: "ConstantPadNd Addmm".
    """
    node, padding = output.grad_fn, ""
    while node is not None:
        name = node.name().removesuffix("0").removesuffix("Backward")
        if name.startswith("ConstantPad") and not padding:
            padding = f"{name} "
        elif not name.startswith(_PASSING) or len(node.next_functions) != 1:
            return padding + name.lstrip("_")
        node = node.next_functions[0][0]
    return padding.strip()


def leaves_of(value: Tensor) -> list[Tensor]:
    """The tensors that a backward from `value` gives a gradient to."""
    found: list[Tensor] = []
    waiting: list[Any] = [value.grad_fn]
    seen: set[Any] = set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        waiting += [inner for inner, _ in node.next_functions]
    return found


def strangers_of(model: nn.Module, value: Tensor, images: Tensor) -> list[Tensor]:
    """The leaves of `value` that are neither parameters of `model` nor made of the images.

    A forward may ask for the gradient of its input, or of features that frozen layers made of it:
    for checkpointing, or to penalise that gradient. `value` was computed from `images` [B, ...].
    """
    own = {id(parameter) for parameter in model.parameters()}

    def find(root: Tensor) -> list[Tensor]:
        return [leaf for leaf in leaves_of(root) if id(leaf) not in own]

    def find_again(images: Tensor) -> list[Tensor]:
        torch.manual_seed(0)  # the same draws both times
        output = model(images)
        return find(output) if isinstance(output, Tensor) else []

    found = find(value)
    if not any(leaf.shape[:1] == images.shape[:1] for leaf in found):
        return found
    devices = [images.device] if images.device.type == "cuda" else []
    with unchanged(model, images.device), torch.random.fork_rng(devices=devices):
        first, other = find_again(images.clone()), find_again(images.flip(0) + 1)
    if not len(found) == len(first) == len(other):
        return found
    pairs = zip(found, first, other, strict=True)
    return [leaf for leaf, one, two in pairs if one.shape != two.shape or torch.equal(one, two)]


class _Flow:
    """Which layers give outputs with a gradient."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.last_with = ""
        self.first_without = ""

    @contextmanager
    def watched(self) -> Iterator[None]:
        hooks = [
            module.register_forward_hook(self._look(name))
            for name, module in self.model.named_modules()
            if name and not isinstance(module, torch.jit.ScriptModule)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _look(self, name: str) -> Callable[..., None]:
        def look(module: nn.Module, _inputs: Any, output: Any) -> None:
            if not isinstance(output, Tensor):
                return
            title = f"{name} ({type(module).__name__})"
            if output.requires_grad:
                self.last_with = title
            elif not self.first_without and any(
                p.requires_grad for p in module.parameters(recurse=False)
            ):
                self.first_without = title

        return look
