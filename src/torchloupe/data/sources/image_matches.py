"""Which of the files that a cell of a table may mean is taken, and what is said of it.

The only one is taken, else the one in the place that fits all cells, the folder called like the
label, or the split of the row.
"""

import filecmp
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.sources.image_names import plain
from torchloupe.data.sources.source import name_some
from torchloupe.data.sources.split_names import read_split_name
from torchloupe.data.split import SPLIT_NAMES, TEST, TRAIN, VAL
from torchloupe.errors import DataError, printable
from torchloupe.units import plural

AS_WRITTEN = ""  # with slashes for backslashes, and without spaces around it
BY_LOOKS = "*"  # but for case, and how accents are stored
BY_ITS_END = "/"  # the cell begins with folders that are not here
ZEROS = re.compile(r"#+(?=\*)")  # `train/######*.jpg`: the cell lacks the zeros of a number so long

_COMPARED = 50  # copies whose bytes are read


@dataclass(frozen=True)
class Match:
    """A file that a cell may mean: where it is, and how the cell was read to get there."""

    path: str  # relative to the table's folder
    place: str  # `train/*.jpg`: the folder and the ending that the cell left out; or one of those:


def choose_matches(
    table: Path,
    matches: dict[int, list[Match]],
    given: NDArray[np.int8] | None,
    labels: Sequence[str] = (),
) -> dict[int, Match]:
    """One match a row: the only one, else the one in the place that fits all rows.

    Where that leaves several, the folder called like the label or split of the row decides.
    """
    found = {row: listed for row, listed in matches.items() if listed}
    if given is not None:
        found = keep_own_splits(found, given)
    else:
        _refuse_held_back(table, found)
    open_rows = {row: listed for row, listed in found.items() if len(listed) > 1}
    if not open_rows:
        return {row: listed[0] for row, listed in found.items()}
    counts = Counter(place for listed in found.values() for place in {m.place for m in listed})
    fitting = [place for place, count in counts.items() if count == len(found)]
    if len(fitting) > 1:
        wanted = read_split_name(table.stem)
        own = [place for place in fitting if wanted is not None and _is_of(place, wanted.part)]
        fitting = own or fitting
    if len(fitting) == 1:
        return {
            row: next(match for match in listed if match.place == fitting[0])
            for row, listed in found.items()
        }
    if labels and (called := _choose_by_labels(found, labels)):
        return called
    chosen = {row: listed[0] for row, listed in found.items() if len(listed) == 1}
    for row, listed in open_rows.items():
        of_split = [m for m in listed if given is not None and _is_of(m.place, given[row])]
        if len(of_split) != 1:
            places = sorted({match.place for match in listed})
            raise DataError(
                f"{printable(table)} lists names that fit files in several places: "
                f"{name_some(places)}",
                _say_which(places),
            )
        chosen[row] = of_split[0]
    return chosen


def note_places(table: Path, placed: Counter[str]) -> tuple[str, ...]:
    """Notes on where files were found that are not where the cells say."""
    notes = []
    if placed[BY_ITS_END]:
        notes.append(
            f"{plural(placed[BY_ITS_END], 'path')} of {printable(table)} "
            "lead elsewhere; the files were found by the last folders and names of the paths"
        )
    if placed[BY_LOOKS]:
        notes.append(
            f"{plural(placed[BY_LOOKS], 'path')} of {printable(table)} and the names of "
            "the files differ in case or in how accents are stored"
        )
    places = [place for place, _ in placed.most_common() if place.strip("/*")]
    places = [place for place in places if not ZEROS.search(place)]
    if places:
        notes.append(f"files of {printable(table)} were found as {name_some(places, 3)}")
    return tuple(notes)


def note_zeros(table: Path, chosen: dict[int, Match], names: NDArray[Any]) -> tuple[str, ...]:
    """A note on ids that lost the zeros before them."""
    rows = [row for row, match in chosen.items() if ZEROS.search(match.place)]
    if not rows:
        return ()
    return (
        f"{plural(len(rows), 'id')} of {printable(table)} lost zeros: "
        f"{printable(names[rows[0]], 40)} is {printable(chosen[rows[0]].path, 80)}",
    )


def _choose_by_labels(found: dict[int, list[Match]], labels: Sequence[str]) -> dict[int, Match]:
    """The match of each row in the folder that is called like its label; {} unless all have one."""
    chosen = {}
    for row, listed in found.items():
        called = [m for m in listed if plain(labels[row]) in plain(m.path).split("/")[:-1]]
        if len(called) > 1:
            called = [m for m in called if labels[row] in m.path.split("/")[:-1]]
        if len(called) != 1:
            return {}
        chosen[row] = called[0]
    return chosen


def _say_which(places: Sequence[str]) -> str:
    """A hint that names one of the places: a folder, or if it is the endings, the ending."""
    folders = {ZEROS.sub("", place).partition("*")[0].rstrip("/") for place in places}
    if len(folders) > 1:
        first = min(folders, key=lambda folder: (not _is_of(folder, TRAIN), -len(folder)))
        return f"say which: data.image_folder={printable(first)}"
    return "write the ending of each file into the table"


def keep_own_splits(
    found: dict[int, list[Match]], given: NDArray[np.int8]
) -> dict[int, list[Match]]:
    """Of names that rows of several splits have, the files in the folder of each row's split.

    Files in the folder of another split are dropped, since they are those of its rows; where a
    folder of val is not there, val is taken from that of train if train does not list the name.
    """
    parts: dict[str, set[int]] = {}
    for row, listed in found.items():
        for match in listed:
            parts.setdefault(match.path, set()).add(int(given[row]))
    kept = {}
    for row, listed in found.items():
        own = int(given[row])
        fitting = [m for m in listed if _is_of(m.place, own)] if len(listed) > 1 else listed
        is_shared = any(len(parts[match.path]) > 1 for match in listed)
        if not is_shared:
            kept[row] = listed
            continue
        left = [m for m in fitting or listed if part_of(m.place) in (None, own)]
        free = [m for m in listed if part_of(m.place) not in parts[m.path]]
        kept[row] = left or free
    return {row: listed for row, listed in kept.items() if listed}


def _refuse_held_back(table: Path, found: dict[int, list[Match]]) -> None:
    """DataError where a table of train finds its files in a folder of val or test alone."""
    wanted = read_split_name(table.stem)
    if wanted is None or wanted.part != TRAIN:
        return
    places = {match.place for listed in found.values() for match in listed}
    parts = [part_of(place, is_plain=True) for place in sorted(places)]
    if parts and all(part in (VAL, TEST) for part in parts):
        folder = min(places).partition("*")[0].rpartition("/")[0]
        raise DataError(
            f"{printable(table)} is of train, and its files are found in "
            f"{printable(folder)}/ alone, a folder of {SPLIT_NAMES[parts[0] or 0]}",
            f"put the images of train beside it; data.image_folder={printable(folder)} takes these",
        )


def merge_copies(
    table: Path, matches: dict[int, list[Match]]
) -> tuple[dict[int, list[Match]], tuple[str, ...]]:
    """Of files that lie in several folders as copies those in one, and a note.

    Without a note they are left as they are: some differ in size, or in bytes of those compared.
    """
    open_rows = {row: listed for row, listed in matches.items() if len(listed) > 1}
    root = table.absolute().parent
    for listed in open_rows.values():
        if len({os.stat(root / match.path).st_size for match in listed}) > 1:  # noqa: PTH116
            return matches, ()
    for row in list(open_rows)[:: max(1, len(open_rows) // _COMPARED)]:
        first, *others = (root / match.path for match in open_rows[row])
        if not all(filecmp.cmp(first, other, shallow=False) for other in others):
            return matches, ()
    counts = Counter(match.place for listed in open_rows.values() for match in listed)
    chosen = {
        row: [min(listed, key=lambda match: (-counts[match.place], match.place))]
        for row, listed in open_rows.items()
    }
    left = sorted(set(counts) - {listed[0].place for listed in chosen.values()})
    note = (
        f"{plural(len(chosen), 'file')} of {printable(table)} are there more than once, as copies: "
        f"{name_some(left)} are not used"
    )
    return matches | chosen, (note,) if chosen else ()


def part_of(place: str, is_plain: bool = False) -> int | None:
    """The split that the folders of a place name, as `images/test/*.jpg`; None for none or two.

    With `is_plain` names count that say nothing else but a number: not `test tubes/`.
    """
    folders = place.partition("*")[0].split("/")[:-1]
    named = [found for name in folders if (found := read_split_name(name)) is not None]
    plainly = [found for found in named if all(map(str.isdigit, found.frame))]
    parts = {found.part for found in (plainly if is_plain else named)}
    return parts.pop() if len(parts) == 1 else None


def _is_of(place: str, part: int) -> bool:
    return part_of(place if "*" in place else f"{place}/*") == part
