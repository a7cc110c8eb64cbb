"""What the checks of model, loss and optimizer work on: copies, and one call for the loss.

Nothing that a check does reaches the user's model, optimizer or generators: weights, BatchNorm
statistics and optimizer state of the originals are never written.
"""

import copy
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchloupe.lens.copies import copy_hook, deep_copy
from torchloupe.lens.watch import tensors_in
from torchloupe.model.losses import ROW_LOSSES, Loss
from torchloupe.model.wrapping import unwrap

LossFunction = Callable[[Any, Tensor], Tensor]
_AROUND = ("_orig_mod", "module")  # where torch.compile and parallel training keep the model


@dataclass(frozen=True, eq=False)
class Subject:
    """A model with some images and what trains it."""

    model: nn.Module
    loss: LossFunction
    images: Tensor  # [B, ...], 2 or more where there are
    labels: Tensor  # [B] class numbers, or [B, K]
    optimizer: Optimizer | None = None
    classes: int | None = None  # None: not known
    loss_name: str = ""  # of a loss of this package

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several labels."""
        return self.labels.ndim == 2 and self.labels.shape[1] > 1

    def copied(self) -> "Subject":
        """A subject whose model, optimizer and loss are copies, the optimizer's of that model.

        Raises what `copy.deepcopy` raises, and UsageError for torch.jit modules.
        """
        model, optimizer, loss = deep_copy((self.model, self.optimizer, self.loss), self.model)
        model = unwrap(model)  # compiled parts call no hooks
        for own, new in zip(self.model.parameters(), model.parameters(), strict=True):
            for hook in (own._backward_hooks or {}).values():  # copies have none
                new.register_hook(copy_hook(hook))  # type: ignore[no-untyped-call]
        return replace(self, model=model, optimizer=optimizer, loss=loss)

    def of_first(self, count: int) -> "Subject":
        """The same with its first `count` images."""
        return replace(self, images=self.images[:count], labels=self.labels[:count])

    def outputs(self, images: Tensor | None = None) -> Tensor:
        """What the model gives, as one tensor; with gradients where torch records them."""
        return as_tensor(self.model((self.images if images is None else images).clone()))

    def loss_of(self, outputs: Any, labels: Tensor | None = None) -> Tensor:
        """The loss (0-d) of `outputs`."""
        value = self.loss(outputs, self.labels if labels is None else labels)
        return value if value.ndim == 0 else value.mean()

    def forward(self) -> tuple[Tensor, Tensor]:
        """Outputs and loss of the images; a loss that takes no tuple or dict gets its tensor."""
        found = self.model(self.images.clone())  # which forward may change in place
        outputs = as_tensor(found)
        if found is outputs:
            return outputs, self.loss_of(outputs)
        try:
            return outputs, self.loss_of(found)
        except Exception:
            return outputs, self.loss_of(outputs)

    def of_tensors(self) -> "Subject":
        """A subject whose loss takes the logits alone, whatever the model gives.

        Call it on a copy: the model's mode and buffers change.
        """
        with torch.no_grad():
            found = self.model(self.images.clone())
        if isinstance(found, Tensor):
            return self
        loss = self.loss
        return replace(self, loss=lambda logits, labels: loss(_put_into(found, logits), labels))

    def backward(self) -> tuple[Tensor, Tensor]:
        """Outputs and loss of a forward and backward; gradients are those of this one alone."""
        self.model.zero_grad(set_to_none=True)
        outputs, value = self.forward()
        if value.requires_grad:
            value.backward()  # type: ignore[no-untyped-call]
        return outputs.detach(), value.detach()


def as_tensor(output: Any) -> Tensor:
    """The logits in what a model gives: `.logits`, "logits" of a dict, or the first tensor."""
    if isinstance(output, Tensor):
        return output
    named = output.get("logits") if isinstance(output, dict) else getattr(output, "logits", None)
    if isinstance(named, Tensor):
        return named
    tensors = list(tensors_in(output))
    if not tensors:
        raise TypeError(f"the model gives a {type(output).__name__} without a tensor")
    return tensors[0]


def _put_into(output: Any, logits: Tensor) -> Any:
    """`output` with other logits."""
    if isinstance(output, tuple) and not hasattr(output, "_fields"):
        return (logits, *output[1:])
    if isinstance(output, list):
        return [logits, *output[1:]]
    found = copy.copy(output)
    if isinstance(found, dict):
        found["logits"] = logits
    elif hasattr(output, "_replace"):
        found = output._replace(logits=logits)
    else:
        found.logits = logits
    return found


@contextmanager
def isolated(device: torch.device, seed: int = 0) -> Iterator[None]:
    """Inside, random numbers begin at `seed`; afterwards every generator is as it was.

    Warnings of the model's and the loss's code are not shown: the run itself shows them.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    is_cached = torch.is_autocast_cache_enabled()
    # A weight that autocast cast without gradients would be taken again by a forward with them.
    torch.set_autocast_cache_enabled(False)
    torch.clear_autocast_cache()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            torch.set_autocast_cache_enabled(is_cached)
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def make_callable(loss: Any) -> LossFunction:
    """A loss as (outputs, labels) -> tensor, whose targets have the form that torch's takes."""
    criterion = loss() if isinstance(loss, type) else loss
    if isinstance(criterion, Loss) or not isinstance(criterion, ROW_LOSSES):
        return criterion
    return RowLoss(criterion)


class RowLoss(nn.Module):
    """A loss whose target has the shape of the outputs: class numbers become rows for it."""

    def __init__(self, criterion: nn.Module) -> None:
        super().__init__()
        self.criterion = criterion

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The loss (0-d) of outputs [B], [B, 1] or [B, K]."""
        if outputs.shape == labels.shape:
            target = labels.to(outputs.dtype)
        elif outputs.numel() == labels.numel():  # one logit an image
            target = labels.reshape(outputs.shape).to(outputs.dtype)
        else:
            target = nn.functional.one_hot(labels.long(), outputs.shape[1]).to(outputs.dtype)
        found: Tensor = self.criterion(outputs, target)
        return found


def unwrapped(model: nn.Module) -> nn.Module:
    """The plain model within those of torch.compile and of parallel training."""
    kinds = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while isinstance(model, kinds) or type(model).__name__ == "OptimizedModule":
        model = next(model._modules[name] for name in _AROUND if name in model._modules)  # type: ignore[assignment]
    return model
