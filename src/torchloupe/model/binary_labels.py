"""The labels that a loss of one's own wants for one logit an image: class numbers, or floats.

In a loop written by hand they are what the dataset gives: `int` for losses that convert them,
floats of the logits' shape for those that pass them to torch's binary losses.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class LabelForm:
    """Which form of the labels a loss takes: the first that doesn't fail, then always that."""

    def __init__(self) -> None:
        self.chosen: int | None = None

    def call(
        self, criterion: Callable[[Tensor, Tensor], Tensor], logits: Tensor, forms: Sequence[Tensor]
    ) -> Tensor:
        """The loss of `logits` [B] or [B, 1] and the labels in one of `forms`, tried in order.

        Where it fails on all of them, the error is that of the first.
        """
        if self.chosen is not None:
            return criterion(logits, forms[self.chosen])
        first: Exception | None = None
        for number, labels in enumerate(forms):
            try:
                loss = criterion(logits, labels)
            except torch.OutOfMemoryError:
                raise
            except (RuntimeError, ValueError, IndexError, TypeError) as error:
                first = first or error
                continue
            self.chosen = number
            return loss
        assert first is not None
        raise first
