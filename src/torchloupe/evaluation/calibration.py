"""How far confidences can be believed: temperature, calibration errors, coverage.

Plain functions of logits or probabilities and labels, all in numpy, all in float64.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.errors import DataError

BINS = 15
IMAGES_AT_ONCE = 8192  # in float64 together
HOTTEST = 100.0  # temperatures are sought from 1 / HOTTEST to HOTTEST
_PRECISION = 1e-7  # of the logarithm of a temperature

Floats = NDArray[np.float64]


def probabilities_of(
    logits: NDArray[Any], temperature: float = 1.0, *, multi_label: bool = False
) -> Floats:
    """Probabilities [N, K] of logits [N, K] divided by `temperature`."""
    scaled = np.asarray(logits, np.float64) / temperature
    return _sigmoid(scaled) if multi_label else np.exp(_log_softmax(scaled))


def nll_of_images(logits: NDArray[Any], labels: NDArray[Any], temperature: float = 1.0) -> Floats:
    """The negative log-likelihood of each image [N], in nats.

    `labels` [N] are class numbers, or [N, K] of 0 and 1 where an image may have several labels;
    then it is the mean over the classes. `logits` [N, K] may be log-probabilities.
    """
    if len(logits) > IMAGES_AT_ONCE:
        starts = range(0, len(logits), IMAGES_AT_ONCE)
        parts = [slice(start, start + IMAGES_AT_ONCE) for start in starts]
        return np.concatenate([nll_of_images(logits[p], labels[p], temperature) for p in parts])
    scaled = np.asarray(logits, np.float64) / temperature
    if labels.ndim == 2:
        return np.asarray(np.logaddexp(0, np.where(labels > 0, -scaled, scaled)).mean(axis=1))
    return np.asarray(-_log_softmax(scaled)[np.arange(len(labels)), labels])


def brier_of_images(probabilities: NDArray[Any], labels: NDArray[Any]) -> Floats:
    """The Brier score of each image [N]: Brier 1950, the sum over the classes of (p - y)^2.

    From 0 to 2. Where an image may have several labels (`labels` [N, K]) it is the mean over the
    classes, from 0 to 1.
    """
    p = np.asarray(probabilities, np.float64)
    if labels.ndim == 2:
        return np.asarray(((p - labels) ** 2).mean(axis=1))
    at_label = p[np.arange(len(p)), labels]
    return np.asarray((p**2).sum(axis=1) - 2 * at_label + 1)


def fit_temperature(
    logits: NDArray[Any], labels: NDArray[Any], pseudo_images: float = 1.0
) -> float:
    """The temperature of `logits` [N, K] with the smallest mean NLL of `labels`; 1 for no images.

    Guo et al. 2017, "On calibration of modern neural networks", section 4.2; with several labels
    an image, one temperature for all sigmoids. The NLL is convex in 1 / temperature, so there is
    one minimum, where its derivative is 0.

    Where every image is right, the smallest NLL is at temperature 0, which would claim certainty.
    So labels count as if `pseudo_images` more images had been seen whose label could be any class
    (Platt 1999 smooths labels for the same reason): with 100 right images, confidences end near
    1 - 1/100. The range ends at 1 / HOTTEST and HOTTEST.
    """
    if not len(logits):
        return 1.0
    z = np.asarray(logits, np.float64)
    if not np.isfinite(z).all():
        raise DataError("logits are not finite", "take an earlier checkpoint")
    low, high = -np.log(HOTTEST), np.log(HOTTEST)  # of log(1 / temperature)
    target = _target_of(z, labels, pseudo_images / (len(z) + pseudo_images))
    at_low, at_high = (_slope(z, target, float(np.exp(end))) for end in (low, high))
    if at_low >= 0:
        return HOTTEST
    if at_high <= 0:
        return 1 / HOTTEST
    while high - low > _PRECISION:  # the Illinois variant of regula falsi
        middle = low - at_low * (high - low) / (at_high - at_low)
        middle = min(max(middle, low + _PRECISION / 4), high - _PRECISION / 4)
        slope = _slope(z, target, float(np.exp(middle)))
        if slope < 0:
            low, at_low, at_high = middle, slope, at_high / 2
        elif slope > 0:
            high, at_high, at_low = middle, slope, at_low / 2
        else:
            low = high = middle
    return float(np.exp(-(low + high) / 2))


def _target_of(logits: Floats, labels: NDArray[Any], smoothing: float) -> tuple[float, bool]:
    """The mean logit at the labels, smoothed, and whether an image may have several labels."""
    if labels.ndim == 2:
        smooth = (1 - smoothing) * labels + smoothing / 2
        return float((smooth * logits).mean()), True
    at_label = float(logits[np.arange(len(labels)), labels].mean())
    return (1 - smoothing) * at_label + smoothing * float(logits.mean()), False


def _slope(logits: Floats, target: tuple[float, bool], inverse: float) -> float:
    """The derivative of the mean NLL by 1 / temperature at `inverse`."""
    at_label, several = target
    scaled = logits * inverse
    if several:
        return float((_sigmoid(scaled) * logits).mean()) - at_label
    return float((np.exp(_log_softmax(scaled)) * logits).sum(axis=1).mean()) - at_label


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(np.exp(-np.logaddexp(0, -logits)))


@dataclass(frozen=True)
class ReliabilityTable:
    """Bins of confidence, the lowest first; empty bins are left out. Arrays [B]."""

    low: Floats  # edges of the bin
    high: Floats
    confidence: Floats  # the mean of the confidences in it
    accuracy: Floats  # the share of them that is right
    count: NDArray[np.int64]

    @property
    def error(self) -> float:
        """The expected calibration error: Guo et al. 2017, equation 3."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float((gaps * self.count).sum() / self.count.sum())


def make_reliability_table(
    confidences: NDArray[Any],
    right: NDArray[Any],
    bins: int = BINS,
    *,
    adaptive: bool = False,
) -> ReliabilityTable:
    """Confidences [N] in 0..1 and whether they were right [N], in bins.

    Bins have equal width, or with `adaptive` equally many predictions (Nguyen and O'Connor 2015;
    fewer bins where confidences are equal). Raises DataError for no predictions.
    """
    sure, truth = np.asarray(confidences, np.float64), np.asarray(right, np.float64)
    if not len(sure):
        raise DataError("there is no prediction to calibrate", "give at least one image")
    edges = np.linspace(0, 1, bins + 1)
    if adaptive:
        edges = np.unique(np.quantile(sure, edges))
        edges = edges if len(edges) > 1 else np.array([edges[0], edges[0]])
    # A confidence at an edge belongs to the bin above it, as k / bins does in floating point.
    places = (
        np.searchsorted(edges[1:-1], sure, "right")
        if adaptive
        else np.clip((sure * bins).astype(np.int64), 0, bins - 1)
    )
    count = np.bincount(places, minlength=len(edges) - 1)
    there = count > 0
    confidence, accuracy = (
        np.bincount(places, weights=part, minlength=len(edges) - 1)[there] / count[there]
        for part in (sure, truth)
    )
    return ReliabilityTable(edges[:-1][there], edges[1:][there], confidence, accuracy, count[there])


def trace_coverage(confidences: NDArray[Any], right: NDArray[Any]) -> tuple[Floats, Floats, Floats]:
    """Thresholds, coverage and accuracy [T] where only predictions at or above one are taken.

    One row for each distinct confidence, the highest first; coverage is the share of predictions
    taken. The last row takes all. Raises DataError for no predictions.
    """
    sure, truth = np.asarray(confidences, np.float64), np.asarray(right, np.float64)
    if not len(sure):
        raise DataError("there is no prediction to cover", "give at least one image")
    order = np.argsort(-sure, kind="stable")
    ranked = sure[order]
    last = np.append(ranked[1:] != ranked[:-1], True)
    taken = np.arange(1, len(sure) + 1)[last]
    return ranked[last], taken / len(sure), truth[order].cumsum()[last] / taken


def describe_calibration(
    logits: NDArray[Any], labels: NDArray[Any], temperature: float = 1.0
) -> dict[str, float]:
    """`ece`, `ece_adaptive`, `nll` and `brier` of `logits` [N, K] at `temperature`.

    The confidence of an image is the probability of its most likely class; with several labels
    (`labels` [N, K]) each probability counts as one prediction.
    """
    multi_label = labels.ndim == 2
    sure, nll, brier = [], [], []
    for start in range(0, len(logits), IMAGES_AT_ONCE):
        part = slice(start, start + IMAGES_AT_ONCE)
        p = probabilities_of(logits[part], temperature, multi_label=multi_label)
        sure.append(p.ravel() if multi_label else p.max(axis=1))
        nll.append(nll_of_images(logits[part], labels[part], temperature))
        brier.append(brier_of_images(p, labels[part]))
    confidences = np.concatenate(sure)
    right = labels.ravel() if multi_label else logits.argmax(axis=1) == labels
    return {
        "ece": make_reliability_table(confidences, right).error,
        "ece_adaptive": make_reliability_table(confidences, right, adaptive=True).error,
        "nll": float(np.concatenate(nll).mean()),
        "brier": float(np.concatenate(brier).mean()),
    }
