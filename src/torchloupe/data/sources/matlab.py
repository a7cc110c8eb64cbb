"""Lists of labels in MATLAB's files: a struct or cells an image, or a number for each numbered one.

So the Oxford flowers (imagelabels.mat, setid.mat), Stanford's cars and dogs have them. What is
read here becomes a table of text columns, whose roles are found as in any other table.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.image.formats import IMAGE_SUFFIXES
from torchloupe.data.sources.image_names import walk_images
from torchloupe.data.sources.matlab_file import HINT, hint_for_arrays, read_variables
from torchloupe.data.sources.split_names import read_split
from torchloupe.data.split import SPLIT_NAMES, TRAIN
from torchloupe.errors import DataError, printable
from torchloupe.units import plural

MATLAB_ENDINGS = (".mat",)
_DEEPEST = 3  # structs in one another
_WIDEST = 7  # columns of a list; arrays of more are images
_LABELS = ("label", "labels", "class", "classes", "class_id", "category", "y")
_OF_NUMBERS = re.compile(r"_?(ids?|idx|inds?|index|indices)$", re.IGNORECASE)

Columns = dict[str, list[str]]


def read_matlab(path: Path) -> tuple[Columns, tuple[str, ...]]:
    """The columns of a list of images, by name, as text, and notes; DataError for any other file.

    Numbers of classes get their names where the file, or one of class names beside it, has them.
    """
    found = _load(path)
    images = next((name for name in found if _are_images(found[name])), "")
    if not images:
        _refuse_arrays(path)
        return _label_numbered(path, found)
    count = len(found[images])
    columns = {
        name: [str(cell) for cell in cells] for name, cells in found.items() if len(cells) == count
    }
    if "test" in columns and set(columns["test"]) == {"0", "1"}:
        columns["is_test"] = columns.pop("test")
    key = next((name for name in columns if name.lower() in _LABELS), "")
    if key:
        columns[key] = _name_classes(path, columns[key], columns[images], found)
    return columns, ()


def _refuse_arrays(path: Path, variables: Mapping[str, Any] | None = None) -> None:
    """DataError for a file that holds images as an array, at any depth."""
    for name, value in (read_variables(path) if variables is None else variables).items():
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
            _refuse_arrays(path, value[0])
        if isinstance(value, np.ndarray) and value.ndim > 1 and min(value.shape[:2]) > _WIDEST:
            raise DataError(
                f"{printable(path)} holds images as an array, '{printable(name)}' "
                f"{list(value.shape)}, which is not read from MATLAB's files",
                hint_for_arrays(path),
            )


def _load(path: Path) -> dict[str, NDArray[Any]]:
    """The lists in a file by name [n]: texts, whole numbers, and the fields of structs."""
    lists: dict[str, NDArray[Any]] = {}
    for name, value in read_variables(path).items():
        _spread(name, value, lists, 0)
    return lists


def _spread(name: str, value: Any, lists: dict[str, NDArray[Any]], depth: int) -> None:
    """Add what a variable holds to `lists`: itself, or the fields of a struct under their names."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        for field in value[0] if depth < _DEEPEST else ():
            inner = [entry.get(field) for entry in value]
            _spread(field, inner if len(inner) > 1 else inner[0], lists, depth + 1)
        return
    if isinstance(value, list):
        plain = [_plain(cell) for cell in value]
        if None not in plain and plain:
            lists.setdefault(name, np.array([str(cell) for cell in plain], dtype=object))
        return
    value = np.atleast_1d(value) if isinstance(value, np.ndarray) else np.zeros(0)
    if value.ndim != 1 or not len(value):
        return
    if value.dtype.kind == "f" and (np.isfinite(value) & (value == np.floor(value))).all():
        value = value.astype(np.int64)
    if value.dtype.kind in "iu":
        lists.setdefault(name, value)


def _plain(cell: Any) -> str | int | None:
    """A cell that is a text or a whole number, alone in an array perhaps."""
    if isinstance(cell, list):
        return _plain(cell[0]) if len(cell) == 1 else None
    only = cell.item() if isinstance(cell, np.ndarray) and cell.size == 1 else cell
    if isinstance(only, float) and only.is_integer():
        only = int(only)
    return only if isinstance(only, (str, int)) else None


def _are_images(cells: NDArray[Any]) -> bool:
    if cells.dtype.kind not in "OU":
        return False
    endings = [os.path.splitext(str(cell))[1].lower() for cell in cells[:50]]  # noqa: PTH122
    return all(ending in IMAGE_SUFFIXES for ending in endings)


def _name_classes(
    path: Path, labels: list[str], images: list[str], found: Mapping[str, NDArray[Any]]
) -> list[str]:
    """Names for class numbers 1 to n from a list of n, or from the folders of the images."""
    if not all(label.isdigit() for label in labels):
        return labels
    highest = max(map(int, labels))
    known = [found]
    for beside in sorted(path.absolute().parent.glob("*.mat")):
        if re.search("meta|class|name", beside.stem, re.IGNORECASE) and beside.name != path.name:
            try:
                known.append(_load(beside))
            except DataError:
                continue
    for lists in known:
        named = [
            [str(name) for name in cells]
            for key, cells in lists.items()
            if cells.dtype.kind in "OU" and len(cells) == highest and "name" in key.lower()
        ]
        if len(named) == 1 and len(set(named[0])) == highest and "0" not in labels:
            return [named[0][int(label) - 1] for label in labels]
    folders = [image.rpartition("/")[0] for image in images]
    pairs = set(zip(labels, folders, strict=True))
    if len(pairs) == len(set(labels)) == len(set(folders)) > 1:
        return [folder.rpartition("/")[2] for folder in folders]
    return labels


def _label_numbered(
    path: Path, found: Mapping[str, NDArray[Any]]
) -> tuple[Columns, tuple[str, ...]]:
    """Images 1 to n of the folder with the n labels of a file, and the split by another file."""
    lists = {name: cells for name, cells in found.items() if cells.dtype.kind in "iu"}
    labels = next((cells for name, cells in lists.items() if name.lower() in _LABELS), None)
    numbered: dict[int, str] = {}
    for image in walk_images(str(path.absolute().parent)) if labels is not None else ():
        digits = re.findall(r"\d+", os.path.splitext(image.rpartition("/")[2])[0])  # noqa: PTH122
        if len(digits) != 1 or int(digits[0]) in numbered:
            break
        numbered[int(digits[0])] = image
    if labels is None or sorted(numbered) != list(range(1, len(labels) + 1)):
        raise DataError(
            f"{printable(path)} lists no images: it holds no names of files, nor a label for each "
            "of the numbered images beside it",
            HINT,
        )
    rows = np.arange(1, len(labels) + 1)
    columns = {"image": [numbered[row] for row in rows.tolist()], "label": list(map(str, labels))}
    note = f"{printable(path.name)} labels the {plural(len(rows), 'image')} by their numbers"
    for beside in sorted(path.absolute().parent.glob("*.mat")):
        parts = _read_parts(beside, len(rows)) if beside.name != path.name else None
        if parts is None:
            continue
        used = parts >= 0
        columns = {
            name: [cell for cell, is_used in zip(cells, used, strict=True) if is_used]
            for name, cells in columns.items()
        }
        columns["split"] = [SPLIT_NAMES[part] for part in parts[used].tolist()]
        rest = "" if used.all() else f"; {plural(int((~used).sum()), 'image')} in none of them"
        return columns, (f"{note}; the splits are those of {printable(beside.name)}{rest}",)
    return columns, (note,)


def _read_parts(path: Path, count: int) -> NDArray[np.int8] | None:
    """The split [count] of the images 1 to `count` by lists of numbers, -1 for none; or None."""
    try:
        found = _load(path)
    except DataError:
        return None
    named: dict[int, NDArray[Any]] = {}
    for name, cells in found.items():
        for text in (name, _OF_NUMBERS.sub("", name)):
            if (part := read_split(text)) is not None:
                named[part] = cells
                break
    parts = np.full(count, -1, dtype=np.int8)
    for part, cells in named.items():
        numbers = cells.astype(np.int64) if cells.dtype.kind in "iu" else np.array([0])
        if numbers.min() < 1 or numbers.max() > count or (parts[numbers - 1] >= 0).any():
            return None
        parts[numbers - 1] = part
    return parts if TRAIN in named and len(named) > 1 else None
