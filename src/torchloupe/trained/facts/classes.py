"""Each class in numbers with intervals, and which classes are taken for which."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.evaluation.intervals import f1_interval, wilson_interval
from torchloupe.trained.facts.predictions import Predictions

MOST_IN_MATRIX = 25  # classes; of more, those that are confused most are shown
MOST_PAIRS = 12
Counts = NDArray[np.int64]


def describe_classes(found: Predictions) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each class with their 95 % intervals, and what went wrong."""
    truth, said = _one_hot(found)
    hits, said_count, count = (truth & said).sum(0), said.sum(0), truth.sum(0)
    rows = []
    for k, name in enumerate(found.class_names):
        both = int(said_count[k] + count[k])
        ends = f1_interval(int(hits[k]), int(said_count[k]), int(count[k]))
        low, high = ends or (None, None)
        rows.append(
            {
                "name": name,
                "number": k,
                "precision": _share(hits[k], said_count[k]),
                "recall": _share(hits[k], count[k]),
                "f1": {
                    "value": 2 * int(hits[k]) / both if both else None,
                    "low": low,
                    "high": high,
                },
                "count": int(count[k]),
                "missed": int(count[k] - hits[k]),
                "extra": int(said_count[k] - hits[k]),
            }
        )
    return rows


def count_confusion(found: Predictions) -> Counts | None:
    """Images of each label and prediction [K, K]; None where images have several labels."""
    if found.multi_label:
        return None
    classes = len(found.class_names)
    pairs = np.bincount(found.labels * classes + found.predicted, minlength=classes**2)
    return pairs.reshape(classes, classes).astype(np.int64)


def describe_matrix(confusion: Counts, names: tuple[str, ...]) -> dict[str, Any]:
    """The matrix as rows of cells; of many classes those with the most confusions."""
    wrong = confusion - np.diag(np.diag(confusion))
    shown = np.arange(len(names))
    if len(names) > MOST_IN_MATRIX:
        shown = np.sort(_most_confused(wrong))
    totals = confusion.sum(1)
    return {
        "names": [names[k] for k in shown],
        "left_out": len(names) - len(shown),
        "rows": [
            {
                "name": names[row],
                "number": int(row),
                "cells": [
                    {
                        "number": int(column),
                        "count": int(confusion[row, column]),
                        "share": float(confusion[row, column] / max(totals[row], 1)),
                        "title": title_of(names[row], names[column]),
                    }
                    for column in shown
                ],
            }
            for row in shown
        ],
    }


def _most_confused(wrong: Counts) -> Counts:
    """Up to MOST_IN_MATRIX classes: those of the most frequent confusions, both sides of each."""
    order = np.argsort(-wrong, axis=None, kind="stable")
    chosen: dict[int, None] = {}
    for place in order:
        row, column = divmod(int(place), len(wrong))
        if not wrong[row, column] or len(chosen | {row: None, column: None}) > MOST_IN_MATRIX:
            break
        chosen |= {row: None, column: None}
    return np.array(list(chosen) or [0, 1], dtype=np.int64)


def title_of(name: str, other: str) -> str:
    """What a cell of the matrix holds."""
    return f"{name}, and right" if name == other else f"{name} taken for {other}"


def confused_pairs(confusion: Counts, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """The most frequent confusions, at least two images each."""
    wrong = confusion - np.diag(np.diag(confusion))
    pairs = []
    for place in np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS]:
        row, column = divmod(int(place), len(names))
        count = int(wrong[row, column])
        if count < 2:
            break
        share = count / int(confusion[row].sum())
        pair = {"name": names[row], "other": names[column], "row": row, "column": column}
        title = title_of(names[row], names[column])
        pairs.append({**pair, "count": count, "share": share, "title": title})
    return pairs


def _share(part: np.int64, whole: np.int64) -> dict[str, float | None]:
    if not whole:
        return {"value": None, "low": None, "high": None}
    low, high = wilson_interval(int(part), int(whole))
    return {"value": int(part) / int(whole), "low": low, "high": high}


def _one_hot(found: Predictions) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    if found.multi_label:
        return found.labels > 0, found.predicted > 0
    numbers = np.arange(len(found.class_names))
    return found.labels[:, None] == numbers, found.predicted[:, None] == numbers
