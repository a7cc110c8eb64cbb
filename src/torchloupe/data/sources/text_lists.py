"""Lists of images in text files: `path label` a line, `class/name` alone, or numbered lists.

Cells stand between spaces, tabs or commas; lines that begin with # are remarks, unless that is the
name of a file. What is read here becomes a table of text columns, whose roles are found as in any
other table.
"""

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path

from torchloupe.data.image.formats import IMAGE_SUFFIXES
from torchloupe.data.sources.flags import width_of_flags
from torchloupe.data.sources.headerless import is_alike, name_columns
from torchloupe.data.sources.image_names import walk_images
from torchloupe.data.sources.split_names import read_split_name
from torchloupe.data.sources.word_lists import is_image_name, join_below_header, join_words
from torchloupe.data.split import TRAIN
from torchloupe.errors import DataError, printable

LIST_ENDINGS = (".txt", ".lst", ".list")
_ENDINGS = "|".join(re.escape(ending) for ending in sorted(IMAGE_SUFFIXES))
_NAMED = re.compile(rf"(?P<path>.+?(?:{_ENDINGS}))(?:\s+(?P<rest>.*))?", re.IGNORECASE)
# A name of an image and another cell, a path through a folder, or a name and numbers.
_IN_LINE = re.compile(
    rf"({_ENDINGS})\"?[\s,;]+\S|[^\s/]/[^\s/]+({_ENDINGS})|^[^\s/]+/[^\s/]+$|^\S+(\s+\d+)+$",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"-?\d+")
_HEAD_BYTES = 8192
_HEAD_ROWS = 500  # of which columns without names get theirs

Columns = dict[str, list[str]]


def read_list(path: Path) -> tuple[Columns, tuple[str, ...]]:
    """The columns of a list, by name: image, label and more, and notes; DataError for other text.

    Of names alone the folder of each is its label. Where images are numbered (`1 cat/1.jpg`), the
    lists beside with these numbers give labels, names of classes and the split.
    """
    rows, are_spaced = _read_rows(path)
    rows = _without_counts(rows)
    rows = _cut_labels(path, rows)
    if are_spaced:
        rows = join_below_header(rows) or rows
        columns, notes = join_words(path, rows)
        if columns:
            return columns, notes
    columns = _read_columns(path, rows)
    return columns, _note_choice(columns)


def _without_counts(rows: list[list[str]]) -> list[list[str]]:
    """Rows without the count of them in the first line, or the numbers before each."""
    if len(rows) > 2 and len(rows[0]) == 1 and len(rows[2]) == len(rows[1]) + 1:
        rows = [["image", *rows[1]], *rows[2:]]  # a count, then the names of the other columns
    elif len(rows) > 2 and rows[0] == [str(len(rows) - 2)] and not any(map(_is_number, rows[1])):
        rows = rows[1:]  # a count, then the names of all columns
    if len(rows) > 1 and rows[0][0] == str(len(rows) - 1) and not any(map(is_image_name, rows[0])):
        rows = rows[1:]  # a count of the images, perhaps with one of the classes
    if _are_numbered(rows):  # as R writes a table: a number before each row, none in the header
        rows = [rows[0], *(row[1:] for row in rows[1:])]
    return rows


def _read_columns(path: Path, rows: list[list[str]]) -> Columns:
    names: list[str] = []
    if len(rows) > 1 and not any(map(_is_number, rows[0])) and _is_header(rows[0], rows[1:50]):
        names, rows = rows[0], rows[1:]
    widths = {len(row) for row in rows}
    if not rows or len(widths) > 1:
        wrong = next((k for k, row in enumerate(rows, 1) if len(row) != len(rows[0])), 1)
        raise DataError(
            f"{printable(path)} is no list of images: line {wrong} has another number of cells "
            "than the first",
            "write `path label` into each line, or image,label into a .csv",
        )
    place = _find_images(rows)
    if place < 0:
        raise DataError(
            f"{printable(path)} is no list of images: no column holds paths or names of files",
            "write `path label` into each line, or image,label into a .csv",
        )
    has_header = bool(names)
    if not names and (flagged := _join_flags(rows, place)):
        return flagged
    if not names:
        names = name_columns(place, rows[:_HEAD_ROWS])
        if "label" not in names:
            names[_find_labels(rows, place)] = "label"
            names[place] = "image"
    columns = {name: [row[k] for row in rows] for k, name in enumerate(names)}
    if len(columns) == 1:
        images = next(iter(columns.values()))
        folders = [name.strip("/").rpartition("/")[0].rpartition("/")[2] for name in images]
        return {**columns, "label": folders} if all(folders) else columns
    is_numbered = not has_header and place == 1 and len(columns) == 2
    if is_numbered and _are_distinct([row[0] for row in rows]):
        return _join_numbered(path, [row[0] for row in rows], [row[1] for row in rows])
    return columns


def _note_choice(columns: Columns) -> tuple[str, ...]:
    """A note where another column of a list without names of columns may be the label as well."""
    others = [
        name
        for name, cells in columns.items()
        if re.fullmatch(r"column \d+", name) and 1 < len(set(cells)) < len(cells)
    ]
    if "label" not in columns or not others:
        return ()
    place = list(columns).index("label") + 1
    return (
        f"cell {place} of each line is taken as the label; data.label_column='{others[0]}' takes "
        f"{'that' if len(others) == 1 else 'another'} instead",
    )


def _are_numbered(rows: Sequence[Sequence[str]]) -> bool:
    """Whether a header of words stands above rows with a count before as many cells."""
    if len(rows) < 2 or any(map(_is_number, rows[0])) or any(map(is_image_name, rows[0])):
        return False
    width = len(rows[0]) + 1
    return all(len(r) == width and r[0] == str(k) for k, r in enumerate(rows[1:], 1)) and width > 2


def _join_flags(rows: Sequence[Sequence[str]], image: int) -> Columns:
    """The columns of rows `path 1 0 0`, one 0 or 1 for each label, as lists; {} for other rows."""
    rest = [[cell for k, cell in enumerate(row) if k != image] for row in rows]
    is_one_hot = all(row.count("1") == 1 for row in rest)
    if len(rest[0]) < 2 or width_of_flags(rest) == 0:
        return {}
    if len(rest[0]) == 2 and not is_one_hot:
        if any(len(set(cells)) == 1 for cells in zip(*rest, strict=True)):
            return {}
        raise DataError(
            "each line has two cells of 0 or 1: two labels, or a label and something else",
            "save it as a .csv with names of the columns in its first line, and say which are "
            "labels: data.label_column=NAME",
        )
    labels = [json.dumps(list(map(int, row))) for row in rest]
    return {"image": [row[image] for row in rows], "label": labels}


def _cut_labels(path: Path, rows: list[list[str]]) -> list[list[str]]:
    """`label path` a row where the whole was taken for a path with a space, and is no file."""
    whole = [row[0] for row in rows if len(row) == 1 and " " in row[0]]
    if len(whole) < len(rows) or any((path.parent / name).is_file() for name in whole[:20]):
        return rows
    for cut in ([name.split(" ", 1) for name in whole], [name.rsplit(" ", 1) for name in whole]):
        some = cut[:20]
        if sum((path.parent / name).is_file() for _, name in some) > len(some) / 2:
            return cut
    return rows


def is_listing(path: Path) -> bool:
    """Whether a file of text or JSON plainly lists images, as far as its first bytes tell."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES).decode("utf-8-sig", "replace")
    except OSError:
        return False
    if path.suffix.lower() not in LIST_ENDINGS:
        return re.search(rf'({_ENDINGS})"', head, re.IGNORECASE) is not None
    lines = [line.strip() for line in head.splitlines()[:40]]
    lines = [line for line in lines if line and not line.startswith("#")][:-1] or lines[:1]
    named = [_IN_LINE.search(line) is not None for line in lines]
    return bool(named) and sum(named) >= 0.9 * len(named)


def _read_rows(path: Path) -> tuple[list[list[str]], bool]:
    """The cells of each line, and whether they stand between spaces."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{printable(path)} can't be read as a list in UTF-8: {printable(error)}",
            "save it again as UTF-8",
        ) from None
    lines = [line.strip() for line in text.splitlines()]
    lines = _without_remarks(path, lines)
    some = lines[:50]
    for sign in ("\t", ",", ";"):
        if some and len({line.count(sign) for line in some}) == 1 and sign in some[0]:
            return [[cell.strip().strip('"') for cell in line.split(sign)] for line in lines], False
    return [_cut(line) for line in lines], True


def _without_remarks(path: Path, lines: list[str]) -> list[str]:
    """The lines that say something; one that begins with # may name a file, `#1.jpg cat`."""
    marked = {line: named["path"] for line in lines
              if line.startswith("#") and (named := _NAMED.match(line))}  # fmt: skip
    marked = {line: name.partition(",")[0].strip('"') for line, name in marked.items()}
    kept = {line for line, name in marked.items() if (path.parent / name).is_file()}
    if len(kept) < len(marked):
        known = {image.rpartition("/")[2] for image in walk_images(str(path.parent))}
        kept |= {line for line, name in marked.items() if name.rpartition("/")[2] in known}
    return [line for line in lines if line and (line[0] != "#" or line in kept)]


def _cut(line: str) -> list[str]:
    """The cells between spaces; one in quotes, or that ends like an image, may hold spaces."""
    if '"' in line:
        return [cell for cell in next(csv.reader([line], delimiter=" ")) if cell]
    named = _NAMED.fullmatch(line)
    words = line.split()
    if named is None or (_is_number(words[0]) and " " in named["path"]):
        return words
    return [named["path"], *(named["rest"] or "").split()]


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None


def _is_header(first: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first line holds words where the others hold names of files."""
    place = _find_images(rows)
    if place < 0 or len(first) != len(rows[0]):
        return False
    if is_alike(place, first, rows):
        return False
    return not is_image_name(first[place]) and "/" not in first[place] and len(first) > 1


def _find_images(rows: Sequence[Sequence[str]]) -> int:
    """The column whose cells are names of images, or lead through folders; else the first of two
    and more columns of distinct texts; -1 for none.
    """
    some = rows[:50]
    for is_one in (is_image_name, lambda cell: "/" in cell.strip("/")):
        for k in range(len(some[0])):
            if all(len(row) > k and is_one(row[k]) for row in some):
                return k
    texts = [row[0] for row in rows]
    is_plain = len(some[0]) > 1 and _are_distinct(texts) and not all(map(_is_number, texts))
    return 0 if is_plain and all(len(row) == len(some[0]) for row in some) else -1


def _are_distinct(cells: Sequence[str]) -> bool:
    return len(set(cells)) == len(cells)


def _find_labels(rows: Sequence[Sequence[str]], image: int) -> int:
    """The column of labels where columns have no names: the one behind images that come first.

    Else, of the columns beside the images, or before them if they come last, it is the one with
    the fewest different cells, two at least: the number of a row or a patient may stand there, too.
    """
    count = len(rows[0])
    if image == 0:
        return min(count - 1, 1)
    near = (image + 1, image - 1) if image < count - 1 else range(image - 1, -1, -1)
    different = {k: len({row[k] for row in rows}) for k in near}
    able = [k for k, found in different.items() if found > 1]
    return min(able or different, key=lambda k: different[k])


def _join_numbered(path: Path, numbers: Sequence[str], images: list[str]) -> Columns:
    """The images of a numbered list, with what the lists beside it say of their numbers."""
    columns: Columns = {"image": images}
    beside: dict[str, dict[str, str]] = {}
    for file in sorted(path.parent.glob(f"*{path.suffix}")):
        rows = _read_rows(file)[0] if file != path and file.stat().st_size < 2**28 else []
        are_named = all(len(row) > 1 and not any(map(_is_number, row[1:])) for row in rows)
        if rows and (are_named or all(len(row) == 2 for row in rows)):
            beside[file.stem.lower()] = {row[0]: " ".join(row[1:]) for row in rows}
    own = {name: found for name, found in beside.items() if set(numbers) <= set(found)}
    labels = [name for name in own if "label" in name or "class" in name]
    splits = [name for name in own if (n := read_split_name(name)) or "split" in name or n]
    splits = [name for name in splits if name not in labels]
    if len(labels) != 1:
        raise DataError(
            f"{printable(path)} numbers its images, and no list beside it has a label for each "
            "number",
            "write `path label` into each line, or give a table of images and labels",
        )
    codes = [own[labels[0]][number] for number in numbers]
    names = [found for found in beside.values() if set(codes) <= set(found)]
    names = [found for found in names if found is not own[labels[0]] and len(found) < len(numbers)]
    columns["label"] = [names[0][code] for code in codes] if len(names) == 1 else codes
    if len(splits) == 1:
        flags = [own[splits[0]][number] for number in numbers]
        named = read_split_name(splits[0])
        is_flag = set(flags) <= {"0", "1"} and (named is None or named.part == TRAIN)
        columns["is_train" if is_flag else "split"] = flags
    return columns
