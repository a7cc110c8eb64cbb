"""Hooks on layers for as long as a `with` block lasts, and never longer.

A hook looks: what it returns is ignored, unless it is `Replace(...)` or `STOP`, and random
numbers that it draws don't change those of the model. Hooks come off when the block ends, after
an exception too.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from torchloupe.errors import UsageError, did_you_mean, printable
from torchloupe.lens.selection import Which, refuse_closed, select_layers
from torchloupe.lens.trace import is_dense

Hook = Callable[[nn.Module, tuple[Any, ...], Any], object]
BackwardHook = Callable[[nn.Module, Tensor], object]


@dataclass(frozen=True)
class Replace:
    """What a hook returns to have `output` go on in place of what the layer gave."""

    output: Any


class _Stop:
    def __repr__(self) -> str:
        return "STOP"


STOP = _Stop()  # what a hook returns to end the forward, and the `with` block around it


class Seen:
    """What a lens saw: `seen["conv1"]` is the last output that was kept of conv1.

    `layers` are the names of the watched layers, `forwards` counts the model's forwards since
    the block began, `calls` how often each layer was looked at. `outputs[name]` holds the kept
    outputs, oldest first; with DataParallel those of all replicas.
    """

    def __init__(self, layers: tuple[str, ...], keep: int) -> None:
        self.layers = layers
        self.forwards = 0
        self.calls = dict.fromkeys(layers, 0)
        self.outputs: dict[str, deque[Any]] = {name: deque(maxlen=keep) for name in layers}

    def __getitem__(self, name: str) -> Any:
        if name not in self.outputs:
            raise UsageError(
                f"layer {printable(name)!r} is not watched", did_you_mean(name, self.layers)
            )
        kept = self.outputs[name]
        if not kept:
            raise UsageError(
                f"no output of layer {printable(name)!r} was kept",
                "run the model inside the with block" if kept.maxlen else "give watch(..., keep=1)",
            )
        return kept[-1]

    def __repr__(self) -> str:
        return f"Seen({len(self.layers)} layers, {self.forwards} forwards)"


@contextmanager
def watch(
    model: nn.Module,
    which: Which,
    hook: Hook | None = None,
    *,
    every: int = 1,
    backward: BackwardHook | None = None,
    keep: int | None = None,
    clone: bool = True,
    detach: bool = True,
) -> Iterator[Seen]:
    """A context that calls `hook(module, inputs, output)` after each call of the chosen layers.

    `which` is a pattern (`"conv*|fc1"`), a type, a module, or several (see `select_layers`). Any
    hook that torch's `register_forward_hook` takes will do. It is called in the first forward
    of `model` and in every `every`-th, in training or not (see `module.training`).

    `backward(module, gradient)` is called in the backward pass with the gradient of the loss with
    respect to each output tensor. The context yields `keep` outputs of each layer (None: one, or
    none if there is a hook): copied unless `clone` is False (an in-place ReLU changes them
    later), without their graph unless `detach` is False.

    A hook may return `Replace(value)`, which replaces the output, or `STOP`, which ends the
    forward and the context. Raises UsageError for layers that don't exist, that run in a
    compiled graph, or whose output a hook changed in place.
    """
    if every < 1 or (keep or 0) < 0:
        raise UsageError(
            f"every must be at least 1 and keep at least 0, got every={every} and keep={keep}",
            "every=100 looks at each hundredth forward, keep=3 holds the last three outputs",
        )
    layers = select_layers(model, which)
    refuse_closed(model, layers)
    if keep is None:
        keep = int(hook is None and backward is None)
    lens = _Lens(Seen(tuple(layers), keep), hook, backward, every, clone, detach)
    handles = [model.register_forward_pre_hook(lens.begin)]
    try:
        for name, layer in layers.items():
            handles.append(layer.register_forward_hook(partial(lens.look, name)))
        yield lens.seen
    except lens.stopped:
        pass
    finally:
        lens.close()
        for handle in handles:
            handle.remove()


class _Lens:
    def __init__(
        self,
        seen: Seen,
        hook: Hook | None,
        backward: BackwardHook | None,
        every: int,
        clone: bool,
        detach: bool,
    ) -> None:
        self.seen = seen
        self.hook = hook
        self.backward = backward
        self.every = every
        self.clone = clone
        self.detach = detach
        # Of its own type for each lens: DataParallel raises a copy of what a replica raised.
        self.stopped: type[Exception] = type("_Stopped", (Exception,), {})
        self._is_open = True
        self._gradients: list[RemovableHandle] = []
        self._passed = dict.fromkeys(seen.layers, 0)
        self._lock = threading.Lock()  # replicas of DataParallel run in threads

    def __deepcopy__(self, _memo: object) -> "_Lens":
        """For a copy of the model: a lens that looks at nothing."""
        blind = _Lens(self.seen, None, None, self.every, self.clone, self.detach)
        blind._is_open = False
        return blind

    def begin(self, *_: Any) -> None:
        if not self._is_open:
            return
        self.seen.forwards += 1
        self._forget_gradients()

    def look(self, name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        if not self._is_open:
            return None
        with self._lock:
            self._passed[name] += 1
            # A layer may also be called on its own, outside any forward of the model.
            turn = self.seen.forwards or self._passed[name]
            if (turn - 1) % self.every:
                return None
            self.seen.calls[name] += 1
            if self.seen.outputs[name].maxlen:
                self.seen.outputs[name].append(map_tensors(self._keep, output))
            if self.backward is not None:
                for tensor in tensors_in(output):
                    self._watch_gradient(name, module, tensor)
        if self.hook is None:
            return None
        answer = self._call(name, self.hook, module, inputs, output)
        if answer is STOP:
            raise self.stopped
        return answer.output if isinstance(answer, Replace) else None

    def close(self) -> None:
        self._is_open = False
        self.backward = None  # gradients after the context are ignored
        self._forget_gradients()

    def _keep(self, tensor: Tensor) -> Tensor:
        kept = tensor.detach() if self.detach else tensor
        return kept.clone() if self.clone else kept

    def _watch_gradient(self, name: str, module: nn.Module, tensor: Tensor) -> None:
        def look(gradient: Tensor) -> None:
            if self.backward is not None:
                self._call(name, self.backward, module, gradient)

        # On the tensor, not the module: torch's full backward hooks forbid in-place layers after.
        if tensor.requires_grad:
            handle: RemovableHandle = tensor.register_hook(look)  # type: ignore[no-untyped-call]
            self._gradients.append(handle)

    def _forget_gradients(self) -> None:
        for handle in self._gradients:
            handle.remove()
        self._gradients.clear()

    def _call(self, name: str, hook: Callable[..., object], *arguments: Any) -> object:
        """The hook's answer; it must leave random states and tensors as they are."""
        tensors = list(tensors_in(arguments[1:]))
        before = [version_of(tensor) for tensor in tensors]
        devices = {tensor.device for tensor in tensors if tensor.is_cuda}
        try:
            with torch.random.fork_rng(devices=devices):
                answer = hook(*arguments)
        except Exception as error:
            error.add_note(f"in a hook on layer {printable(name) or 'of the whole model'}")
            raise
        if before != [version_of(tensor) for tensor in tensors]:
            raise UsageError(
                f"a hook changed a tensor of layer {printable(name)!r} in place; a lens only looks",
                "return loupe.lens.Replace(new_output) to replace the output",
            )
        return answer


def map_tensors(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    """`value` with `change` made to each tensor in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: map_tensors(change, item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):  # a named tuple
        return type(value)(*(map_tensors(change, item) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)(map_tensors(change, item) for item in value)
    return value


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from tensors_in(item)


def dense_tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists and dicts, but for sparse and nested tensors."""
    yield from filter(is_dense, tensors_in(value))


def version_of(tensor: Tensor) -> int:
    """How often the tensor was changed in place; inference tensors don't count."""
    return -1 if tensor.is_inference() else tensor._version
