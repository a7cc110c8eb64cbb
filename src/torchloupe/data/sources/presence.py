"""Tables with a row for each image and label, and a column that says whether the label holds.

So Open Images lists what people verified: a row of confidence 0 says what an image does not show.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from torchloupe.data.sources.column_roles import (
    plain_name,
)
from torchloupe.data.sources.columns import Table, as_texts
from torchloupe.data.sources.flags import find_unflagged, read_flags
from torchloupe.data.sources.label_cells import refuse_blank
from torchloupe.data.sources.name_lists import name_numbers
from torchloupe.errors import printable
from torchloupe.units import plural

_COLUMNS = (
    *("confidence", "presence", "present", "is_present", "positive", "is_positive", "exists"),
    *("applies", "is_true"),
)


def find_presence_column(table: Table, others: Sequence[str]) -> str:
    """The column of 0 and 1 that may say whether a row's label holds; "" for none.

    `others` are the columns that are something else.
    """
    for name in table.columns:
        values = table.preview.get(name)
        if name in others or plain_name(name) not in _COLUMNS or values is None:
            continue
        if len(values) and not len(find_unflagged(values)):
            return name
    return ""


def join_rows(
    read: Any, image: str, label: str, presence: str, table: Table
) -> tuple[Any, tuple[str, ...]]:
    """The Arrow table `read` with one row an image, whose label cell lists what holds; notes.

    As it is where all rows hold, and where cells say something else than 0 and 1. An image keeps
    the other cells of its first row.
    """
    flags = np.strings.strip(as_texts(read[presence], presence))
    holds = read_flags(flags)
    if holds.all() or not holds.any() or len(find_unflagged(flags)):
        return read, ()
    names = np.strings.strip(as_texts(read[image], image))
    texts = np.strings.strip(as_texts(read[label], label))
    refuse_blank(texts, label, printable(table.path))
    _, first, images = np.unique(names, return_index=True, return_inverse=True)
    images = images.reshape(-1)
    count, shown = int((~holds).sum()), printable(presence)
    rows = f"{plural(count, 'row')} of {len(holds):,}"
    if len(first) == len(names) and plain_name(presence) != "confidence":
        return read, (
            f"column {shown!r} is 0 in {rows}, which are used with their labels like the others: "
            "if 0 says that the label is wrong, take these rows out",
        )
    texts, notes = name_numbers(texts, table.path, label)
    own: list[dict[str, bool]] = [{} for _ in first]
    twice = 0
    for number, text, does_hold in zip(
        images.tolist(), texts.tolist(), holds.tolist(), strict=True
    ):
        before = own[number].get(text)
        twice += before is not None and before != does_hold
        own[number][text] = does_hold or bool(before)
    kept = np.sort(first)
    held = ([text for text, is_so in own[images[row]].items() if is_so] for row in kept)
    cells = pa.array([json.dumps(words) for words in held], pa.string())
    joined = read.take(kept)
    joined = joined.set_column(joined.column_names.index(label), label, cells)
    notes.append(
        f"column {shown!r} says whether a label holds: {rows} say that it does not; the labels of "
        f"an image are joined, {plural(len(kept), 'image')} in all"
    )
    if twice:
        notes.append(f"{plural(twice, 'label')} of an image with 0 and 1 in {shown!r} count as 1")
    return joined, tuple(notes)
