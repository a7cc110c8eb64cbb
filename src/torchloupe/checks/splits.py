"""Splits that make scores wrong: missing classes, the same images on both sides, torn groups.

Pure functions of samples, splits and content hashes.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from torchloupe.checks.near_copies import NearCopy
from torchloupe.data.groups import guess_groups
from torchloupe.data.samples import Samples
from torchloupe.data.split import SPLIT_NAMES, Splits
from torchloupe.errors import printable
from torchloupe.run.events import Verdict
from torchloupe.system.counter_rng import Keys
from torchloupe.units import plural

SHOWN = 3
MOST_SAMPLES = 50  # ids in a verdict
MANY = 0.01  # of the smaller split: a warning; fewer are a note
MANY_NEAR, SURELY_ALIKE = 0.1, 0.97  # the same for near copies that are this much alike

Rows = NDArray[np.int64]


def find_missing_classes(samples: Samples, splits: Splits) -> list[Verdict]:
    """A verdict where classes have no image at all, none to validate or none to test."""
    found = []
    names = samples.class_names
    is_empty = samples.class_counts() == 0
    if is_empty.any():
        is_shifted = bool(is_empty[0] and not is_empty[1:].any()) and len(names) > 2
        found.append(
            Verdict(
                "class-without-images",
                "warning",
                seen=f"{plural(int(is_empty.sum()), 'class', 'classes')} of {len(names)} without "
                f"an image: {_list([names[k] for k in np.flatnonzero(is_empty)])}",
                remedy="count classes from 0: take 1 from each label"
                if is_shifted
                else "take them out of the class names, or add images",
                why="the labels may be shifted by one, so that each has the name of its neighbour"
                if is_shifted
                else "the model has outputs that nothing trains",
                numbers={"classes": int(is_empty.sum())},
            )
        )
    for split, verb in (("val", "validated"), ("test", "tested")):
        rows: Rows = getattr(splits, split)
        missing = (samples.class_counts(rows) == 0) & ~is_empty
        if not len(rows) or not missing.any():
            continue
        found.append(
            Verdict(
                f"class-never-{verb}",
                "warning" if split == "test" else "note",
                seen=f"{plural(int(missing.sum()), 'class', 'classes')} of {len(names)} without an "
                f"image in the {split} split: "
                f"{_list([names[k] for k in np.flatnonzero(missing)])}",
                remedy=f"add images of these classes, or set more aside: --set data.{split}"
                "_fraction=0.3",
                where=split,
                why="the score says nothing about them",
                numbers={"classes": int(missing.sum())},
            )
        )
    return found


def find_shared_images(samples: Samples, splits: Splits, content: Keys) -> list[Verdict]:
    """A verdict where splits hold the same images, by their content hash [N]."""
    found = []
    seen = np.concatenate([splits.train, splits.val])
    for one, other, first in (("train", "val", splits.train), ("train or val", "test", seen)):
        second: Rows = getattr(splits, other)
        shared = second[np.isin(content[second], content[first])]
        if not len(shared):
            continue
        is_all = len(shared) == len(second)
        fraction = len(shared) / len(second)
        found.append(
            Verdict(
                "test-within-training" if is_all else "images-in-two-splits",
                "error" if is_all else "warning" if fraction >= MANY else "note",
                seen=f"{'all' if is_all else f'{len(shared):,} of'} {len(second):,} images of "
                f"{other} are in {one} too, pixel for pixel",
                remedy="take them out of one of the two, or leave the split to loupe, which keeps "
                "copies together",
                where=other,
                why="the score counts images that the model has seen, and is too good",
                samples=tuple(str(samples.ids[row]) for row in shared[:MOST_SAMPLES]),
                numbers={"images": len(shared), "fraction": round(fraction, 4)},
            )
        )
    return found


def find_contradictions(samples: Samples, content: Keys) -> list[Verdict]:
    """A warning where one image has several labels, each in a copy of it."""
    if not len(samples):
        return []
    _, first, inverse = np.unique(content, return_index=True, return_inverse=True)
    differs = samples.labels != samples.labels[first[inverse]]
    odd = np.flatnonzero(differs.any(axis=1) if samples.is_multi_label else differs)
    if not len(odd):
        return []
    twin = first[inverse[odd[0]]]
    is_or_are = "is" if len(odd) == 1 else "are"
    return [
        Verdict(
            "same-image-other-label",
            "warning",
            seen=f"{plural(len(odd), 'image')} {is_or_are} also there under another label, for "
            f"example {printable(samples.ids[odd[0]], 80)} = {printable(samples.ids[twin], 80)}",
            remedy="keep the copy whose label is right; if both are, train with several labels "
            "an image",
            why="no model can get both right",
            samples=tuple(str(samples.ids[row]) for row in odd[:MOST_SAMPLES]),
            numbers={"images": len(odd)},
        )
    ]


def judge_near_copies(
    samples: Samples, splits: Splits, rows: Rows, copies: Sequence[NearCopy]
) -> list[Verdict]:
    """A verdict where nearly identical images stand in different splits; `copies` point to `rows`.

    Exact copies are left to `find_shared_images`.
    """
    part = np.full(len(samples), -1)
    for number, name in enumerate(SPLIT_NAMES):
        part[getattr(splits, name)] = number
    found_pairs = [(int(rows[c.row]), int(rows[c.other]), c.likeness) for c in copies]
    found = []
    for one, other in combinations(range(3), 2):
        pairs = {
            (a, b) if part[a] == one else (b, a): likeness
            for a, b, likeness in found_pairs
            if {part[a], part[b]} == {one, other}
        }
        if not pairs:
            continue
        mine = sorted({b for _, b in pairs})
        sure = {b for (_, b), likeness in pairs.items() if likeness >= SURELY_ALIKE}
        count = int(np.isin(rows, getattr(splits, SPLIT_NAMES[other])).sum())
        fraction = len(mine) / max(count, 1)
        first, second = (printable(samples.ids[row], 80) for row in next(iter(pairs)))
        found.append(
            Verdict(
                "near-copies-in-two-splits",
                "warning" if len(sure) > 2 and len(sure) >= MANY_NEAR * count else "note",
                seen=f"{len(mine):,} of {count:,} images of {SPLIT_NAMES[other]} looked at are "
                f"nearly the same as one of {SPLIT_NAMES[one]}, for example {second} and {first}",
                remedy="keep such images in one split: give them a common part in their names and "
                "data.group, or a group column",
                where=f"{SPLIT_NAMES[one]} and {SPLIT_NAMES[other]}",
                why="the score counts images that the model has nearly seen, and is too good",
                samples=tuple(str(samples.ids[row]) for row in mine[:MOST_SAMPLES]),
                numbers={"images": len(mine), "looked_at": count, "fraction": round(fraction, 4)},
            )
        )
    return found


def find_torn_groups(samples: Samples, splits: Splits) -> list[Verdict]:
    """A warning where groups have images in several splits.

    Groups are those of the samples; where they have none, those that their names suggest, which is
    a note where the names leave a doubt.
    """
    groups, guess = samples.groups, None
    if groups is None and len(samples):
        guess = guess_groups(samples)
        groups = guess.groups if guess else None
    if groups is None:
        return []
    part = np.full(len(samples), -1)
    for number, name in enumerate(SPLIT_NAMES):
        part[getattr(splits, name)] = number
    used = part >= 0
    pairs = np.unique(np.stack([groups[used], part[used]], axis=1), axis=0)
    split_counts = np.bincount(pairs[:, 0])
    torn = np.flatnonzero(split_counts > 1)
    large = int((np.bincount(groups[used]) > 1).sum())
    if not len(torn) or len(torn) < 0.02 * large:
        return []
    rows = np.flatnonzero(used & np.isin(groups, torn))
    named = f", such as {printable(guess.example, 60)}" if guess else ""
    source = "that the names suggest" if guess else "of the data"
    own = "" if guess else "the data names its splits itself: "
    return [
        Verdict(
            "groups-torn",
            "warning" if guess is None or guess.is_likely else "note",
            seen=f"{len(torn):,} of {large:,} groups {source}{named} have images in several splits",
            remedy=f"{own}--set 'data.group={guess.pattern}' keeps them together; "
            "data.group=none says that they are none"
            if guess
            else f"{own}move each group to one side",
            why="images of one patient, video or day resemble each other, so that the score is "
            "better than on new ones",
            samples=tuple(str(samples.ids[row]) for row in rows[:MOST_SAMPLES]),
            numbers={"torn": len(torn), "groups": large},
        )
    ]


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(printable(name, 60) for name in names[:SHOWN])
    return shown + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
