"""The confidence below which a prediction is unsure: chosen on val, kept in the contract."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.errors import DataError, UsageError, printable
from torchloupe.evaluation.calibration import trace_coverage
from torchloupe.evaluation.intervals import wilson_interval
from torchloupe.evaluation.scoring import Outputs
from torchloupe.run.json_files import write_json
from torchloupe.trained.outputs import collect_outputs, open_run_data, require_val
from torchloupe.trained.run import Run

PRECISION = "precision"
HINT = "give 0.95precision, a confidence such as 0.8, or none"


@dataclass(frozen=True)
class Certain:
    """Of the images of a split, those whose confidence reaches the threshold."""

    split: str
    count: int  # images at or above the threshold
    coverage: float  # the share of all images that they are
    precision: float | None  # the share of them that is right; None for no images
    precision_ci95: tuple[float, float] | None


@dataclass(frozen=True)
class Threshold:
    """A threshold, what was asked for, and what it leaves on each split."""

    value: float | None
    asked: str
    splits: tuple[Certain, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def read_threshold(text: str) -> tuple[float | None, bool]:
    """The number in "0.95precision" or "0.8", and whether it is a precision; None for "none"."""
    if text == "none":
        return None, False
    is_precision = text.endswith(PRECISION)
    try:
        value = float(text.removesuffix(PRECISION))
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise UsageError(f"{printable(text)!r} is no threshold of confidence", HINT)
    return value, is_precision


def set_threshold(run: Run, asked: str, *, trust_code: bool = False) -> Threshold:
    """Write the threshold that `asked` names into the contract of `run`, and use it from now on.

    "0.95precision" is the smallest confidence of val at and above which 95 % of the predictions
    for val are right, with as many images as possible; "0.8" is that confidence; "none" removes
    the threshold. Raises DataError where val never reaches the precision.
    """
    value, is_precision = read_threshold(asked)
    if run.contract.multi_label:
        raise UsageError(
            "a threshold is for one label an image, and this run has several",
            "take the probabilities of `loupe predict --format json`, a threshold for each label",
        )
    found: list[Certain] = []
    if value is not None:
        run_data = open_run_data(run.folder, run.config, run.contract, trust_code=trust_code)
        require_val(run_data)
        outputs = {
            split: collect_outputs(run.model, run_data, split, run.config)
            for split in ("val", "test")
            if run_data.has(split)
        }
        sure = {split: _confidences(given, run) for split, given in outputs.items()}
        if is_precision:
            value = find_threshold(*sure["val"], precision=value)
        found = [describe_certain(split, *pair, threshold=value) for split, pair in sure.items()]
    run.contract = replace(run.contract, threshold=value)
    write_json(run.folder / "contract.json", run.contract.to_json())
    return Threshold(value, asked, tuple(found))


def _confidences(outputs: Outputs, run: Run) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    p = outputs.probabilities(run.contract.temperature)
    return p.max(axis=1), outputs.predictions == outputs.labels


def find_threshold(
    confidences: NDArray[Any], right: NDArray[np.bool_], *, precision: float
) -> float:
    """The smallest confidence [N] at and above which the share of `right` [N] is `precision`."""
    thresholds, _, reached = trace_coverage(confidences, right)
    fine = np.flatnonzero(reached >= precision)
    if not len(fine):
        raise DataError(
            f"no confidence has a precision of {precision:g} on val; the best is "
            f"{reached.max():.4g}",
            "ask for less, or train for longer",
        )
    return float(thresholds[fine[-1]])


def describe_certain(
    split: str, confidences: NDArray[Any], right: NDArray[np.bool_], *, threshold: float
) -> Certain:
    """What `threshold` leaves of a split with these confidences [N]."""
    taken = np.asarray(confidences, np.float64) >= threshold
    count, hits = int(taken.sum()), int((right & taken).sum())
    interval = wilson_interval(hits, count) if count else None
    return Certain(split, count, count / len(taken), hits / count if count else None, interval)
