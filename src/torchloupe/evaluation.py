"""Judging a model: every sample once, in eval mode, without gradients.

`evaluate` gives a few numbers and is what runs between epochs; `examine` gives all of them and
the predictions, once, at the end. Both work on any module and any iterable of batches.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from torchloupe.data.feed import Batch, until
from torchloupe.errors import DataError
from torchloupe.hardware.memory import Portions, in_portions
from torchloupe.hardware.precision import Precision
from torchloupe.hardware.world import ALONE, World
from torchloupe.model.metrics import Scores

Loss = Callable[[Tensor, Tensor], Tensor]

EVEN = 16  # forwards have a multiple of so many images: below, other kernels compute them
MOST = 256  # and not more: above, threads may divide a sum among themselves
SCORED_AT_ONCE = 4096  # images whose logits are scored together, and that a pile has room for
LARGE_IMAGE = 2**20  # values of an image from which on each goes through by itself


@dataclass(frozen=True)
class Examination:
    """All metrics of one split, and its predictions in the order of the scan."""

    metrics: dict[str, Any]
    rows: NDArray[np.int64]  # [N] rows of the samples table
    probabilities: NDArray[np.float32]  # [N, K]
    labels: NDArray[Any]  # [N] or [N, K]


class Pile:
    """Arrays of the same kind, put one on another in one block of memory.

    Kept one by one, the small ones that outlive their batch would lie between the large ones that
    don't, and glibc does not use such a gap for the next batch: memory would grow by every image.
    """

    def __init__(self, room: int = SCORED_AT_ONCE) -> None:
        """`room` for so many rows is made at first; it grows where more come."""
        self._room = room
        self._rows: NDArray[Any] | None = None
        self._count = 0

    def add(self, more: NDArray[Any]) -> None:
        """Copy in `more` [B, ...]."""
        end = self._count + len(more)
        if self._rows is None or end > len(self._rows):
            grown = np.empty((max(end, 2 * self._count, self._room), *more.shape[1:]), more.dtype)
            if self._rows is not None:
                grown[: self._count] = self._rows[: self._count]
            self._rows = grown
        self._rows[self._count : end] = more
        self._count = end

    def array(self) -> NDArray[Any]:
        """All that was added [N, ...]; of nothing, an array [0]."""
        return np.empty(0) if self._rows is None else self._rows[: self._count]


@contextmanager
def judging(model: nn.Module) -> Iterator[None]:
    """Eval mode and inference mode inside; every module's own mode is put back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes:
            module.training = training


def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    loss: Loss | None = None,
    precision: Precision | None = None,
    multi_label: bool = False,
    stop: Callable[[], bool] = lambda: False,
    world: World = ALONE,
) -> dict[str, float] | None:
    """Mean `loss` and `accuracy` over all samples; None when `stop()` cut it short.

    With several labels an image, accuracy is the share of images whose labels are all right.
    Sums stay on the device; the host waits once, at the end. Each rank of `world` brings batches of
    its own, and all get the numbers of all. Raises DataError for no samples.
    """
    loss_sum: Tensor | float = 0.0
    correct: Tensor | int = 0
    count, portions = 0, Portions()
    with judging(model):
        for batch in until(stop, batches):
            logits = forward(model, batch.images, precision, portions)
            if loss is not None:
                loss_sum = loss_sum + loss(logits, batch.labels).float() * len(logits)
            correct = correct + is_correct(logits, batch.labels, multi_label).sum()
            count += len(logits)
    sums = [float(loss_sum), float(correct), float(count), float(stop())]  # counts stay exact
    loss_total, correct_total, count_total, cuts = world.total(sums)
    if cuts:
        return None
    if not count_total:
        raise DataError("there is nothing to evaluate: the split has no images", "give more images")
    values = {"accuracy": correct_total / count_total}
    return ({"loss": loss_total / count_total} if loss is not None else {}) | values


def examine(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    class_names: Sequence[str],
    multi_label: bool = False,
    loss: Loss | None = None,
    precision: Precision | None = None,
    world: World = ALONE,
) -> Examination:
    """Every metric of `Scores`, the mean loss, and each sample's probabilities.

    Each rank of `world` brings batches of its own; all get what is said of all samples.
    """
    device = next(model.parameters()).device
    logits_seen, labels_seen, rows_seen = Pile(), Pile(), Pile()
    losses: list[float] = []
    portions = Portions()
    with judging(model):
        for batch in batches:
            logits = forward(model, batch.images, precision, portions)
            losses.append(0.0 if loss is None else float(loss(logits, batch.labels)) * len(logits))
            logits_seen.add(logits.cpu().numpy())
            labels_seen.add(batch.labels.cpu().numpy())
            rows_seen.add(np.asarray(batch.rows))
    own = (logits_seen.array(), labels_seen.array(), rows_seen.array(), losses)
    seen = [rank for rank in world.gather(own) if len(rank[2])]
    if not seen:
        raise DataError("there is nothing to evaluate: the split has no images", "give more images")
    found, labels, rows = (np.concatenate([rank[k] for rank in seen]) for k in range(3))
    scores = Scores(class_names, multi_label=multi_label, device=device)
    for start in range(0, len(rows), SCORED_AT_ONCE):
        part = slice(start, start + SCORED_AT_ONCE)
        scores.update(torch.from_numpy(found[part]), torch.from_numpy(labels[part]))
    metrics = scores.result()
    if loss is not None:
        values = (value for rank in seen for value in rank[3])
        metrics = {"loss": sum(values) / metrics["count"], **metrics}
    probabilities = to_probabilities(torch.from_numpy(found), multi_label).numpy()
    places = np.argsort(rows, kind="stable") if world.size > 1 else np.arange(len(rows))
    return Examination(metrics, rows[places], probabilities[places], labels[places])


def forward(
    model: nn.Module,
    images: Tensor,
    precision: Precision | None = None,
    portions: Portions | None = None,
) -> Tensor:
    """Logits [B, K] in float32, whatever format the forward ran in.

    Which kernels compute a batch depends on how many images it has, and with them the last bits.
    So batches are filled up to a multiple of EVEN and go through in pieces of up to MOST, large
    images one by one: an image gets the same logits alone, in a full batch, and in what is left
    over at the end. On which CPUs that was found to be needed stands in docs/LOG.md.
    Where memory runs out the images go through in pieces, which `portions` remembers.
    """
    portions = portions or Portions()
    at_once = 1 if images[0].numel() >= LARGE_IMAGE else MOST
    portions.most = min(portions.most or at_once, at_once)

    def run(span: slice) -> Tensor:
        piece = images[span]
        with nullcontext() if precision is None else precision.autocast():
            logits: Tensor = model(piece if portions.most == 1 else _fill_up(piece))
        return logits[: len(piece)].float()

    pieces = list(in_portions(len(images), portions, run))
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _fill_up(images: Tensor) -> Tensor:
    """`images` with its last one repeated, up to a multiple of EVEN."""
    missing = -len(images) % EVEN
    if not missing:
        return images
    filled = torch.cat([images, images[-1:].expand(missing, *images.shape[1:])])
    if images.ndim == 4 and images.is_contiguous(memory_format=torch.channels_last):
        return filled.contiguous(memory_format=torch.channels_last)
    return filled


def to_probabilities(logits: Tensor, multi_label: bool) -> Tensor:
    """Probabilities [B, K]: softmax over classes, or a sigmoid each for several labels."""
    return logits.sigmoid() if multi_label else logits.softmax(dim=1)


def is_correct(logits: Tensor, labels: Tensor, multi_label: bool = False) -> Tensor:
    """Which samples are right [B]: the largest logit at the label [B] (or at the largest of soft
    labels [B, K]), or, with several labels an image, every label on its side of 0.
    """
    if multi_label:
        return ((logits > 0) == (labels > 0.5)).all(dim=1)
    return logits.argmax(dim=1) == (labels if labels.ndim == 1 else labels.argmax(dim=1))
