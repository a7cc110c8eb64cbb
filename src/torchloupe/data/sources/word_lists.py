"""Lists of text whose labels are several words between spaces: `images/1.jpg German shepherd`."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from torchloupe.data.image.formats import IMAGE_SUFFIXES
from torchloupe.data.sources.flags import width_of_flags
from torchloupe.data.sources.headerless import are_splits
from torchloupe.data.sources.image_names import make_name, plain, walk_images
from torchloupe.data.sources.split_names import read_split
from torchloupe.errors import printable

Rows = Sequence[Sequence[str]]
Columns = dict[str, list[str]]
NONE: tuple[Columns, tuple[str, ...]] = ({}, ())

_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def join_words(path: Path, rows: Rows) -> tuple[Columns, tuple[str, ...]]:
    """The columns of rows `path several words`, and notes; {} for other rows.

    A split before or behind the words is a column of its own, and so is a number in each row. {}
    where the first cells are not names of images, or where some rows hold numbers alone.
    """
    if len(rows) < 2 or min(map(len, rows)) < 2 or max(map(len, rows)) < 3:
        return NONE
    place = int(all(_is_number(row[0]) and is_image_name(row[1]) for row in rows))
    names = [row[place] for row in rows]
    rest = [list(row[place + 1 :]) for row in rows]
    is_even = len(set(map(len, rest))) == 1
    if not all(rest) or not _name_images(path, names):
        return NONE
    columns: Columns = {"column 1": [row[0] for row in rows]} if place else {}
    columns["image"] = names
    for end in (-1, 0):
        cells = [words[end] for words in rest]
        if min(map(len, rest)) > 1 and len(set(map(read_split, cells))) > 1 and are_splits(cells):
            columns["split"] = [words.pop(end) for words in rest]
    if max(map(len, rest)) < 2 or any(all(map(_is_number, w)) for w in rest if len(w) > 1):
        return NONE
    numbered = _take_numbers(rest)
    if max(map(len, rest)) < 2 or (is_even and (place or not _are_words(rest))):
        return NONE  # such as `patient path class source`
    columns["label"] = [" ".join(words) for words in rest]
    columns |= numbered
    if not is_even and not numbered:
        return columns, ()
    longest = printable(max(columns["label"], key=len), 60)
    more = next((f"; data.label_column='{name}' takes the number" for name in numbered), "")
    return columns, (
        f"the words beside each path are one label, such as '{longest}'{more}; commas or tabs "
        "between all cells keep words apart",
    )


def join_below_header(rows: Rows) -> list[list[str]]:
    """Rows of as many cells as the header, where the label is of several words; [] if it isn't.

    The first row is the header: no image, and no number in it.
    """
    if len(rows) < 2 or len(rows[0]) < 2:
        return []
    first, below = rows[0], rows[1:]
    width = len(first)
    is_header = not any(_is_number(cell) or is_image_name(cell) or "/" in cell for cell in first)
    if not is_header or min(map(len, below)) < width or max(map(len, below)) == width:
        return []
    if not all(is_image_name(row[0]) for row in below):
        return []
    named = [k for k, cell in enumerate(first) if re.search("label|class|categ", cell.lower())]
    place = named[0] if len(named) == 1 and named[0] else width - 1
    joined = [list(first)]
    for row in below:
        end = place + 1 + len(row) - width
        joined.append([*row[:place], " ".join(row[place:end]), *row[end:]])
    return joined


def is_image_name(cell: str) -> bool:
    """Whether a cell ends like the name of an image file."""
    return os.path.splitext(cell)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122


def _name_images(path: Path, cells: Sequence[str]) -> bool:
    """Whether cells are names of images: by their endings, or as files are called below."""
    if all(map(is_image_name, cells)):
        return True
    if len(set(cells)) < len(cells):
        return False
    known = {make_name(image.rpartition("/")[2]) for image in walk_images(str(path.parent))}
    lasts = [name.rpartition("/")[2] for name in cells]
    names = [make_name(name) if is_image_name(name) else plain(name) for name in lasts]
    return sum(name in known for name in names) * 2 > len(names)


def _take_numbers(rest: list[list[str]]) -> Columns:
    """Numbers that all rows have before or behind two and more words, taken out of `rest`."""
    found: Columns = {}
    before = 0
    for end in (0, -1):
        while all(len(words) > 1 and _is_number(words[end]) for words in rest):
            others = [words[1:] if end == 0 else words[:-1] for words in rest]
            if not all(map(_holds_word, others)) or (end and max(map(len, others)) < 2):
                break  # numbers alone, or `Boeing 747`
            place = 2 + (len(rest[0]) - 1 + before if end else len(found))
            found[f"column {place}"] = [words.pop(end) for words in rest]
        before = len(found)
    return found


def _are_words(rest: Rows) -> bool:
    """Whether no cell holds a digit or names a file, no column says one thing or is of flags."""
    if any(len(set(cells)) == 1 for cells in zip(*rest, strict=False)):
        return False
    return width_of_flags(rest) == 0 and not any(
        re.search(r"\d|[/\\]", cell) or is_image_name(cell) for words in rest for cell in words
    )


def _holds_word(words: Sequence[str]) -> bool:
    return any(not _is_number(word) for word in words)


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None
