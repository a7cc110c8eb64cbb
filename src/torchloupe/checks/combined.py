"""Can the class be told by several properties of the files together, or by the ground alone?

Two small models, each judged on images that it wasn't fitted to (five folds): naive Bayes over
the files' facts, where none tells the class alone, and least squares on a ring at the border beside
one on the middle.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torchloupe.checks.shortcuts import (
    FEWEST,
    FOLDS,
    LEAST_GAIN,
    Labels,
    encode_values,
    fold_rows,
    is_sure,
)
from torchloupe.run.events import Verdict

Properties = Mapping[str, Sequence[str] | NDArray[np.float64]]
Floats = NDArray[np.float64]

MOST_TOGETHER = 3  # properties
LEAST_MORE = 0.1  # of the way to all right, that another property must add to be named
RING, MIDDLE = 0.1, 0.25  # where the ring ends and the middle begins, as shares of the side
PARTS = 12  # of the ring and of the middle: as many numbers for both
_GRID = (3, 4)
LEAST_AHEAD = 0.1  # of the way to all right, by which a ring must be better
HOLD = 1.0  # of least squares, for features of unit variance


@dataclass(frozen=True)
class Together:
    """How well some properties tell the class together."""

    names: tuple[str, ...]
    gain: float  # (accuracy - majority) / (1 - majority), on left-out images
    accuracy: float
    majority: float


def find_joint_shortcut(
    properties: Properties, labels: Labels, classes: Sequence[str]
) -> list[Verdict]:
    """A warning where two or three properties tell the class together.

    Hand in those that don't tell it alone.
    """
    if len(labels) < 3 * FEWEST or len(properties) < 2:
        return []
    codes = {name: encode_values(values)[0] for name, values in properties.items()}
    best = Together((), 0.0, 0.0, 0.0)
    while len(best.names) < MOST_TOGETHER:
        tried = [
            _try_together((*best.names, name), codes, labels, len(classes))
            for name in codes
            if name not in best.names
        ]
        more = max(tried, key=lambda one: one.gain, default=best)
        if more.gain < best.gain + LEAST_MORE:
            break
        best = more
    if len(best.names) < 2 or best.gain < LEAST_GAIN or not is_sure(best.gain, len(labels)):
        return []
    where = ", ".join(best.names)
    return [
        Verdict(
            "class-told-by-file",
            "warning",
            seen=f"{where} together tell the class of {best.accuracy:.0%} of the images; the "
            f"largest class has {best.majority:.0%}",
            remedy="collect or convert the images of all classes in the same way: one format, "
            "one size, the same cameras and days for each",
            where=where,
            why="the model may learn how images were made, not what they show, and fail on "
            "images from elsewhere",
            numbers={"accuracy": round(best.accuracy, 4), "majority": round(best.majority, 4)},
        )
    ]


def find_ground_shortcut(
    images: NDArray[np.uint8], labels: Labels, classes: Sequence[str]
) -> list[Verdict]:
    """A warning where a ring at the border of `images` [N, H, W, C] tells the class, and the
    middle tells it much less.
    """
    counts = np.bincount(labels, minlength=len(classes))
    known = np.isin(labels, np.flatnonzero(counts >= FEWEST))
    images, labels = images[known], labels[known]
    if len(np.unique(labels)) < 2 or min(images.shape[1:3]) < 3 * _GRID[1]:
        return []
    ring, middle = describe_parts(images)
    outside, inside = (_try_features(part, labels, len(classes)) for part in (ring, middle))
    ahead = outside.gain - inside.gain
    if outside.gain < LEAST_GAIN or ahead < LEAST_AHEAD or not is_sure(ahead, len(labels)):
        return []
    numbers = {"ring": round(outside.accuracy, 4), "middle": round(inside.accuracy, 4)}
    return [
        Verdict(
            "class-told-by-border",
            "warning",
            seen=f"colours of a ring at the border tell the class of {outside.accuracy:.0%} of "
            f"the images, those of the middle of {inside.accuracy:.0%}; the largest class "
            f"has {outside.majority:.0%}",
            remedy="take the images of all classes before the same grounds, or cut them closer",
            where="border ring",
            why="the model learns the ground: it is easier than what stands before it",
            numbers=numbers,
        )
    ]


def describe_parts(images: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Means and standard deviations of PARTS parts of the ring and of the middle [N, D] each."""
    _, height, width, _ = images.shape
    side = min(height, width)
    edge, start = max(1, round(RING * side)), max(2, round(MIDDLE * side))
    down, across = np.mgrid[:height, :width]
    depth = np.minimum.reduce([down, height - 1 - down, across, width - 1 - across])
    angle = np.arctan2(down - (height - 1) / 2, across - (width - 1) / 2)
    sector = np.minimum(((angle / (2 * np.pi) + 0.5) * PARTS).astype(np.int64), PARTS - 1)
    row = np.clip((down - start) * _GRID[0] // (height - 2 * start), 0, _GRID[0] - 1)
    column = np.clip((across - start) * _GRID[1] // (width - 2 * start), 0, _GRID[1] - 1)
    cell = row * _GRID[1] + column
    return tuple(
        np.concatenate([_summarise(images[:, where & (parts == k)]) for k in range(PARTS)], axis=1)
        for where, parts in ((depth < edge, sector), (depth >= start, cell))
    )  # type: ignore[return-value]


def _summarise(pixels: NDArray[np.uint8]) -> Floats:
    """Mean and deviation of each channel [N, 2C] of pixels [N, P, C]; 0 where there are none."""
    if not pixels.shape[1]:
        return np.zeros((len(pixels), 2 * pixels.shape[2]))
    exact = pixels.astype(np.float32)
    return np.concatenate([exact.mean(axis=1), exact.std(axis=1)], axis=1).astype(np.float64)


def _try_together(
    names: tuple[str, ...], codes: Mapping[str, Labels], labels: Labels, count: int
) -> Together:
    """Naive Bayes over these properties, on left-out images."""
    fold, shown = fold_rows(labels), np.zeros(len(labels), dtype=np.int64)
    for number in range(FOLDS):
        out = fold == number
        totals = np.bincount(labels[~out], minlength=count)
        score = np.tile(np.log(np.maximum(totals, 1e-9)), (int(out.sum()), 1))
        for name in names:
            values = codes[name]
            table = np.full((int(values.max()) + 1, count), 0.5)
            np.add.at(table, (values[~out], labels[~out]), 1.0)
            score += np.log(table / table.sum(axis=0))[values[out]]
        shown[out] = score.argmax(axis=1)
    return _gain_of(names, shown, labels, count)


def _try_features(features: Floats, labels: Labels, count: int) -> Together:
    """Least squares to rows of the classes, on left-out images."""
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    scaled = np.concatenate([scaled, np.ones((len(scaled), 1))], axis=1)
    wanted = np.eye(count)[labels]
    fold, shown = fold_rows(labels), np.zeros(len(labels), dtype=np.int64)
    for number in range(FOLDS):
        out = fold == number
        given = scaled[~out]
        held = given.T @ given + HOLD * np.eye(given.shape[1])
        shown[out] = (scaled[out] @ np.linalg.solve(held, given.T @ wanted[~out])).argmax(axis=1)
    return _gain_of((), shown, labels, count)


def _gain_of(names: tuple[str, ...], shown: Labels, labels: Labels, count: int) -> Together:
    accuracy = float((shown == labels).mean())
    majority = float(np.bincount(labels, minlength=count).max() / len(labels))
    return Together(names, (accuracy - majority) / max(1 - majority, 1e-9), accuracy, majority)
