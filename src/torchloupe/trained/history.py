"""The numbers of a run over its steps, as columns."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FIRST = ("step", "epoch", "seconds", "train_loss", "lr", "val_loss", "val_accuracy")
_NO_MEASUREMENT = ("total_steps", "best")


def collect_columns(events: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    """Columns of equal length, a row for each step that was logged or evaluated, in order.

    `step` is int64, `best` is bool (whether an evaluation was the best so far), all else float64
    with NaN at the steps where a number was not measured.
    """
    rows: dict[int, dict[str, Any]] = {}
    for event in events:
        if isinstance(event.get("step"), int) and "seconds" in event:
            rows.setdefault(event["step"], {}).update(event)
    steps = sorted(rows)
    found = {name for row in rows.values() for name, value in row.items() if _is_number(value)}
    names = [*FIRST, *sorted(found - {*FIRST, *_NO_MEASUREMENT})]
    columns: dict[str, NDArray[Any]] = {
        name: np.array([_number(rows[step].get(name)) for step in steps], dtype=np.float64)
        for name in names
    }
    columns["step"] = np.array(steps, dtype=np.int64)
    columns["best"] = np.array([bool(rows[step].get("best")) for step in steps], dtype=np.bool_)
    return columns


def spent_seconds(train: Mapping[str, Any]) -> float | None:
    """The time that the `"train"` of a metrics.json names: of the steps, and of solving a head.

    None where it is not known: older runs that only solved a head did not note it.
    """
    seconds, head = train.get("seconds"), train.get("head_seconds")
    if seconds is None or (head is None and train.get("steps") == 0):
        return None
    return float(seconds) + float(head or 0.0)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(value: Any) -> float:
    return float(value) if _is_number(value) else math.nan
