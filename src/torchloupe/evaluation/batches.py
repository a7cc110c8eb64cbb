"""Any iterable of batches as the evaluation takes them: those of a scan, or of a DataLoader."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torchloupe.data.feeds.feed import Batch
from torchloupe.errors import UsageError, printable


def as_batches(batches: Iterable[Any], model: nn.Module) -> Iterator[Batch]:
    """Each batch on the device of `model`: a Batch as it is, or a pair (images, labels).

    Images are what the model takes, [B, C, H, W]; labels are class numbers [B], or a number for
    each class [B, K]. Raises UsageError for anything else.
    """
    parameter = next(model.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    done = 0
    for batch in batches:
        made = batch if isinstance(batch, Batch) else _from_pair(batch, device, done)
        done += len(made)
        yield made


def _from_pair(batch: Any, device: torch.device, done: int) -> Batch:
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise UsageError(
            f"a batch is a {printable(type(batch).__name__)}; wanted a pair (images, labels)",
            "give a DataLoader over (image, label) samples, or a scan of torchloupe's data",
        )
    images, labels = batch
    if not isinstance(images, Tensor) or not isinstance(labels, Tensor):
        kinds = " and ".join(printable(type(part).__name__) for part in (images, labels))
        raise UsageError(
            f"images and labels of a batch are {kinds}; wanted tensors",
            "let the Dataset give tensors (torchvision's ToTensor), and numbers as labels",
        )
    if len(images) != len(labels):
        raise UsageError(
            f"a batch has {len(images)} images and {len(labels)} labels",
            "each image needs one label, or one row of labels",
        )
    rows = np.arange(done, done + len(images), dtype=np.int64)
    return Batch(images.to(device), labels.to(device), rows)
