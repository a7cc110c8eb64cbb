"""Can the class be told without looking at what is in the picture?

Each property of a file or of its border is tried alone: a table of its values says how often each
class has them, and is judged on images that it wasn't made from (five folds). Properties of the
picture itself, such as its mean colour, are left alone: bananas are yellow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torchloupe.errors import printable
from torchloupe.run.events import Verdict

FOLDS = 5
BINS = 8
FEWEST = 10  # images of a class, below which nothing is said of it
LEAST_GAIN = 0.6  # of the way from the majority class to all right, over all classes
LEAST_OF_CLASS = 0.8  # hits less false alarms, for one class
SURE = 6.0  # standard deviations from chance
RING = 0.06  # width of the border, as a share of the side
SAME = 6.0  # levels by which a pixel of a pattern may vary
MOST_PLACES = 1_500  # pixels of the border that are looked at, of large images
SHOWN = 4  # values in a table

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Told:
    """How well one property tells the class."""

    name: str
    gain: float  # (accuracy - majority) / (1 - majority), on left-out images
    accuracy: float
    majority: float
    best_class: int
    best: float  # hits less false alarms for that class, on left-out images
    table: str  # the commonest values and their classes


def try_property(
    name: str, values: Sequence[str] | NDArray[np.float64], labels: Labels, classes: Sequence[str]
) -> Told:
    """How well `values` [N] tell `labels` [N]; numbers are put into BINS of equal counts."""
    codes, words = encode_values(values)
    count = len(classes)
    shown = np.zeros(len(labels), dtype=np.int64)
    is_in: NDArray[np.float64] = np.zeros((len(labels), count))  # P(value | class) / P(value)
    fold = fold_rows(labels)
    for number in range(FOLDS):
        out = fold == number
        counts = np.zeros((len(words), count))
        np.add.at(counts, (codes[~out], labels[~out]), 1.0)
        totals = np.bincount(labels[~out], minlength=count)
        majority = int(totals.argmax())
        seen = counts[codes[out]]
        shown[out] = np.where(seen.sum(axis=1) > 0, seen.argmax(axis=1), majority)
        of_class = seen / np.maximum(totals, 1)
        rest = (seen.sum(axis=1, keepdims=True) - seen) / np.maximum(totals.sum() - totals, 1)
        is_in[out] = of_class > rest
    accuracy = float((shown == labels).mean())
    majority_share = float(np.bincount(labels, minlength=count).max() / len(labels))
    best_class, best = _find_best_class(is_in, labels, count)
    gain = (accuracy - majority_share) / max(1 - majority_share, 1e-9)
    return Told(
        name,
        gain,
        accuracy,
        majority_share,
        best_class,
        best,
        _describe(codes, words, labels, classes),
    )


def find_file_shortcuts(
    properties: Mapping[str, Sequence[str] | NDArray[np.float64]],
    labels: Labels,
    classes: Sequence[str],
) -> list[Verdict]:
    """A warning for each property of the files, by name, that tells the class or one of them."""
    found = []
    for name, values in properties.items():
        told = try_property(name, values, labels, classes)
        if not _is_shortcut(told, labels):
            continue
        one = told.gain < LEAST_GAIN
        what = (
            f"tells {printable(classes[told.best_class], 60)} from all other classes "
            f"(hits less false alarms {told.best:.0%})"
            if one
            else f"tells the class of {told.accuracy:.0%} of the images; the largest class has "
            f"{told.majority:.0%}"
        )
        found.append(
            Verdict(
                "class-told-by-file",
                "warning",
                seen=f"the {name} alone {what}: {told.table}",
                remedy="collect or convert the images of all classes in the same way: one format, "
                "one size, the same cameras and days for each",
                where=name,
                why="the model may learn how images were made, not what they show, and fail on "
                "images from elsewhere",
                numbers={
                    "accuracy": round(told.accuracy, 4),
                    "majority": round(told.majority, 4),
                    "best_class": round(told.best, 4),
                },
            )
        )
    return found


def find_border_shortcuts(
    images: NDArray[np.uint8], labels: Labels, classes: Sequence[str]
) -> list[Verdict]:
    """A warning for each class whose images have the same pattern at their border, or a mark.

    `images` [N, H, W, C]. A pattern is a set of pixels near the border that hardly vary within a
    class, and have other values in most images of the others: a black frame, a watermark, a date.
    A ground that several classes share is none.
    """
    rows, columns = np.nonzero(find_border(images.shape[1], images.shape[2]))
    some = slice(None, None, max(1, len(rows) // MOST_PLACES))
    ring = images[:, rows[some], columns[some]].astype(np.float32)  # [N, P, C]
    found = []
    for number, name in enumerate(classes):
        own = labels == number
        if own.sum() < FEWEST or (~own).sum() < FEWEST:
            continue
        hits, alarms, share = _try_pattern(ring, own)
        if hits - alarms < LEAST_OF_CLASS or not is_sure(hits - alarms, int(own.sum())):
            continue
        found.append(
            Verdict(
                "class-told-by-border",
                "warning",
                seen=f"{hits:.0%} of the images of {printable(name, 60)} have the same pixels in "
                f"{share:.0%} of their border, as {alarms:.0%} of the others have",
                remedy="cut the frame, watermark or date off all images, or cover the same place "
                "in those of all classes",
                where=printable(name, 60),
                why="the model learns the mark: it is easier than what the picture shows",
                numbers={"hits": round(hits, 4), "false_alarms": round(alarms, 4)},
            )
        )
    return found


def find_border(height: int, width: int) -> NDArray[np.bool_]:
    """The places [H, W] that count as border: a ring, and the corners, where marks are."""
    ring = max(1, round(RING * min(height, width)))
    across, down = np.arange(width), np.arange(height)
    edge_x, edge_y = np.minimum(across, width - 1 - across), np.minimum(down, height - 1 - down)
    near = np.minimum(edge_y[:, None], edge_x[None]) < ring
    corner = (edge_y[:, None] < height / 6) & (edge_x[None] < width / 3)
    return np.asarray(near | corner)


def _try_pattern(ring: NDArray[np.float32], own: NDArray[np.bool_]) -> tuple[float, float, float]:
    """(hits, false alarms, share of the border) of the pattern that the images `own` share.

    It is read from one half of them and judged on the other half.
    """
    rows = np.flatnonzero(own)
    first, second = rows[::2], rows[1::2]
    middle = np.median(ring[first], axis=0)
    steady = (np.abs(ring[first] - middle).max(axis=2) <= SAME).mean(axis=0) >= 0.9  # [P]
    others = np.abs(ring[~own] - middle).max(axis=2) <= SAME  # [M, P]
    is_ground = np.abs(middle - _find_ground(ring[~own])).max(axis=1) <= SAME
    telling = steady & (others.mean(axis=0) < 0.35) & ~is_ground
    if telling.sum() < 4:
        return 0.0, 0.0, 0.0
    fits = np.abs(ring[second][:, telling] - middle[telling]).max(axis=2) <= SAME
    hits = float((fits.mean(axis=1) > 0.8).mean())
    alarms = float((others[:, telling].mean(axis=1) > 0.8).mean())
    return hits, alarms, float(telling.mean())


def _find_ground(ring: NDArray[np.float32]) -> NDArray[np.float32]:
    """The colour [C] that a fifth of the border [N, P, C] has; far from any where none has."""
    flat = ring.reshape(-1, ring.shape[2])[:: max(1, ring.shape[0] * ring.shape[1] // 50_000)]
    levels = np.round(flat / 4).astype(np.int64)
    codes = (levels * 64 ** np.arange(levels.shape[1]) % (2**61 - 1)).sum(axis=1)
    _, first, counts = np.unique(codes, return_index=True, return_counts=True)
    best = counts.argmax()
    if counts[best] < 0.2 * len(flat):
        return np.full(ring.shape[2], -1e3, np.float32)
    return np.asarray(flat[first[best]])


def _is_shortcut(told: Told, labels: Labels) -> bool:
    count = len(labels)
    if count < 3 * FEWEST:
        return False
    if told.gain >= LEAST_GAIN and is_sure(told.gain, count):
        return True
    members = int((labels == told.best_class).sum())
    return told.best >= LEAST_OF_CLASS and is_sure(told.best, members)


def is_sure(value: float, count: int) -> bool:
    """Whether a difference of two shares, `value`, is far from 0 for so many images."""
    return bool(value * np.sqrt(count) / 0.5 >= SURE / 2)


def encode_values(
    values: Sequence[str] | NDArray[np.float64],
) -> tuple[NDArray[np.int64], list[str]]:
    """A code [N] for each value, and what each code stands for."""
    if isinstance(values, np.ndarray):
        kinds = np.unique(values)
        if len(kinds) <= 2 * BINS:
            codes = np.searchsorted(kinds, values)
            return codes.astype(np.int64), [f"{kind:.4g}" for kind in kinds]
        edges = np.unique(np.quantile(values, np.arange(1, BINS) / BINS))
        words = [f"below {edges[0]:.3g}", *(f"from {edge:.3g}" for edge in edges)]
        return np.searchsorted(edges, values, side="right").astype(np.int64), words
    kinds, codes = np.unique(np.array(values, dtype=object).astype(str), return_inverse=True)
    return codes.reshape(-1).astype(np.int64), [str(kind) for kind in kinds]


def fold_rows(labels: Labels) -> NDArray[np.int64]:
    """The fold [N] of each image, the same number of each class in all of them."""
    fold = np.empty(len(labels), dtype=np.int64)
    fold[np.argsort(labels, kind="stable")] = np.arange(len(labels)) % FOLDS
    return fold


def _find_best_class(is_in: NDArray[np.float64], labels: Labels, count: int) -> tuple[int, float]:
    """The class that is told best from the others: hits less false alarms."""
    best = (0, -1.0)
    for number in range(count):
        own = labels == number
        if own.sum() >= FEWEST and (~own).sum() >= FEWEST:
            value = float(is_in[own, number].mean() - is_in[~own, number].mean())
            best = max(best, (number, value), key=lambda pair: pair[1])
    return best


def _describe(
    codes: NDArray[np.int64], words: Sequence[str], labels: Labels, classes: Sequence[str]
) -> str:
    """The commonest values, each with the class that has it most: `png: cat 40 of 41`."""
    counts = np.bincount(codes, minlength=len(words))
    texts = []
    for code in np.argsort(-counts, kind="stable")[:SHOWN]:
        of_class = np.bincount(labels[codes == code], minlength=len(classes))
        top = int(of_class.argmax())
        name = printable(classes[top], 40)
        texts.append(f"{printable(words[code], 40)}: {name} {of_class[top]:,} of {counts[code]:,}")
    more = "; ..." if len(words) > SHOWN else ""
    return "; ".join(texts) + more
