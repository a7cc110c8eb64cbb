"""The memory of a training step: counted on a few images, extrapolated to any number.

Every tensor of a step is tracked from allocation to release. Weights, gradients and optimizer state
don't depend on the batch size; activations, and with them the peaks of forward and backward, grow
linearly with it.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from torchloupe.hardware.precision import Precision
from torchloupe.lens.trace import is_dense

PHASES = ("forward", "backward", "step")


@dataclass(frozen=True)
class ModuleBytes:
    """What belongs to one module, without the modules inside it."""

    name: str
    weights: int
    gradients: int
    optimizer: int
    activations: int


@dataclass(frozen=True)
class Footprint:
    """Bytes of one training step with `images` images."""

    images: int
    weights: int  # parameters and buffers
    gradients: int
    optimizer: int
    batch: int  # images and labels
    activations: int  # what forward leaves for backward
    peaks: Mapping[str, int]  # the most at once in forward, backward and step
    modules: tuple[ModuleBytes, ...] = ()

    @property
    def peak(self) -> int:
        """The most at any time."""
        return max(self.peaks.values())


def measure_footprint(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    precision: Precision,
) -> Footprint:
    """Count one real step on these images; the second, since the first allocates the state.

    Changes the weights: give it a copy of the model. On a CUDA device the peaks are those of
    torch's allocator, which also sees what libraries take for themselves.
    """
    model.train()
    account = _Account(model, [images, labels], optimizer)
    for is_counted in (False, True):
        with account.counting() if is_counted else account.resting():
            with account.phase("forward"), precision.autocast():
                value = loss(model(images), labels)
            if is_counted:
                account.settle_activations()
            with account.phase("backward"):
                precision.backward(value)
            gradients = [p.grad for p in model.parameters() if p.grad is not None]
            gradient_bytes = sum(map(_bytes_of, gradients))
            del gradients
            with account.phase("step"):
                precision.step(optimizer, value.detach())
            del value
    return account.tell(len(images), gradient_bytes)


def extend(small: Footprint, large: Footprint, images: int) -> Footprint:
    """The footprint with `images` images, in a line through two that were measured."""

    def at(first: int, second: int) -> int:
        slope = (second - first) / (large.images - small.images)
        return max(0, round(first + slope * (images - small.images)))

    pairs = zip(small.modules, large.modules, strict=True)
    return Footprint(
        images=images,
        weights=large.weights,
        gradients=large.gradients,
        optimizer=large.optimizer,
        batch=at(small.batch, large.batch),
        activations=at(small.activations, large.activations),
        peaks={phase: at(small.peaks[phase], large.peaks[phase]) for phase in PHASES},
        modules=tuple(
            ModuleBytes(
                *(two.name, two.weights, two.gradients, two.optimizer),
                at(one.activations, two.activations),
            )
            for one, two in pairs
        ),
    )


def predict_footprint(
    measure: Callable[[int], Footprint], images: int
) -> tuple[Footprint, Callable[[int], int]]:
    """The footprint with `images` images, from two measured ones with fewer of them.

    Also returns a function from free bytes to the images that fit. `measure` counts one step.
    """
    count = max(2, images // 8)
    small, large = measure(count), measure(max(count + 2, images // 4))
    return extend(small, large, images), lambda free_bytes: most_images(small, large, free_bytes)


def most_images(small: Footprint, large: Footprint, free_bytes: int) -> int:
    """The batch size that fits into `free_bytes`, by the same linear model; 0 for none."""
    found = []
    for phase in PHASES:
        first, second = small.peaks[phase], large.peaks[phase]
        slope = (second - first) / (large.images - small.images)
        fixed = first - slope * small.images
        if fixed > free_bytes:
            return 0
        if slope > 0:
            found.append(int((free_bytes - fixed) / slope))
    return min(found, default=2**31)


@dataclass
class _Held:
    """A storage that is alive: its size, and the module that made it in forward."""

    size: int
    owner: str | None


class _Account(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows all storages of one step on the model's device."""

    def __init__(
        self, model: nn.Module, given: Sequence[Tensor], optimizer: torch.optim.Optimizer
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.model = model
        self.optimizer = optimizer
        self.device = next(model.parameters()).device
        self.peaks = dict.fromkeys(PHASES, 0)
        self.activations: dict[str, int] = {}
        self.given = list(given)
        self._held: dict[int, _Held] = {}
        self._now = 0
        self._phase = ""
        self._path: list[str] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not marked for torch's compiler, which would be imported for that (system/compiler)."""
        return False

    @contextmanager
    def resting(self) -> Iterator[None]:
        """A context in which nothing is counted."""
        yield

    @contextmanager
    def counting(self) -> Iterator[None]:
        """A context in which every tensor made on the device is followed."""
        state = (value for values in self.optimizer.state.values() for value in values.values())
        for tensor in (*self.given, *self.model.parameters(), *self.model.buffers(), *state):
            if isinstance(tensor, Tensor):
                self._hold(tensor)
        hooks = []
        for name, module in self.model.named_modules():
            hooks.append(module.register_forward_pre_hook(self._enter(name)))
            hooks.append(module.register_forward_hook(self._leave, always_call=True))
        try:
            with self:
                yield
        finally:
            for hook in hooks:
                hook.remove()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A context in which peaks are those of this phase."""
        is_cuda = self.device.type == "cuda"
        self._phase = name
        self.peaks[name] = self._now
        before = 0
        if is_cuda:
            torch.cuda.synchronize(self.device)
            before = torch.cuda.memory_allocated(self.device) - self._now
            torch.cuda.reset_peak_memory_stats(self.device)
        yield
        if is_cuda:
            torch.cuda.synchronize(self.device)
            self.peaks[name] = torch.cuda.max_memory_allocated(self.device) - before

    def settle_activations(self) -> None:
        """What forward made and is alive now is what backward needs."""
        for held in self._held.values():
            if held.owner is not None:
                self.activations[held.owner] = self.activations.get(held.owner, 0) + held.size

    def tell(self, images: int, gradients: int) -> Footprint:
        """All numbers, once a step was counted."""
        modules, state = [], state_bytes(self.model, self.optimizer)
        for name, module in self.model.named_modules():
            own = list(module.parameters(recurse=False))
            tensors = [*own, *module.buffers(recurse=False)]
            trained = [p for p in own if p.requires_grad]
            row = ModuleBytes(
                name,
                sum(map(_bytes_of, tensors)),
                sum(map(_bytes_of, trained)),
                state.get(name, 0),
                self.activations.get(name, 0),
            )
            if any((row.weights, row.activations)):
                modules.append(row)
        everything = [*self.model.parameters(), *self.model.buffers()]
        return Footprint(
            images=images,
            weights=sum(map(_bytes_of, everything)),
            gradients=gradients,
            optimizer=sum(state.values()),
            batch=sum(map(_bytes_of, self.given)),
            activations=sum(self.activations.values()),
            peaks=dict(self.peaks),
            modules=tuple(modules),
        )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._hold(leaf, self._path[-1] if self._path else "")
        return made

    def _hold(self, tensor: Tensor, owner: str | None = None) -> None:
        if tensor.device != self.device or not is_dense(tensor):  # others are made of dense ones
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._held:
            return
        is_kept = owner is not None and self._phase == "forward"
        self._held[key] = _Held(storage.nbytes(), owner if is_kept else None)
        self._now += storage.nbytes()
        if self._phase:
            self.peaks[self._phase] = max(self.peaks[self._phase], self._now)
        weakref.finalize(storage, self._release, key)

    def _release(self, key: int) -> None:
        self._now -= self._held.pop(key).size

    def _enter(self, name: str) -> Callable[..., None]:
        def enter(_module: nn.Module, _inputs: Any) -> None:
            self._path.append(name)

        return enter

    def _leave(self, _module: nn.Module, _inputs: Any, _output: Any) -> None:
        self._path.pop()


def state_bytes(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, int]:
    """What the optimizer keeps on the model's device for each module's own parameters, by name."""
    found: dict[str, int] = {}
    seen: set[Tensor] = set()  # a weight that two modules share counts once
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            if parameter in seen:
                continue
            seen.add(parameter)
            for value in optimizer.state.get(parameter, {}).values():
                if isinstance(value, Tensor) and value.device == parameter.device:
                    found[name] = found.get(name, 0) + _bytes_of(value)
    return found


def _bytes_of(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
