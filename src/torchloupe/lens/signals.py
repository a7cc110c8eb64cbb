"""Statistics of each layer during training: activations, gradients, updates.

Memory is constant: moments are merged on the fly and no activation is kept. Only `read` waits for
the device. Training stays bit-equal.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from torchloupe.lens.anatomy import THE_MODEL
from torchloupe.lens.selection import closed_around, plain_model
from torchloupe.lens.watch import dense_tensors_in

MOST_NUMBERS = 2**18  # of one output that are looked at: its first images, one at least

_CHANNELS_SECOND = (_ConvNd, _NormBase, nn.GroupNorm)  # other layers have their units last


@dataclass
class _Moments:
    """Of everything a layer gave so far; the three tensors stay on its device."""

    count: int
    mean: Tensor
    variance: Tensor
    top: Tensor  # [units] the largest value each unit gave

    def merge(self, other: "_Moments") -> "_Moments":
        """Moments of both together (Chan, Golub, LeVeque 1979, equations 2.1)."""
        count = self.count + other.count
        share = other.count / count
        change = other.mean - self.mean
        variance = (
            self.variance * (1 - share) + other.variance * share + change**2 * share * (1 - share)
        )
        return _Moments(
            count, self.mean + change * share, variance, torch.maximum(self.top, other.top)
        )


class Signals:
    """Observes a model and its optimizer during chosen steps.

    Covers every layer with its own parameters. Of a layer in a compiled graph the activations
    can't be observed; its gradients and updates can.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self._moments: dict[str, _Moments] = {}
        self._steps: list[Tensor] = []  # norms of gradients, updates and weights [3, P]
        self._depth = 0  # of nested calls of the optimizer's step
        self._before: list[Tensor] = []  # the weights, and
        self._gradients = torch.zeros(0)  # their gradients' norms, while the optimizer steps
        self._owners: list[tuple[str, nn.Parameter]] = []
        self._layers: dict[str, nn.Module] = {}
        known: set[int] = set()
        for name, module in plain_model(model).named_modules():
            own = [p for p in module.parameters(recurse=False) if id(p) not in known]
            known.update(id(p) for p in own)
            self._owners += [(name, p) for p in own if p.requires_grad]
            if own and closed_around(model, name) is None:
                self._layers[name] = module

    def looking(self, wanted: bool = True) -> AbstractContextManager[None]:
        """Look at the forwards inside the block, and at the optimizer's step if it is inside.

        Costs one copy of the weights for the time of the optimizer's step.
        """
        return self._looking() if wanted else nullcontext()

    @contextmanager
    def _looking(self) -> Iterator[None]:
        handles: list[Any] = [
            layer.register_forward_hook(partial(self._look, name, _device_of(layer)))
            for name, layer in self._layers.items()
        ]
        self._depth = 0
        handles.append(self.optimizer.register_step_pre_hook(self._before_step))
        handles.append(self.optimizer.register_step_post_hook(self._after_step))
        try:
            yield
        finally:
            self._before = []
            for handle in handles:
                handle.remove()

    def read(self) -> dict[str, dict[str, float]]:
        """The statistics since the last `read`, by layer; empty if no step was observed.

        `mean` and `std` of the layer's output; `dead_fraction`, the fraction of its units
        (channels, features) that were never above 0, which a following ReLU zeroes;
        `gradient_norm` of its parameters as the optimizer took them, after clipping; and
        `update_ratio`, the norm of the update over the norm of the weights. Waits for the device
        once.
        """
        names, moments = list(self._moments), list(self._moments.values())
        columns = [
            torch.stack((m.mean, m.variance.sqrt(), (m.top <= 0).float().mean())) for m in moments
        ]
        steps = torch.stack(self._steps).mean(dim=0) if self._steps else None
        parts = [*columns, *([] if steps is None else [steps.flatten()])]
        self._moments, self._steps = {}, []
        if not parts:
            return {}
        device = parts[-1].device
        numbers = [float(f"{n:.6g}") for n in torch.cat([p.to(device) for p in parts]).tolist()]
        found: dict[str, dict[str, float]] = {
            name: dict(zip(("mean", "std", "dead_fraction"), numbers[3 * k :], strict=False))
            for k, name in enumerate(names)
        }
        if steps is not None:
            self._describe_step(found, numbers[3 * len(names) :])
        return {name or THE_MODEL: values for name, values in found.items()}

    def _describe_step(self, found: dict[str, dict[str, float]], norms: Sequence[float]) -> None:
        count = len(self._owners)
        squares: dict[str, list[float]] = {}
        for k, (name, _) in enumerate(self._owners):
            sums = squares.setdefault(name, [0.0, 0.0, 0.0])
            for kind in range(3):
                sums[kind] += norms[kind * count + k] ** 2
        for name, (gradient, update, weight) in squares.items():
            values = found.setdefault(name, {})
            values["gradient_norm"] = math.sqrt(gradient)
            values["update_ratio"] = math.sqrt(update / weight) if weight else math.nan

    @torch.no_grad()
    def _look(
        self, name: str, device: torch.device, layer: nn.Module, _inputs: Any, output: Any
    ) -> None:
        tensor = next(dense_tensors_in(output), None)
        if tensor is None or not tensor.is_floating_point() or not tensor.numel():
            return
        if tensor.device != device:  # another replica of DataParallel: one speaks for all
            return
        if tensor.ndim > 1:
            images = max(1, MOST_NUMBERS * len(tensor) // tensor.numel())
            tensor = tensor[:images]
        tensor = tensor.detach().float()
        units = 1 if isinstance(layer, _CHANNELS_SECOND) and tensor.ndim > 2 else tensor.ndim - 1
        rest = [side for side in range(tensor.ndim) if side != units]
        variance, mean = torch.var_mean(tensor, correction=0)
        moments = _Moments(
            tensor.numel(), mean, variance, tensor.amax(dim=rest) if rest else tensor
        )
        before = self._moments.get(name)
        if before is not None and before.top.shape == moments.top.shape:
            moments = before.merge(moments)
        self._moments[name] = moments

    @torch.no_grad()
    def _before_step(self, *_: Any) -> None:
        self._depth += 1
        if self._depth > 1:  # a subclass's step calls its parent's: torch runs the hooks of both
            return
        self._before = [p.detach().clone() for _, p in self._owners]
        self._gradients = _norms([p.grad for _, p in self._owners])

    @torch.no_grad()
    def _after_step(self, *_: Any) -> None:
        self._depth -= 1
        if self._depth:
            return
        pairs = zip(self._owners, self._before, strict=True)
        weights = _norms(self._before)
        updates = _norms([p.detach() - before for (_, p), before in pairs])
        self._before = []
        if self._owners:
            self._steps.append(torch.stack((self._gradients, updates, weights)))


def _device_of(layer: nn.Module) -> torch.device:
    return next(layer.parameters(recurse=False)).device


def _norms(tensors: Sequence[Tensor | None]) -> Tensor:
    """The norm of each tensor, in float32 [P]; 0 for a gradient that is not there."""
    norms = []
    for tensor in tensors:
        norm = torch.zeros(()) if tensor is None else torch.linalg.vector_norm(_as_floats(tensor))
        full = getattr(norm, "full_tensor", None)  # a shard of FSDP2: every rank does this
        norms.append(norm if full is None else full())
    device = next((norm.device for norm in norms if norm.device.type != "cpu"), None)
    return torch.stack([norm.to(device) if device else norm for norm in norms])


def _as_floats(tensor: Tensor) -> Tensor:
    """The numbers in float32; complex ones as the two that they are made of."""
    return (torch.view_as_real(tensor) if tensor.is_complex() else tensor).float()
