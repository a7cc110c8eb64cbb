"""Labels as shards carry them: a `.cls` member, or an entry of a `.json` one.

In `.json` a label is a name, a number, or a list of these where an image has several labels; a
list of as many 0 and 1 as there are classes is one of indicators.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.sources.column_names import NAME_COLUMNS, SPLIT_COLUMNS, names_groups
from torchloupe.data.sources.column_roles import plain_name
from torchloupe.data.sources.labels import order_classes
from torchloupe.data.sources.source import name_some
from torchloupe.errors import DataError, UsageError, printable

JSON = "json"
LABEL_ENDINGS = ("cls", "class", "label", "lbl")  # of members with nothing but a label in them
LARGEST_LABEL_BYTES = 4096
LARGEST_JSON_BYTES = 2**20  # larger ones are passed over: they hold more than a label
LABEL_KEYS = (
    *("label", "labels", "cls", "class", "class_name", "class_id", "category"),
    *("category_id", "target", "y"),
)
_TOLD = {*SPLIT_COLUMNS, *NAME_COLUMNS} - {"name"}  # which is mostly the file's
_SEVERAL = "\x1f"  # before each label where there are several


def read_json_label(text: str, entry: str = "") -> tuple[str, str] | None:
    """The entry of a `.json` member that is its label, and the label; None if it holds none.

    `entry` is the one that was asked for, `a.b` that within another; else the usual names count.
    """
    try:
        found = json.loads(text)
    except ValueError:
        return None
    if entry:
        for name in entry.split("."):
            found = found.get(name) if isinstance(found, dict) else None
        label = _as_label(found)
        return None if label is None else (entry, label)
    if not isinstance(found, dict):
        label = _as_text(found)
        return ("", label) if label else None
    named = {str(key).lower(): value for key, value in found.items()}
    for key in LABEL_KEYS:
        if (label := _as_label(named.get(key))) is not None:
            return key, label
    return None


def read_json_columns(text: str) -> dict[str, str]:
    """What a `.json` member says of the split, group and class of its image, by entry."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    told: dict[str, str] = {}
    for key, value in found.items():
        plain = plain_name(str(key))
        if plain in _TOLD or names_groups(plain):
            cell = str(int(value)) if isinstance(value, bool) else _as_text(value)
            told |= {} if cell is None else {str(key): cell}
    return told


def _as_label(value: Any) -> str | None:
    """One label, or several, as text."""
    if not isinstance(value, list):
        return _as_text(value) or None
    labels = [_as_text(item) for item in value]
    if None in labels:
        return None
    return "".join(f"{_SEVERAL}{label}" for label in labels) or _SEVERAL


def require_plain(content: bytes, path: Path, name: str) -> str:
    """The label in a member `name` of a shard; DataError for bytes that are no text."""
    text = content.decode("utf-8", "backslashreplace").strip()
    if any(ord(sign) < ord(" ") or ord(sign) == 127 for sign in text):
        raise DataError(
            f"{printable(path)}: {printable(name)} is not a label but {printable(content[:20])}",
            "such a file holds one class name or number, written as text",
        )
    return text


def require_one_place(counts: Mapping[str, int], shown: str) -> None:
    """DataError where the labels of some samples come from elsewhere than those of others."""
    if len(counts) > 1:
        places = ", ".join(f".{place} ({count:,})" for place, count in counts.items())
        raise DataError(
            f"{shown}: labels are in several places: {places}",
            f"say which one holds the class: data.label_column={next(iter(counts))}",
        )


def write_json_label(names: Sequence[str]) -> bytes:
    """A `.json` member with several labels, or none."""
    return json.dumps({"labels": list(names)}, ensure_ascii=False).encode()


def spread_labels(
    texts: Sequence[str], codes: NDArray[np.int32], class_names: Sequence[str] = ()
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Labels [N], or [N, K] of 0 and 1, and class names.

    `texts` are the distinct labels found, `codes` [N] the number of each sample's.
    """
    if not holds_several(texts):
        names, lookup = order_classes(list(texts), class_names)
        return lookup[codes], names
    lists = [
        [part for part in text.split(_SEVERAL) if part] if text[:1] == _SEVERAL else [text]
        for text in texts
    ]
    if indicators := _read_indicators(lists):
        return _spread_indicators(indicators, codes, class_names)
    single = list(dict.fromkeys(label for labels in lists for label in labels))
    names, lookup = order_classes(single, class_names)
    place = dict(zip(single, lookup.tolist(), strict=True))
    rows = np.zeros((len(texts), len(names)), dtype=np.float32)
    for number, labels in enumerate(lists):
        rows[number, [place[label] for label in labels]] = 1
    return rows[codes], names


def holds_several(texts: Iterable[str]) -> bool:
    """Whether some of the labels found are several of an image."""
    return any(text.startswith(_SEVERAL) for text in texts)


def _read_indicators(lists: Sequence[Sequence[str]]) -> list[list[int]]:
    """The distinct labels as rows of 0 and 1, one place a class, if that is what they are.

    DataError for other lists in which a label stands twice.
    """
    lengths = {len(labels) for labels in lists}
    twice = next((labels for labels in lists if len(set(labels)) < len(labels)), None)
    is_binary = all(label in ("0", "1") for labels in lists for label in labels)
    if len(lengths) == 1 and min(lengths) > 1 and is_binary:
        return [[int(label) for label in labels] for labels in lists]
    if twice is not None:
        raise DataError(
            f"a list of labels holds one twice: {name_some(twice, 12)}",
            "a list names the classes of an image, each once, or is one 0 or 1 for each class",
        )
    return []


def _spread_indicators(
    rows: Sequence[Sequence[int]], codes: NDArray[np.int32], class_names: Sequence[str]
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Labels and class names of rows of 0 and 1: [N] where each has exactly one 1, else [N, K]."""
    table = np.array(rows, dtype=np.float32)
    count = table.shape[1]
    if class_names and len(class_names) != count:
        raise UsageError(
            f"data.class_names has {len(class_names)} names, the labels are lists of {count}",
            "give one name for every place of the lists",
        )
    names = tuple(class_names) or tuple(str(number) for number in range(count))
    if (table.sum(axis=1) == 1).all():
        return table.argmax(axis=1)[codes], names
    return table[codes], names


def _as_text(value: Any) -> str | None:
    """A name or whole number as text; None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() if isinstance(value, (str, int)) else None
