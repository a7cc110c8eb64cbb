"""What each call of each layer costs, recorded while passes run through a model.

Three kinds of pass: one that counts (shapes, bytes, FLOPs), one that follows the gradient's way
back to see which layer feeds which, and some that are timed. It looks and never touches: modes,
buffers, random states and gradients are as before.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from torchloupe.lens.selection import closed_around
from torchloupe.lens.trace import Shape, shape_of, unchanged
from torchloupe.lens.watch import dense_tensors_in, tensors_in

MOST_PASSES = 7
TIMED_SECONDS = 1.0  # seconds of timing; at least three passes


@dataclass
class CallCost:
    """One call of one module; `own` numbers leave out the calls inside it."""

    name: str
    module: nn.Module
    parent: "CallCost | None"
    input_shape: Shape | None = None
    output_shape: Shape | None = None
    own_flops: int = 0
    output_bytes: int = 0  # of the memory that came with its output, and with none inside it
    forward_seconds: list[float] = field(default_factory=list)  # own, one a timed pass
    backward_seconds: list[float] = field(default_factory=list)
    feeds: set[int] = field(default_factory=set)  # numbers of the entries that take its output
    joins: set[int] = field(default_factory=set)  # and of those it is added to, or joined with
    mark: float = 0.0  # when it began, or FLOPs until then
    inside: float = 0.0  # what the calls inside it have taken of that
    known: set[int] = field(default_factory=set)  # storages of what it took and of those inside


class CostRecorder:
    """The entries of a model's calls, in the order they began; the same in every pass."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.entries: list[CallCost] = []
        self.forward_seconds: list[float] = []  # of whole passes
        self.backward_seconds: list[float] = []
        self._open: list[CallCost] = []

    def count(self, images: Tensor) -> None:
        """Write down the calls of one forward: shapes, bytes, FLOPs."""
        from torch.utils.flop_counter import FlopCounterMode

        counter = FlopCounterMode(display=False)

        def begin(entry: CallCost, inputs: Any) -> None:
            entry.input_shape = shape_of(inputs)
            entry.known |= {_storage(tensor) for tensor in dense_tensors_in(inputs)}
            entry.mark = counter.get_total_flops()

        def end(entry: CallCost, _inputs: Any, output: Any) -> None:
            entry.output_shape = shape_of(output)
            made = {_storage(tensor): tensor for tensor in dense_tensors_in(output)}
            new = {key: tensor for key, tensor in made.items() if key not in entry.known}
            entry.output_bytes = sum(t.numel() * t.element_size() for t in new.values())
            flops = counter.get_total_flops() - int(entry.mark)
            entry.own_flops = flops - int(entry.inside)
            if entry.parent is not None:
                entry.parent.inside += flops
                entry.parent.known |= set(new)

        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # it leaves the counter in the dark
        try:
            with unchanged(self.model, images.device), torch.no_grad():
                self.model.eval()
                with self._hooked(self._write, begin, end), sdpa_kernel(SDPBackend.MATH), counter:
                    self.model(images)
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)

    def follow(self, images: Tensor) -> None:
        """Find out which entry's output reaches which others, from the graph of the gradient."""
        graph = _Graph()
        with unchanged(self.model, images.device), torch.enable_grad(), graph.following(self):
            self.model.eval()
            if images.is_floating_point():  # so that the ways around frozen layers are seen too
                images = images.detach().requires_grad_().clone()  # which may be changed in place
            output = self.model(images)
            graph.claim(output, -1)
        graph.link(self.entries)

    def measure(self, images: Tensor) -> None:
        """Time forwards and backwards, in training mode for two images or more."""
        training = len(images) > 1
        began = time.perf_counter()
        self._time_once(images, training, keep=False)
        while len(self.forward_seconds) < MOST_PASSES:
            self._time_once(images, training, keep=True)
            spent = time.perf_counter() - began
            if spent > TIMED_SECONDS and (len(self.forward_seconds) > 2 or spent > 5):
                break

    def _time_once(self, images: Tensor, training: bool, keep: bool) -> None:
        graph = _Graph()
        weights = [p for p in self.model.parameters() if p.requires_grad]
        with unchanged(self.model, images.device), torch.enable_grad():
            self.model.train(training)
            forward, output = _measure(images.device, partial(self.model, images))
            scores = [t for t in tensors_in(output) if t.requires_grad]
            backward, _ = _measure(images.device, partial(_back, scores, weights))
            del output, scores
            if not keep:
                return
            self.forward_seconds.append(forward)
            self.backward_seconds.append(backward)

            def begin(entry: CallCost, inputs: Any) -> None:
                graph.claim(inputs, graph.number(entry.parent))
                _wait(images.device)
                entry.mark, entry.inside = time.perf_counter(), 0.0

            def end(entry: CallCost, _inputs: Any, output: Any) -> None:
                _wait(images.device)
                seconds = time.perf_counter() - entry.mark
                entry.forward_seconds.append(seconds - entry.inside)
                graph.claim(output, graph.number(entry))
                if entry.parent is not None:  # the cost of hooks is not counted
                    entry.parent.inside += time.perf_counter() - entry.mark

            graph.entries = self.entries
            with self._hooked(self._find, begin, end):
                output = self.model(images)
            graph.claim(output, -1)
            scores = [t for t in tensors_in(output) if t.requires_grad]
            seconds = graph.time_nodes(images.device, lambda: _back(scores, weights))
        for number, entry in enumerate(self.entries):
            entry.backward_seconds.append(seconds.get(number, 0.0))

    @contextmanager
    def _hooked(
        self,
        write: Callable[[str, nn.Module], CallCost],
        begin: Callable[[CallCost, Any], None],
        end: Callable[[CallCost, Any, Any], None],
    ) -> Iterator[None]:
        self._open, self._next = [], 0
        handles: list[Any] = []

        def before(name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
            entry = write(name, module)
            self._open.append(entry)
            begin(entry, (args, kwargs))

        def after(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            # A call that raised, where the model's own code went on, never ends.
            while self._open and self._open[-1].module is not module:
                self._open.pop()
            if self._open:
                end(self._open.pop(), (args, kwargs), output)

        try:
            for name, module in self.model.named_modules():
                if closed_around(self.model, name) is None:
                    handles += [
                        module.register_forward_pre_hook(partial(before, name), with_kwargs=True),
                        module.register_forward_hook(after, with_kwargs=True),
                    ]
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _write(self, name: str, module: nn.Module) -> CallCost:
        entry = CallCost(name, module, self._open[-1] if self._open else None)
        self.entries.append(entry)
        return entry

    def _find(self, name: str, module: nn.Module) -> CallCost:
        """The entry of this call in the pass that counted; training may take another way."""
        for number in range(self._next, len(self.entries)):
            if self.entries[number].module is module:
                self._next = number + 1
                return self.entries[number]
        return CallCost(name, module, self._open[-1] if self._open else None)


class _Graph:
    """The nodes of the gradient's graph, each owned by the entry whose call made it."""

    def __init__(self) -> None:
        self.entries: list[CallCost] = []
        self.owners: dict[Any, int] = {}  # by node; -1 outside any call
        self._numbers: dict[int, int] = {}

    def number(self, entry: CallCost | None) -> int:
        """The number of an entry; -1 for none."""
        if not self._numbers:
            self._numbers = {id(known): k for k, known in enumerate(self.entries)}
        return self._numbers.get(id(entry), -1)

    def claim(self, value: Any, owner: int) -> None:
        """Give the nodes that made the tensors in `value`, and have no owner yet, to `owner`."""
        waiting = [tensor.grad_fn for tensor in tensors_in(value) if tensor.grad_fn is not None]
        while waiting:
            node = waiting.pop()
            if node not in self.owners:
                self.owners[node] = owner
                waiting += [after for after, _ in node.next_functions if after is not None]

    @contextmanager
    def following(self, recorder: CostRecorder) -> Iterator[None]:
        """A context in which the nodes made in calls get their owners."""
        self.entries = recorder.entries

        def begin(entry: CallCost, inputs: Any) -> None:
            self.claim(inputs, self.number(entry.parent))

        def end(entry: CallCost, _inputs: Any, output: Any) -> None:
            self.claim(output, self.number(entry))

        with recorder._hooked(recorder._find, begin, end):
            yield

    def link(self, entries: list[CallCost]) -> None:
        """Write into each innermost entry which others its output reaches.

        Where outputs are joined between calls (a sum, a concatenation), the earlier ones join
        the last of them, and what is made of it comes from that one.
        """
        parents = {id(entry.parent) for entry in entries}
        inner = {
            k
            for k, entry in enumerate(entries)
            if id(entry) not in parents or _is_one_layer(entry.module)
        }
        source: dict[Any, int] = {}  # the innermost entry that a node's result belongs to
        # Nodes were made in the order in which the forward ran: what comes in is always older.
        for node in sorted(self.owners, key=_age):
            owner = self.owners[node]
            # Two layers that share a weight are not connected by it.
            befores = [b for b, _ in node.next_functions if not hasattr(b, "variable")]
            found = {source[before] for before in befores if before in source}
            if owner in inner:
                source[node] = owner
                for other in found - {owner}:
                    entries[other].feeds.add(owner)
            elif found:
                source[node] = last = max(found)
                for other in found - {last}:
                    entries[other].joins.add(last)

    def time_nodes(self, device: torch.device, back: Callable[[], object]) -> dict[int, float]:
        """Seconds that the nodes of each owner took in `back`, by the owner's number."""
        spent: dict[int, float] = {}
        marks: dict[int, float] = {}

        def before(owner: int, _gradients: Any) -> None:
            _wait(device)
            marks[owner] = time.perf_counter()

        def after(owner: int, *_gradients: Any) -> None:
            _wait(device)
            spent[owner] = spent.get(owner, 0.0) + time.perf_counter() - marks[owner]

        for node, owner in self.owners.items():
            node.register_prehook(partial(before, owner))
            node.register_hook(partial(after, owner))
        back()
        return spent


def fastest(seconds: list[float]) -> float | None:
    """The least disturbed by other programs; None if nothing was timed."""
    return min(seconds, default=None)


def _age(node: Any) -> int:
    return int(node._sequence_nr())


def _back(scores: list[Tensor], weights: list[nn.Parameter]) -> object:
    """The gradients of the sum of all outputs; nothing is left in the parameters."""
    if not scores or not weights:
        return None
    ones = [torch.ones_like(score) for score in scores]
    return torch.autograd.grad(scores, weights, ones, allow_unused=True)


def _measure(device: torch.device, act: Callable[[], Any]) -> tuple[float, Any]:
    _wait(device)
    start = time.perf_counter()
    result = act()
    _wait(device)
    return time.perf_counter() - start, result


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # unlike its address, meta tensors have it too


def _is_one_layer(module: nn.Module) -> bool:
    """Whether its parameters are all its own, as those of a norm that also activates."""
    own = len(list(module.parameters(recurse=False)))
    return 0 < own == len(list(module.parameters()))
