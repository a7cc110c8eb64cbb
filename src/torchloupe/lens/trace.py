"""A trace of one forward pass: which layers ran, on which shapes, and where it failed.

Hooks are removed, and modes, buffers and random states restored. Lazy layers are the exception:
they get their shapes here, as in any first forward.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import is_lazy

from torchloupe.errors import LoupeError

Shape = tuple[int, ...]


@dataclass
class Call:
    """One call of a module; `output_shape` is None until it returns, or if it returns no tensor."""

    name: str
    module: nn.Module
    input_shape: Shape | None
    output_shape: Shape | None = None
    is_over: bool = False


@dataclass
class Trace:
    """The calls in the order they began, and the output, or the error that ended it."""

    images: Shape
    calls: list[Call] = field(default_factory=list)
    output: Any = None
    error: Exception | None = None

    @property
    def innermost(self) -> Call | None:
        """The call that raised the error; None without an error."""
        unfinished = [call for call in self.calls if not call.is_over]
        return unfinished[-1] if self.error is not None and unfinished else None


def trace_forward(model: nn.Module, images: Tensor, *, training: bool = False) -> Trace:
    """What happens when `images` [B, C, H, W] go through `model`, in training or eval mode.

    An error of the model is part of the trace; one for want of memory is raised.
    """
    model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    trace = Trace(tuple(images.shape))
    with unchanged(model, images.device), recording(model, trace.calls), torch.no_grad():
        model.train(training)
        try:
            trace.output = model(images)
        except (LoupeError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            trace.error = error
    return trace


@contextmanager
def recording(model: nn.Module, calls: list[Call]) -> Iterator[None]:
    """A context in which each call of each module of `model` is appended to `calls`."""
    handles = []
    unfinished: list[Call] = []

    def begin(name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        call = Call(name, module, shape_of((args, kwargs)))
        calls.append(call)
        unfinished.append(call)

    def end(module: nn.Module, _args: Any, output: Any) -> None:
        # A call that raised and was caught by the model's own code never ends; skip it.
        while unfinished:
            call = unfinished.pop()
            call.is_over = True
            if call.module is module:
                call.output_shape = shape_of(output)
                return

    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            continue

        def begin_named(module: nn.Module, args: Any, kwargs: Any, name: str = name) -> None:
            begin(name, module, args, kwargs)

        handles.append(module.register_forward_pre_hook(begin_named, with_kwargs=True))
        handles.append(module.register_forward_hook(end))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def modes_of(model: nn.Module) -> list[tuple[nn.Module, bool]]:
    """Each module, the model first, and whether it is in training mode."""
    return [(module, module.training) for module in model.modules()]


def restore_modes(modes: Sequence[tuple[nn.Module, bool]]) -> None:
    """Put modules back into `modes`, by the model's own `train` where one of them has its own.

    Some merge weights in eval mode, or keep what they computed from them (LeViT's attention), and
    undo it when training mode comes.
    """
    if all(module.training == is_training for module, is_training in modes):
        return
    model, training = modes[0]
    if _has_own_train(model):
        model.train(training)
    for module, is_training in modes:
        module.training = is_training


def _has_own_train(model: nn.Module) -> bool:
    return any(type(module).train is not nn.Module.train for module in model.modules())


@contextmanager
def in_training_mode(model: nn.Module) -> Iterator[None]:
    """A context in which weights may be replaced: in training mode, where a module has a `train` of
    its own.
    """
    modes = modes_of(model)
    if _has_own_train(model):
        model.train()
    try:
        yield
    finally:
        restore_modes(modes)


@contextmanager
def uncompiled(model: nn.Module) -> Iterator[None]:
    """A context in which a model that `compile()` was called on runs as it is, with its hooks."""
    compiled, model._compiled_call_impl = model._compiled_call_impl, None
    try:
        yield
    finally:
        model._compiled_call_impl = compiled


@contextmanager
def unchanged(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Puts modes, buffers and random states (torch, numpy, Python) back as they were."""
    modes = modes_of(model)
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and not is_lazy(buffer)
    ]
    fresh = [module for module in model.modules() if _has_lazy_buffers(module)]
    python_state, numpy_state = random.getstate(), np.random.get_state()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
            restore_modes(modes)
            with torch.no_grad():
                for module, name, buffer, before in buffers:
                    # Left by a forward in inference mode, or resized by it (observers).
                    is_other = buffer.is_inference() or buffer.shape != before.shape
                    module._buffers[name] = before if is_other else buffer.copy_(before)
            for module in fresh:  # lazy norms that came to life in the pass
                if isinstance(module, _NormBase) and not _has_lazy_buffers(module):
                    module.reset_running_stats()


def _has_lazy_buffers(module: nn.Module) -> bool:
    return any(buffer is not None and is_lazy(buffer) for buffer in module._buffers.values())


def is_dense(tensor: Tensor) -> bool:
    """Whether `tensor` is neither sparse nor nested: it has sides, and one block of memory."""
    return tensor.layout is torch.strided and not tensor.is_nested


def shape_of(value: Any) -> Shape | None:
    """The shape of a tensor, or of the first one in nested tuples, lists and dicts.

    None for nested tensors: a side of theirs has several lengths.
    """
    if isinstance(value, Tensor):
        return None if value.is_nested else tuple(value.shape)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return next((shape for part in value if (shape := shape_of(part))), None)
    return None
