"""What the outputs of a model are, in training and in eval mode: probabilities or raw numbers."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from torchloupe.lens.trace import unchanged, uncompiled

NEAR_ONE = 1e-3  # by which a row of probabilities may miss a sum of 1


def find_ending(model: nn.Module, images: Tensor, *, training: bool) -> str:
    """ "softmax" where each row of the outputs [B, K] is non-negative and sums to one, "sigmoid"
    where they are those of a sigmoid; else empty.

    A pair (0, p), as `take_logits` makes it of one output, counts as p.
    """
    with unchanged(model, images.device), uncompiled(model), torch.no_grad(), _Sigmoids() as found:
        model.train(training)
        outputs = model(images.clone())
    if not isinstance(outputs, Tensor) or outputs.ndim != 2 or not len(outputs):
        return ""
    if found.last is not None and any(_are_same(found.last, part) for part in _parts_of(outputs)):
        return "sigmoid"
    sums = outputs.float().sum(dim=1)
    are_shares = outputs.shape[1] > 1 and bool((outputs >= 0).all())
    return "softmax" if are_shares and bool(((sums - 1).abs() < NEAR_ONE).all()) else ""


def _parts_of(outputs: Tensor) -> list[Tensor]:
    is_pair = outputs.shape[1] == 2 and bool((outputs[:, 0] == 0).all())
    return [outputs, outputs[:, 1]] if is_pair else [outputs]


def _are_same(one: Tensor, other: Tensor) -> bool:
    return one.numel() == other.numel() and torch.equal(one.flatten(), other.flatten())


class _Sigmoids(TorchFunctionMode):
    """Keeps the result of the last sigmoid that gives a number or a row per image."""

    def __init__(self) -> None:
        super().__init__()
        self.last: Tensor | None = None

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """The result of `func`, which torch hands over in place of calling it."""
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in ("sigmoid", "sigmoid_", "expit", "special_expit") and result.ndim <= 2:
            self.last = result.detach()
        return result
