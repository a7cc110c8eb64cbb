"""Evaluation of a model: every sample once, in eval mode, without gradients.

`evaluate` returns loss and accuracy and runs between epochs. At the end `collect` keeps what the
model gave for every image, and `measure` makes all metrics of it.
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
from torchloupe.errors import DataError, NumericError
from torchloupe.evaluation.batches import as_batches
from torchloupe.evaluation.certainty import measure_certainty
from torchloupe.evaluation.inference import eval_mode, forward, loss_in_eval_mode, to_probabilities
from torchloupe.evaluation.metrics import Scores
from torchloupe.evaluation.rows import SCORED_AT_ONCE, RowBuffer
from torchloupe.evaluation.views import forward_views
from torchloupe.hardware.memory import MicroBatchLimit
from torchloupe.hardware.precision import Precision
from torchloupe.hardware.step import LossFunction
from torchloupe.model.shares import amount_of, weighed
from torchloupe.units import plural


@dataclass(frozen=True)
class Outputs:
    """What a model gave for every image of a split, in the order of the scan."""

    rows: NDArray[np.int64]  # [N] rows of the samples table
    logits: NDArray[np.float32]  # [N, K]
    labels: NDArray[np.int64]  # class numbers [N]; 0 or 1 [N, K] with several labels an image
    loss: float | None = None  # the mean of the loss of the training

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several labels."""
        return self.labels.ndim == 2

    @property
    def predictions(self) -> NDArray[np.int64]:
        """Class numbers [N], or 0 and 1 [N, K]: of the logits, so that no temperature counts."""
        found = self.logits > 0 if self.multi_label else self.logits.argmax(axis=1)
        return np.asarray(found, np.int64)

    def probabilities(self, temperature: float = 1.0) -> NDArray[np.float32]:
        """Probabilities [N, K]."""
        logits = torch.from_numpy(self.logits)
        found: NDArray[np.float32] = to_probabilities(logits, self.multi_label, temperature).numpy()
        return found


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
    weight_sum: Tensor | float = 0.0
    correct: Tensor | int = 0
    count, micro_limit = 0, MicroBatchLimit()
    with eval_mode(model), loss_in_eval_mode(loss):
        for batch in until(stop, as_batches(batches, model)):
            logits = forward(model, batch.images, precision, micro_limit)
            if loss is not None:
                value, amount = counted(loss, logits, batch.labels)
                loss_sum, weight_sum = loss_sum + value, weight_sum + amount
            correct = correct + is_correct(logits, batch.labels, multi_label).sum()
            count += len(logits)
    # Counts stay exact.
    sums = [float(loss_sum), float(weight_sum), float(correct), float(count), float(stop())]
    loss_total, weight_total, correct_total, count_total, cuts = world.total(sums)
    if cuts:
        return None
    if not count_total:
        raise DataError("there is nothing to evaluate: the split has no images", "give more images")
    values = {"accuracy": correct_total / count_total}
    return ({"loss": loss_total / (weight_total or 1)} if loss is not None else {}) | values


def counted(loss: LossFunction, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | int]:
    """The loss of a batch times what it counts for in the mean, and that."""
    amount = amount_of(loss, labels)
    value = loss(logits, labels).float()
    return weighed(value, len(logits) if amount is None else amount), (
        len(logits) if amount is None else amount
    )


def collect(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    multi_label: bool = False,
    loss: LossFunction | None = None,
    precision: Precision | None = None,
    views: str = "one",
    world: World = ALONE,
) -> Outputs:
    """What `model` gives for every image of `batches`, and the mean loss.

    With `views` (evaluation/views.py) the logits are means over several views of each image. Each
    rank of `world` brings its own batches; all get the outputs of all. DataError for no images.
    """
    logits_seen, labels_seen, rows_seen = RowBuffer(), RowBuffer(), RowBuffer()
    losses: list[tuple[float, float]] = []
    micro_limit = MicroBatchLimit()
    with eval_mode(model), loss_in_eval_mode(loss):
        for batch in batches:
            logits = forward_views(model, batch.images, views, precision, micro_limit)
            if loss is not None:
                value, amount = counted(loss, logits, batch.labels)
                losses.append((float(value), float(amount)))
            given = logits.cpu().numpy()
            if not np.isfinite(given).all():
                _refuse_odd_images(batch)
            logits_seen.add(given)
            labels_seen.add(batch.labels.cpu().numpy())
            rows_seen.add(np.asarray(batch.rows))
    own = (logits_seen.array(), labels_seen.array(), rows_seen.array(), losses)
    seen = [rank for rank in world.gather(own) if len(rank[2])]
    if not seen:
        raise DataError("there is nothing to evaluate: the split has no images", "give more images")
    given, labels, rows = (np.concatenate([rank[k] for rank in seen]) for k in range(3))
    if multi_label:
        labels = (labels > 0.5).astype(np.int64)
    elif labels.ndim == 2:
        labels = labels.argmax(axis=1)
    places = np.argsort(rows, kind="stable") if world.size > 1 else np.arange(len(rows))
    total, weight = (sum(pair[k] for rank in seen for pair in rank[3]) for k in range(2))
    return Outputs(
        rows[places],
        given[places],
        labels[places].astype(np.int64),
        None if loss is None else total / (weight or 1),
    )


def _refuse_odd_images(batch: Batch) -> None:
    """NumericError that names images with NaN or infinity in them, as the reason of such logits."""
    odd = ~torch.isfinite(batch.images).flatten(1).all(dim=1)
    if bool(odd.any()):
        rows = np.asarray(batch.rows)[odd.cpu().numpy()].tolist()
        has = "has NaN or infinity in it: row" if len(rows) == 1 else "have NaN or infinity: rows"
        raise NumericError(
            f"{plural(len(rows), 'image')} of a batch {has} {', '.join(map(str, rows[:8]))}",
            "mend these samples, or leave them out",
        )


def measure(
    outputs: Outputs, class_names: Sequence[str], temperature: float = 1.0
) -> dict[str, Any]:
    """All metrics of `outputs`, for metrics.json: those of `Scores` and `measure_certainty`.

    Probabilities are those at `temperature`. Raises NumericError for logits that are not finite.
    """
    scores = Scores(class_names, multi_label=outputs.multi_label)
    for start in range(0, len(outputs.rows), SCORED_AT_ONCE):
        part = slice(start, start + SCORED_AT_ONCE)
        labels = torch.from_numpy(outputs.labels[part])
        scores.update(torch.from_numpy(outputs.logits[part]), labels)
    metrics = scores.result()
    certainty = measure_certainty(
        outputs.logits,
        outputs.labels,
        outputs.predictions,
        outputs.probabilities(temperature),
        temperature,
    )
    for name, intervals in zip(metrics["per_class"], certainty.pop("per_class"), strict=True):
        metrics["per_class"][name] |= intervals
    loss = {} if outputs.loss is None else {"loss": outputs.loss}
    large = {key: metrics.pop(key) for key in ("count", "per_class", "confusion")}
    return {**loss, **metrics, **certainty, **large}


def is_correct(logits: Tensor, labels: Tensor, multi_label: bool = False) -> Tensor:
    """Which samples are right [B]: the largest logit at the label [B] (or at the largest of soft
    labels [B, K]), or, with several labels an image, every label on its side of 0.
    """
    if multi_label:
        return ((logits > 0) == (labels > 0.5)).all(dim=1)
    return logits.argmax(dim=1) == (labels if labels.ndim == 1 else labels.argmax(dim=1))
