"""Cells that are objects: `{"name": "cat"}`, `{"cat": true, "dog": false}`, `{"choices": ["cat"]}`.

An object stands for a plain value or a list of such, or it becomes columns of its own.
"""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from torchloupe.data.sources.pairs import LABEL_KEYS

_NAMES = (
    *("name", "class_name", "label_name", "category_name", "choice", "value", "title", "text"),
    *("tag_name", "display_name", "tag", "id"),
)
_LISTS = ("choices", "labels", "classes", "tags", "categories")
_FILES = ("path", "file_name", "filename", "filepath", "file", "bytes")
# In this order: a name says more than an id. Without `_`, as in tagName.
_USUAL = tuple(key.replace("_", "") for key in (*_FILES, *LABEL_KEYS, *_NAMES))
_SAID = ({"from", "value"}, {"role", "content"})  # the keys of what is said, and by whom
_LOOKED_AT = 50  # cells of a column
_DEEPEST = 4  # objects in one another that become columns

Plain = str | int | float | bool


def read_object(value: Any) -> Any:
    """What an object, or each in a list, stands for: a plain value, a list of them, or None.

    Anything else is given back as it is.
    """
    if isinstance(value, Mapping):
        return _read_one(value)
    if isinstance(value, list) and value and all(isinstance(entry, Mapping) for entry in value):
        if any(all(said <= entry.keys() for entry in value) for said in _SAID):
            return None  # a conversation about the image
        found = [_read_one(entry) for entry in value]
        if all(_is_label(name) for name in found):
            return list(dict.fromkeys(found))
        return None
    return value


def spread_objects(record: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """A record without objects: each as what it stands for, or as columns such as `data.image`.

    Objects of numbers alone, such as boxes, are left out.
    """
    plain: dict[str, Any] = {}
    for key, value in record.items():
        found = read_object(value)
        if found is None and isinstance(value, Mapping):
            if depth < _DEEPEST and not _is_of_numbers(value):
                inner = spread_objects(value, depth + 1)
                plain |= {f"{key}.{name}": cell for name, cell in inner.items()}
        elif found is None and isinstance(value, list) and not all(map(_is_of_numbers, value)):
            plain[str(key)] = value  # stays, so that errors name the column
        else:
            plain[str(key)] = found
    return plain


def holds_unread(cells: NDArray[Any] | None) -> bool:
    """Whether cells are lists of objects that stand for no labels, as text."""
    return cells is not None and any(_is_unread(str(cell)) for cell in cells[:_LOOKED_AT].tolist())


def _is_unread(cell: str) -> bool:
    if not cell.startswith("[{"):
        return False
    for parse in (json.loads, ast.literal_eval):
        try:
            return not are_labels(read_object(parse(cell)))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return False


def are_labels(value: Any) -> bool:
    """Whether this is a list of labels, without objects in it."""
    return isinstance(value, list) and all(map(_is_label, value))


def _read_one(value: Mapping[str, Any]) -> Any:
    lower = {re.sub(r"[-_ ]", "", str(key).lower()): found for key, found in value.items()}
    for key in _LISTS:
        if isinstance(found := lower.get(key), list) and found and all(map(_is_label, found)):
            return found
    if value and all(isinstance(found, bool) for found in value.values()):
        return [str(key) for key, found in value.items() if found]
    numbers = [found for found in value.values() if found in (0, 1)]
    if len(numbers) == len(value) > 1 and not set(lower) & set(_USUAL):
        return [str(key) for key, found in value.items() if found]
    for key in _USUAL:
        found = lower.get(key)
        if isinstance(found, Mapping) and key in (*LABEL_KEYS, "tag"):
            found = _read_one(found)
        if _is_label(found):
            return found
    only = next(iter(value.values())) if len(value) == 1 else None
    return only if isinstance(only, str) else None


def _is_label(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def _is_of_numbers(value: Mapping[str, Any]) -> bool:
    return all(isinstance(v, (int, float)) or _are_numbers(v) for v in value.values())


def _are_numbers(value: Any) -> bool:
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return is_list and all(isinstance(entry, (int, float)) for entry in value)
