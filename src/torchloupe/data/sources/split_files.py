"""Lists beside a table that may say the splits of its images, such as list_eval_partition.csv.

They are pointed out, not used: how they are to be read is not certain.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from torchloupe.data.sources.image_names import make_name, plain
from torchloupe.data.sources.source import Data, FileReader, name_some
from torchloupe.data.sources.split_names import read_split, read_split_name

_ENDINGS = (".csv", ".tsv", ".txt", ".lst", ".list", ".json")
_HEAD_BYTES = 65_536  # of JSON
_SAID = re.compile("partition|patition|split", re.IGNORECASE)
_LINES = 200  # that are looked at


def note_split_files(data: Data, table: Path) -> Data:
    """`data` of a table without splits, with a note on lists beside it that name its images."""
    if data.given is not None or not isinstance(data.reader, FileReader):
        return data
    files = [file for file in sorted(table.absolute().parent.iterdir()) if _may_split(file, table)]
    if not files:
        return data
    known = {make_name(str(name).rpartition("/")[2]) for name in data.samples.ids.tolist()}
    listing = [file for file in files if lists_images(file, known)]
    if not listing:
        return data
    names = "names" if len(listing) == 1 else "name"
    note = (
        f"{name_some(file.name for file in listing)} {names} images of this table and may say "
        "their splits: not used; write train, val and test into a column named split to use them"
    )
    return replace(data, notes=(*data.notes, note))


def note_tables(tables: Sequence[Path]) -> list[str]:
    """Notes on tables beside class folders, which are not used: lists of splits, and others."""
    splits = [table for table in tables if _SAID.search(table.stem) or _has_split_column(table)]
    others = [table for table in tables if table not in splits]
    notes = []
    if splits:
        may = "may say the splits" if len(splits) > 1 else "may say the split"
        notes.append(
            f"{name_some(splits, 3)} beside the class folders {may} of the images: not used; put "
            "them into train/, val/ and test/, or give a table with the columns image, label and "
            "split"
        )
    if others:
        notes.append(
            f"{name_some(others, 3)} beside the class folders: not used, the labels are the "
            "folder names"
        )
    return notes


def _has_split_column(table: Path) -> bool:
    """Whether the first line of a table of text has a column of splits."""
    if table.suffix.lower() not in (".csv", ".tsv"):
        return False
    try:
        with table.open(encoding="utf-8-sig") as lines:
            cells = re.split(r"[,;\t]", lines.readline(_HEAD_BYTES))
    except (OSError, UnicodeDecodeError):
        return False
    return any(cell.strip(" \"'\n").lower() in ("split", "subset", "partition") for cell in cells)


def _may_split(file: Path, table: Path) -> bool:
    is_list = file.suffix.lower() in _ENDINGS and file.name != table.name and file.is_file()
    return is_list and (_SAID.search(file.stem) or read_split_name(file.stem)) is not None


def lists_images(file: Path, known: set[str]) -> bool:
    """Whether nine of ten lines begin with the name of a known image, but for the first line.

    `known` are names without endings, as make_name gives them. False for a file that isn't text.
    """
    try:
        if file.suffix.lower() == ".json":
            with file.open(encoding="utf-8-sig") as text:
                head = text.read(_HEAD_BYTES)
            if not any(read_split(word) is not None for word in re.findall(r'"([^"]+)"\s*:', head)):
                return False
            listed = re.findall(r'[\[,]\s*(?:"([^"]+)"|(\d+))(?=\s*[,\]])', head)[:_LINES]
            return _are_known([text or number for text, number in listed], known)
        with file.open(encoding="utf-8-sig") as lines:
            some = [line.strip() for line in islice(lines, _LINES)][1:]
    except (OSError, UnicodeDecodeError):
        return False
    firsts = [re.split(r"[,;\s]", line, maxsplit=1)[0].strip("'\"") for line in some if line]
    return _are_known(firsts, known)


def _are_known(firsts: list[str], known: set[str]) -> bool:
    names = [first.rpartition("/")[2] for first in firsts]
    found = sum(make_name(name) in known or plain(name) in known for name in names)
    return bool(names) and found >= 0.9 * len(names)
