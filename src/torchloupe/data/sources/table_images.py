"""The images of a table: files that its cells name, all files of folders, or the cells."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.samples import make_ids
from torchloupe.data.sources.image_cells import CellReader, are_images
from torchloupe.data.sources.image_files import ImageFiles
from torchloupe.data.sources.image_folders import spread_folders
from torchloupe.data.sources.image_lists import spread_lists
from torchloupe.data.sources.source import FileReader, Reader, make_stamp, name_some
from torchloupe.errors import DataError, printable
from torchloupe.units import plural


@dataclass(frozen=True, eq=False)
class Placed:
    """Where the images of a table are."""

    ids: NDArray[Any]
    reader: Reader
    notes: tuple[str, ...]
    stamp: str
    lost: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # rows


@dataclass(frozen=True, eq=False)
class TableImages:
    """The images that cells stand for: files, all files of folders, or the cells themselves."""

    files: ImageFiles
    names: NDArray[Any]
    are_cells: bool = False
    rows: NDArray[np.int64] | None = None  # the row of each image, where rows are folders or lists
    groups: NDArray[np.int64] | None = None
    notes: tuple[str, ...] = ()
    are_lists: bool = False

    def is_row_a_class(self, labels: NDArray[Any]) -> bool:
        """Whether each row of the table lists all images of a class; `labels` are the images'."""
        if self.groups is None or not self.are_lists or labels.ndim > 1:
            return False
        pairs = np.unique(np.stack([self.groups, labels]), axis=1)
        rows, classes = (len(np.unique(column)) for column in pairs)
        return bool(rows == classes == pairs.shape[1])

    def place(
        self, labels: NDArray[Any], classes: Sequence[str], given: NDArray[np.int8] | None
    ) -> Placed:
        """Ids and a reader; with notes on files that are elsewhere or listed again."""
        if self.are_cells:
            note = "the images are in the cells of the table, as base64"
            ids = make_ids(range(len(self.names)))
            return Placed(ids, CellReader(self.names), (note,), make_stamp(self.names))
        named = [classes[number] for number in labels.tolist()] if labels.ndim == 1 else ()
        found = self.files.find(self.names, given, named)
        ids, repeated = make_distinct(found.names)
        repeated += _note_other_labels(found.names, labels)
        reader = FileReader(self.files.root, found.names, {})
        lost = np.flatnonzero(found.facts[:, 0] < 0)
        stamp = make_stamp(found.names, found.facts)
        return Placed(ids, reader, found.notes + repeated, stamp, lost)


def read_images(files: ImageFiles, names: NDArray[Any]) -> TableImages:
    """What the cells `names` [N] of the image column stand for; all of one kind."""
    if are_images(names):
        return TableImages(files, names, are_cells=True)
    spread = spread_folders(files, names) or spread_lists(files, names)
    if spread is None:
        return TableImages(files, names)
    return TableImages(
        files, spread.names, False, spread.rows, spread.groups, spread.notes, spread.are_lists
    )


def refuse_lost_classes(
    labels: NDArray[Any], classes: Sequence[str], placed: Placed, shown: str
) -> None:
    """DataError for a class of which no image can be found, as of a second header or a total."""
    if labels.ndim > 1 or not len(placed.lost):
        return
    counts = np.bincount(labels, minlength=len(classes))
    without = np.bincount(labels[placed.lost], minlength=len(classes))
    gone = np.flatnonzero((counts > 0) & (counts == without))
    if len(gone):
        row = int(placed.lost[labels[placed.lost] == gone[0]][0])
        raise DataError(
            f"{shown}: no image of class '{printable(classes[gone[0]])}' can be found, such as "
            f"'{printable(placed.ids[row], 80)}' in row {row + 1} below the header",
            "take out rows that are no images, such as a second header or a total, or put the "
            "files there",
        )


def _note_other_labels(names: NDArray[Any], labels: NDArray[Any]) -> tuple[str, ...]:
    """A note on files that are listed again with another label."""
    _, first, inverse = np.unique(names, return_index=True, return_inverse=True)
    differs = (labels != labels[first[inverse]]).reshape(len(names), -1).any(axis=1)
    again = sorted(set(names[differs].tolist()))
    if not again:
        return ()
    files = plural(len(again), "file is", "files are")
    return (
        f"{files} listed with labels that differ: {name_some(again, 3)}; where an image has "
        "several labels, write them into one cell (a|b)",
    )


def make_distinct(names: NDArray[Any]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Ids from names: a file listed again gets #2, #3; with a note that it is."""
    found, counts = np.unique(names, return_counts=True)
    again = set(found[counts > 1])
    if not again:
        return names, ()
    seen: Counter[str] = Counter()
    ids = names.copy()
    for row in np.flatnonzero(np.isin(names, found[counts > 1])):
        name = names[row]
        seen[name] += 1
        if seen[name] > 1:
            ids[row] = f"{name}#{seen[name]}"
    listed = plural(len(again), "file is", "files are")
    return ids, (f"{listed} listed more than once: {name_some(sorted(again), 3)}",)
