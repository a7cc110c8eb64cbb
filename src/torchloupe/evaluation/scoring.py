"""Evaluation of a model: every sample once, in eval mode, without gradients.

`evaluate` returns loss and accuracy and runs between epochs; `score` returns all metrics and the
predictions, once, at the end. Both take any module and any iterable of batches.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from torchloupe.data.feeds.feed import Batch, until
from torchloupe.distributed.world import ALONE, World
from torchloupe.errors import DataError
from torchloupe.evaluation.batches import as_batches
from torchloupe.evaluation.inference import eval_mode, forward, to_probabilities
from torchloupe.evaluation.metrics import Scores
from torchloupe.evaluation.rows import SCORED_AT_ONCE, RowBuffer
from torchloupe.hardware.memory import MicroBatchLimit
from torchloupe.hardware.precision import Precision
from torchloupe.hardware.step import LossFunction


@dataclass(frozen=True)
class Scored:
    """All metrics of a split, and its predictions in the order of the scan."""

    metrics: dict[str, Any]
    rows: NDArray[np.int64]  # [N] rows of the samples table
    probabilities: NDArray[np.float32]  # [N, K]
    labels: NDArray[Any]  # [N] or [N, K]


def evaluate(
    model: nn.Module,
    batches: Iterable[Batch] | Iterable[Sequence[Tensor]],
    *,
    loss: LossFunction | None = None,
    precision: Precision | None = None,
    multi_label: bool = False,
    stop: Callable[[], bool] = lambda: False,
    world: World = ALONE,
) -> dict[str, float] | None:
    """Mean `loss` and `accuracy` over all samples, in eval mode and without gradients.

    `batches` is a scan, or any iterable of (images [B, C, H, W], labels [B] or [B, K]), such as a
    DataLoader; they are moved to the model's device. With several labels an image, accuracy is the
    fraction of images whose labels are all right. Returns None when `stop()` cut it short.

    Sums stay on the device; the host waits once, at the end. Each rank of `world` brings its own
    batches, and all get the numbers of all. Raises DataError for no samples.
    """
    loss_sum: Tensor | float = 0.0
    correct: Tensor | int = 0
    count, micro_limit = 0, MicroBatchLimit()
    with eval_mode(model):
        for batch in until(stop, as_batches(batches, model)):
            logits = forward(model, batch.images, precision, micro_limit)
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


def score(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    class_names: Sequence[str],
    multi_label: bool = False,
    loss: LossFunction | None = None,
    precision: Precision | None = None,
    world: World = ALONE,
) -> Scored:
    """Every metric of `Scores`, the mean loss, and each sample's probabilities.

    Each rank of `world` brings its own batches; all get the metrics of all samples.
    """
    device = next(model.parameters()).device
    logits_seen, labels_seen, rows_seen = RowBuffer(), RowBuffer(), RowBuffer()
    losses: list[float] = []
    micro_limit = MicroBatchLimit()
    with eval_mode(model):
        for batch in batches:
            logits = forward(model, batch.images, precision, micro_limit)
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
    return Scored(metrics, rows[places], probabilities[places], labels[places])


def is_correct(logits: Tensor, labels: Tensor, multi_label: bool = False) -> Tensor:
    """Which samples are right [B]: the largest logit at the label [B] (or at the largest of soft
    labels [B, K]), or, with several labels an image, every label on its side of 0.
    """
    if multi_label:
        return ((logits > 0) == (labels > 0.5)).all(dim=1)
    return logits.argmax(dim=1) == (labels if labels.ndim == 1 else labels.argmax(dim=1))
