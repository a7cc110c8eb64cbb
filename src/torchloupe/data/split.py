"""Which sample trains, which validates, which tests: a pure function of the seed and the ids.

It knows nothing of pixels; where content hashes are given, images with the same content stay
on one side, and so do samples of one group. Splits that the data itself names are respected.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.copies import (
    describe_contradictions,
    describe_copies,
    describe_leaks,
    find_copies,
)
from torchloupe.data.samples import Samples
from torchloupe.errors import DataError, printable
from torchloupe.system.counter_rng import Keys, hash_parts, make_key
from torchloupe.units import plural

TRAIN, VAL, TEST = 0, 1, 2
SPLIT_NAMES = ("train", "val", "test")
FEW = 5  # a class with fewer images is named in a note
_NOWHERE = -1  # the part of an image that is left out
SPLIT_DRAW = 0x5B117  # tells this use of a sample's key from all others

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Splits:
    """Row numbers of each part, ascending, and notes for the user."""

    train: Rows
    val: Rows
    test: Rows
    notes: tuple[str, ...] = ()


def split_samples(
    samples: Samples,
    *,
    given: NDArray[np.int8] | None = None,
    content: Keys | None = None,
    val_fraction: float = 0.1,
    test_fraction: float = 0.15,
    seed: int = 0,
    fold: tuple[int, int] | None = None,
    copies: str = "keep",
) -> Splits:
    """The rows to train on, to validate with and to test with.

    Each class is divided by the fractions (rounded; classes too small to reach half an
    image together give what they sum to), and keeps at least one training image. `given` [N]
    holds 0, 1, 2 where the data names its splits: then only a missing val is carved, from
    train. `content` [N] is a hash of each image. `fold` (2, 5) tests with the second of five equal
    parts, whatever `test_fraction` says: over all folds each image is tested with once, but for
    those that their class can't be learned without. DataError if there is nothing to learn:
    no image, one class, a class without a training image; and for folds of data that are split.
    """
    refuse_untrainable(samples)
    notes = _few_images(samples)
    units = _join_units(samples.groups, content, len(samples))
    if content is not None:
        notes += describe_contradictions(samples, content)
        notes += describe_copies(samples, content, is_once=copies == "once")
    is_split = given is not None and bool((given != TRAIN).any())
    if fold:
        refuse_folds(samples, given, fold[1])
        parts = _deal(samples, units, fold, seed)
        rest = np.flatnonzero(parts == TRAIN)
        parts[rest] = _carve(samples, units[rest], rest, (val_fraction, 0.0), seed)
    elif given is None or not is_split:
        parts = _carve(samples, units, np.arange(len(samples)), (val_fraction, test_fraction), seed)
    else:
        parts = np.asarray(given, dtype=np.int8).copy()
        if content is not None:
            sides = {name: np.flatnonzero(parts == k) for k, name in enumerate(SPLIT_NAMES)}
            notes += describe_leaks(samples, content, sides)
        if not (parts == VAL).any() and val_fraction > 0:
            train = np.flatnonzero(parts == TRAIN)
            parts[train] = _carve(samples, units[train], train, (val_fraction, 0.0), seed)
        if not (parts == TEST).any():
            notes += ("the data has no test split: results are those of the validation images",)
    _refuse_untrained(samples, parts)
    if copies == "once" and content is not None:
        parts[find_copies(samples, content, np.flatnonzero(parts == TRAIN))] = _NOWHERE
    notes += _missing(parts, (val_fraction, test_fraction), carved=given is None)
    train, val, test = (np.flatnonzero(parts == part) for part in (TRAIN, VAL, TEST))
    return Splits(train, val, test, notes)


def _carve(
    samples: Samples,
    units: NDArray[np.int64],
    rows: Rows,
    fractions: tuple[float, float],
    seed: int,
) -> NDArray[np.int8]:
    """A part [len(rows)] for each row: whole units, stratified, every class kept in train."""
    unit, sizes, strata, order = _draw_units(samples, units, rows, seed)
    ordered = strata[order]  # the class decides how many images go out
    counts = np.zeros(int(strata.max()) + 1)
    np.add.at(counts, ordered, sizes[order])
    val_count, test_count = _quotas(counts, fractions, samples.class_names, seed)
    starts = np.concatenate([[0.0], np.cumsum(counts)])[:-1]
    middle = np.cumsum(sizes[order]) - sizes[order] / 2 - starts[ordered]
    part = np.full(len(order), TRAIN, dtype=np.int8)
    part[middle < (test_count + val_count)[ordered]] = VAL
    part[middle < test_count[ordered]] = TEST
    part[np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))] = TRAIN
    of_unit = np.empty_like(part)
    of_unit[order] = part
    _keep_in_train(samples, rows, unit, of_unit)
    return of_unit[unit]


def _deal(
    samples: Samples, units: NDArray[np.int64], fold: tuple[int, int], seed: int
) -> NDArray[np.int8]:
    """TRAIN or TEST [N] for each row: whole units dealt out to the folds, class after class.

    Units of one image go round in turns. Where there are larger ones, these go first, the largest
    first, each to the fold that has least of its classes; the others fill up what is uneven then.
    """
    number, folds = fold
    unit, sizes, strata, order = _draw_units(samples, units, np.arange(len(samples)), seed)
    part = np.full(len(sizes), TRAIN, dtype=np.int8)
    if sizes.max() == 1:
        part[order[number - 1 :: folds]] = TEST
    else:
        part[_deal_evenly(samples, unit, sizes, strata, order, folds) == number - 1] = TEST
    _keep_in_train(samples, np.arange(len(samples)), unit, part)
    return part[unit]


def _deal_evenly(
    samples: Samples,
    unit: NDArray[np.int64],
    sizes: NDArray[np.int64],
    strata: NDArray[np.int64],
    order: NDArray[np.int64],
    folds: int,
) -> NDArray[np.int64]:
    """The fold of each unit, so that classes, and images in all, are shared evenly."""
    dealt = np.zeros(len(sizes), dtype=np.int64)
    classes = np.zeros((folds, len(samples.class_names) + 1))  # the last: images without a label
    total = np.zeros(folds)
    rows = np.argsort(unit, kind="stable")
    starts = np.cumsum(sizes) - sizes
    of_row = _strata(samples)
    expected = np.maximum(np.bincount(of_row, minlength=classes.shape[1]) / folds, 1.0)
    large = order[sizes[order] > 1]
    for one in large[np.argsort(-sizes[large], kind="stable")].tolist():
        own = of_row[rows[starts[one] : starts[one] + sizes[one]]]
        kinds, counts = np.unique(own, return_counts=True)
        filled = (classes[:, kinds] / expected[kinds] * counts).sum(axis=1)
        chosen = int(np.lexsort((np.arange(folds), total, np.round(filled, 9)))[0])
        dealt[one] = chosen
        classes[chosen, kinds] += counts
        total[chosen] += sizes[one]
    small = order[sizes[order] == 1]
    ends = np.flatnonzero(np.diff(strata[small], append=-1)) + 1
    for members in np.split(small, ends[:-1]):
        if not len(members):
            continue
        kind = int(strata[members[0]])
        # Slots of all folds, the emptiest first: those of the class, then of the fold.
        level = classes[:, kind, None] + np.arange(len(members))
        tie = np.broadcast_to(total[:, None], level.shape)
        slots = np.lexsort((tie.ravel(), level.ravel()))[: len(members)] // len(members)
        dealt[members] = slots
        classes[:, kind] += np.bincount(slots, minlength=folds)
        total += np.bincount(slots, minlength=folds)
    return dealt


def _draw_units(
    samples: Samples, units: NDArray[np.int64], rows: Rows, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The unit of each row; of each unit its size and class; all units by class, then drawn."""
    _, unit, sizes = np.unique(units, return_inverse=True, return_counts=True)
    # A unit is named by the smallest key among its rows, so that neither the order of the list
    # nor how many copies there are moves it.
    keys = samples.keys[rows]
    named = np.full(len(sizes), np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(named, unit, keys)
    leads = np.flatnonzero(keys == named[unit])
    first = np.empty(len(named), dtype=np.int64)
    first[unit[leads]] = leads
    strata = _strata(samples)[rows][first]
    return unit, sizes, strata, np.lexsort((named, hash_parts(seed, SPLIT_DRAW, named), strata))


def _quotas(
    counts: NDArray[np.float64],
    fractions: tuple[float, float],
    class_names: tuple[str, ...],
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How many images of each class go to val and to test; one at least stays."""
    names = [*class_names, ""][: len(counts)]
    turn = np.argsort(
        hash_parts(seed, SPLIT_DRAW, np.array([make_key(n) for n in names], np.uint64))
    )
    quotas = []
    for fraction in fractions:
        wanted = counts * fraction
        quota = np.floor(wanted + 0.5)
        # Classes that round to nothing take turns, so that thousands of tiny classes still
        # give the validation set its share.
        tiny = turn[wanted[turn] < 0.5]
        steps = np.floor(np.cumsum(wanted[tiny]) + 0.5)
        quota[tiny] = np.diff(steps, prepend=0.0)
        quotas.append(quota)
    val = np.minimum(quotas[0], np.maximum(counts - 1, 0))
    test = np.minimum(quotas[1], np.maximum(counts - 1 - val, 0))
    return val, test


def _strata(samples: Samples) -> NDArray[np.int64]:
    """What each row is shared out by [N]: its class, or the rarest of its several labels."""
    if not samples.is_multi_label:
        return samples.labels.astype(np.int64, copy=False)
    counts = samples.class_counts()
    rank = np.argsort(np.argsort(counts, kind="stable"), kind="stable")
    has = samples.labels > 0.5
    rarest = np.where(has, rank, len(counts)).min(axis=1)
    by_rank = np.append(np.argsort(rank), len(counts))
    return np.asarray(by_rank[rarest], dtype=np.int64)


def _keep_in_train(
    samples: Samples, rows: Rows, unit: NDArray[np.int64], part: NDArray[np.int8]
) -> None:
    """Bring back a unit for each class that sharing out whole units left without one."""
    stays = part[unit] == TRAIN
    for number in np.flatnonzero(samples.class_counts(rows[stays]) == 0):
        if samples.is_multi_label:
            mine = unit[samples.labels[rows, number] > 0.5]
        else:
            mine = unit[samples.labels[rows] == number]
        if len(mine):
            part[mine[0]] = TRAIN


def _join_units(groups: NDArray[np.int64] | None, content: Keys | None, count: int) -> Rows:
    """A number [N] for each row; rows that must stay together, however linked, share it."""
    links = [
        np.unique(by, return_inverse=True)[1].reshape(-1)
        for by in (groups, content)
        if by is not None
    ]
    unit = np.arange(count)
    while True:
        before = unit
        for link in links:
            lowest = np.full(int(link.max()) + 1, count, dtype=np.int64)
            np.minimum.at(lowest, link, unit)
            unit = lowest[link]
        if np.array_equal(unit, before):
            return unit


def refuse_untrainable(samples: Samples) -> None:
    """DataError for samples of no image or of one class."""
    if len(samples) == 0:
        raise DataError("there is no image to learn from", "add images, one folder per class")
    if len(samples.class_names) < 2 and not samples.is_multi_label:
        names = ", ".join(f"'{printable(name)}'" for name in samples.class_names)
        raise DataError(
            f"there is only one class: {names}" if names else "there is no class",
            "add images of another class, or say where the classes are: a folder for each, a table "
            "that lists image and label, or data.label_pattern for those in file names",
        )


def refuse_folds(samples: Samples, given: NDArray[np.int8] | None, folds: int) -> None:
    """DataError for data that are split already (`given` [N]), or fewer images than folds."""
    if given is not None and (given != TRAIN).any():
        raise DataError(
            "the data names its own val or test images, and folds would mix them with the others",
            "give a folder of classes (or a table without a split column), or leave folds out",
        )
    if folds > len(samples):
        raise DataError(
            f"{folds:,} folds of {plural(len(samples), 'image')} leave folds empty",
            f"ask for {len(samples):,} folds or fewer",
        )


def _refuse_untrained(samples: Samples, parts: NDArray[np.int8]) -> None:
    counts = samples.class_counts(np.flatnonzero(parts == TRAIN))
    if (counts == 0).any():
        are_numbers = samples.class_names == tuple(map(str, range(len(counts))))
        known = np.flatnonzero(counts)
        is_mark = len(known) > 1 and known[-2] == len(known) - 2 and len(counts) > len(known)
        raise DataError(
            f"no training image of {_names(samples, np.flatnonzero(counts == 0))}",
            f"where {known[-1]} marks what the loss ignores, take these rows out of the data: "
            f"labels != {known[-1]}; else number the classes from 0 without gaps: "
            "np.unique(labels, return_inverse=True)[1]"
            if are_numbers and is_mark
            else "add training images of it, or number the classes from 0 without gaps: "
            "np.unique(labels, return_inverse=True)[1]"
            if are_numbers
            else "add training images of it, or take it out of the class names",
        )


def _few_images(samples: Samples) -> tuple[str, ...]:
    counts = samples.class_counts()
    few = np.flatnonzero((counts > 0) & (counts < FEW))
    if not len(few):
        return ()
    shown = [f"'{printable(samples.class_names[k], 60)}' ({counts[k]})" for k in few[:5]]
    rest = f" and {len(few) - 5:,} more" if len(few) > 5 else ""
    has = "class has" if len(few) == 1 else "classes have"
    return (
        f"{len(few):,} {has} fewer than {FEW} images: {', '.join(shown)}{rest}; expect mistakes "
        "there, and uncertain scores: a class has one test image or none",
    )


def _missing(
    parts: NDArray[np.int8], fractions: tuple[float, float], *, carved: bool
) -> tuple[str, ...]:
    wanted = {VAL: fractions[0], TEST: fractions[1] if carved else 0.0}
    none = [SPLIT_NAMES[k] for k, f in wanted.items() if f > 0 and not (parts == k).any()]
    return (f"too few images to hold some back for {' and '.join(none)}",) if none else ()


def _names(samples: Samples, numbers: NDArray[np.int64]) -> str:
    shown = ", ".join(f"'{printable(samples.class_names[k], 60)}'" for k in numbers[:5])
    return shown + (f" and {len(numbers) - 5:,} more classes" if len(numbers) > 5 else "")
