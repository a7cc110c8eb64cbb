"""Copies: images with the same content hash, found, counted and described in notes."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.samples import Samples
from torchloupe.errors import printable
from torchloupe.system.counter_rng import Keys
from torchloupe.units import plural

OFTEN = 5  # a picture with this many copies is named in a note

Rows = NDArray[np.int64]


def describe_leaks(samples: Samples, content: Keys, sides: Mapping[str, Rows]) -> tuple[str, ...]:
    """Notes on images that more than one of the data's own splits holds; `sides` are their rows."""
    notes = []
    for one, other in combinations(sides, 2):
        first, second = sides[one], sides[other]
        shared = second[np.isin(content[second], content[first])]
        if len(shared):
            twin = first[np.flatnonzero(content[first] == content[shared[0]])[0]]
            notes.append(
                f"{plural(len(shared), 'image')} of {other} "
                f"{'is' if len(shared) == 1 else 'are'} also in {one}, for example "
                f"{printable(samples.ids[shared[0]], 80)} = {printable(samples.ids[twin], 80)}"
            )
    return tuple(notes)


def describe_contradictions(samples: Samples, content: Keys) -> tuple[str, ...]:
    """A note on identical images with different labels."""
    _, first, inverse = np.unique(content, return_index=True, return_inverse=True)
    differs = samples.labels != samples.labels[first[inverse]]
    odd = np.flatnonzero(differs.any(axis=1) if samples.is_multi_label else differs)
    if not len(odd):
        return ()
    row, twin = odd[0], first[inverse[odd[0]]]
    return (
        f"{plural(len(odd), 'image')} {'repeats' if len(odd) == 1 else 'repeat'} another one's "
        f"content under a different label, for example {printable(samples.ids[row], 80)} = "
        f"{printable(samples.ids[twin], 80)}",
    )


def describe_copies(samples: Samples, content: Keys, *, is_once: bool) -> tuple[str, ...]:
    """A note that names the pictures with the most copies, where one has OFTEN of them.

    `is_once` says that training has one of each.
    """
    if not len(samples):
        return ()
    _, first, counts = np.unique(content, return_index=True, return_counts=True)
    largest = [int(k) for k in np.argsort(-counts, kind="stable")[:3] if counts[k] >= OFTEN]
    if not largest:
        return ()
    repeats = int((counts - 1).sum())
    named = ", ".join(f"{printable(samples.ids[first[k]], 80)} ({counts[k]:,})" for k in largest)
    then = "train has one of each" if is_once else "data.copies=once trains on one of each"
    return (f"{repeats:,} images are copies of others, most of them of {named}; {then}",)


def find_copies(samples: Samples, content: Keys, rows: Rows) -> Rows:
    """Those of `rows` that repeat the content and label of another of them, in ascending order.

    Of each picture the one with the smallest key is not among them.
    """
    ordered = rows[np.argsort(samples.keys[rows], kind="stable")]
    labels = samples.labels[ordered].reshape(len(ordered), -1)
    label = np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)
    alike = np.stack([content[ordered], label.astype(np.uint64)], axis=1)
    kept = np.unique(alike, axis=0, return_index=True)[1]
    return np.setdiff1d(ordered, ordered[kept])
