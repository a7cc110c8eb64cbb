"""How far the confidence of a model can be trusted, as charts."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.evaluation.intervals import wilson_interval
from torchloupe.trained.facts.predictions import Predictions

BINS = 15
MOST_POINTS = 200
Floats = NDArray[np.float64]
Chart = dict[str, Any]


def reliability_chart(found: Predictions, temperature: float) -> Chart | None:
    """Accuracy over confidence in bins, before and after calibration; None without probabilities.

    The probabilities of the table are calibrated with `temperature`; those from before are had
    from them, since p**T, scaled to a sum of 1, undoes the division of the logits by T.
    """
    if found.probabilities is None:
        return None
    after = _bins(*_answers(found, found.probabilities))
    series = [_line("as predicted", after)]
    if temperature != 1.0:
        before = _bins(*_answers(found, uncalibrated(found.probabilities, found, temperature)))
        series = [_line("before calibration", before), _line("after calibration", after)]
    return {
        "kind": "lines",
        "title": "accuracy over confidence, in bins",
        "diagonal": True,
        "x": {"label": "confidence", "unit": "%", "from": 0, "to": 1},
        "y": {"label": "accuracy", "unit": "%", "from": 0, "to": 1},
        "series": series,
    }


def uncalibrated(probabilities: Floats, found: Predictions, temperature: float) -> Floats:
    """The probabilities [N, K] from before they were calibrated with `temperature`."""
    tiny = np.finfo(np.float32).tiny
    p = probabilities.clip(tiny, 1)
    if found.multi_label:
        logits = np.log(p) - np.log((1 - probabilities).clip(tiny, 1))
        return np.asarray(1 / (1 + np.exp(-temperature * logits)))
    logits = temperature * np.log(p)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def _answers(found: Predictions, p: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Confidences and whether they were right: of each image, or of each label of each."""
    if found.multi_label:
        return p.ravel(), (found.labels > 0).ravel()
    return p.max(axis=1), found.right


def _bins(confidence: Floats, right: NDArray[np.bool_]) -> list[tuple[float, float, int, int]]:
    """(mean confidence, accuracy, right, count) of each bin that holds something."""
    place = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    found = []
    for number in range(BINS):
        inside = place == number
        count = int(inside.sum())
        if count:
            hits = int(right[inside].sum())
            found.append((float(confidence[inside].mean()), hits / count, hits, count))
    return found


def _line(name: str, bins: list[tuple[float, float, int, int]]) -> dict[str, Any]:
    intervals = [wilson_interval(hits, count) for _, _, hits, count in bins]
    return {
        "name": name,
        "x": [row[0] for row in bins],
        "y": [row[1] for row in bins],
        "low": [low for low, _ in intervals],
        "high": [high for _, high in intervals],
        "notes": [f"{count:,} answers" for *_, count in bins],
    }


def coverage_chart(found: Predictions, threshold: float | None = None) -> Chart:
    """Accuracy of the surest part of the images, over how large that part is.

    A line marks the part that reaches the run's `threshold`.
    """
    coverage, accuracy, least = cover(found)
    marks = []
    if threshold is not None:
        share = float((found.confidence >= threshold).mean())
        marks.append({"x": share, "label": f"threshold {threshold:.3g}"})
    return {
        "marks": marks,
        "kind": "lines",
        "title": "accuracy where only the surest images are answered",
        "x": {"label": "images answered", "unit": "%", "from": 0, "to": 1},
        "y": {"label": "accuracy of these", "unit": "%"},
        "series": [
            {
                "name": "accuracy",
                "x": coverage.tolist(),
                "y": accuracy.tolist(),
                "notes": [f"confidence {100 * value:.1f} % or more" for value in least],
            }
        ],
    }


def describe_threshold(found: Predictions, threshold: float | None) -> str:
    """What a run's threshold leaves of the images, in words; nothing where there is none."""
    if threshold is None:
        return ""
    sure = found.confidence >= threshold
    count, total = int(sure.sum()), len(found)
    words = f"{total - count:,} of {total:,} images are unsure: below the threshold {threshold:.3g}"
    if not count:
        return f"{words}."
    hits = int((found.right & sure).sum())
    low, high = wilson_interval(hits, count)
    return (
        f"{words}. Of the other {count:,}, {100 * hits / count:.1f} % are right "
        f"(95 % interval {100 * low:.1f} to {100 * high:.1f} %); of all, "
        f"{100 * float(found.right.mean()):.1f} %."
    )


def cover(found: Predictions) -> tuple[Floats, Floats, Floats]:
    """Share of images answered, their accuracy, and the least confidence among them [M].

    Images of equal confidence are answered together.
    """
    order = np.argsort(-found.sureness, kind="stable")
    sure, right = found.sureness[order], found.right[order]
    counts = np.arange(1, len(order) + 1)
    ends = np.flatnonzero(np.append(sure[1:] < sure[:-1], True))
    if len(ends) > MOST_POINTS:
        ends = ends[np.unique(np.linspace(0, len(ends) - 1, MOST_POINTS).round().astype(int))]
    accuracy = np.cumsum(right)[ends] / counts[ends]
    return counts[ends] / len(order), accuracy, sure[ends]
