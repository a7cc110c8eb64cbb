"""Labels as shards carry them: a `.cls` member, or an entry of a `.json` one.

In `.json` a label is a name, a number, or a list of these where an image has several labels.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.sources.labels import order_classes

LARGEST_LABEL_BYTES = 4096
LARGEST_JSON_BYTES = 2**20  # larger ones are passed over: they hold more than a label
LABEL_KEYS = (
    *("label", "labels", "cls", "class", "class_name", "class_id", "category"),
    *("category_id", "target", "y"),
)
_SEVERAL = "\x1f"  # before each label where there are several


def read_json_label(text: str) -> str | None:
    """The label in the text of a `.json` member; None if it holds none."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    named = {str(key).lower(): value for key, value in found.items()}
    for key in LABEL_KEYS:
        value = named.get(key)
        if isinstance(value, list):
            labels = [_as_text(item) for item in value]
            if None not in labels:
                return "".join(f"{_SEVERAL}{label}" for label in labels) or _SEVERAL
        elif (label := _as_text(value)) is not None:
            return label
    return None


def write_json_label(names: Sequence[str]) -> bytes:
    """A `.json` member with several labels, or none."""
    return json.dumps({"labels": list(names)}, ensure_ascii=False).encode()


def spread_labels(
    texts: Sequence[str], codes: NDArray[np.int32], class_names: Sequence[str] = ()
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Labels [N], or [N, K] of 0 and 1, and class names.

    `texts` are the distinct labels found, `codes` [N] the number of each sample's.
    """
    if not any(text.startswith(_SEVERAL) for text in texts):
        names, lookup = order_classes(list(texts), class_names)
        return lookup[codes], names
    lists = [
        [part for part in text.split(_SEVERAL) if part] if text[:1] == _SEVERAL else [text]
        for text in texts
    ]
    single = list(dict.fromkeys(label for labels in lists for label in labels))
    names, lookup = order_classes(single, class_names)
    place = dict(zip(single, lookup.tolist(), strict=True))
    rows = np.zeros((len(texts), len(names)), dtype=np.float32)
    for number, labels in enumerate(lists):
        rows[number, [place[label] for label in labels]] = 1
    return rows[codes], names


def _as_text(value: Any) -> str | None:
    """A name or whole number as text; None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() if isinstance(value, (str, int)) else None
