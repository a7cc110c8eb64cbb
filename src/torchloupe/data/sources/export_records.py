"""Records of annotation exports: each image with its labels, and with what is said of its split."""

from collections.abc import Mapping, Sequence
from typing import Any

from torchloupe.data.sources.column_names import SPLIT_COLUMNS
from torchloupe.units import plural

Records = tuple[list[Any], tuple[str, ...]]
Cells = Mapping[str, Any]


def pair_labels(found: Sequence[tuple[Any, list[str]]], beside: Sequence[Cells] = ()) -> Records:
    """A record of each labelled image: a text if all have one label, else lists.

    `beside` are other cells of each image, such as its split.
    """
    columns = {"label": [names for _, names in found]}
    return make_records([file for file, _ in found], columns, beside)


def make_records(
    files: Sequence[Any], columns: Mapping[str, Sequence[list[str]]], beside: Sequence[Cells] = ()
) -> Records:
    """`pair_labels` with several columns of labels; an image without any label is left out."""
    rows = [row for row in range(len(files)) if any(labels[row] for labels in columns.values())]
    records: list[Any] = [{"file_name": files[row]} for row in rows]
    for name, labels in columns.items():
        is_single = all(len(labels[row]) < 2 for row in rows)
        for record, row in zip(records, rows, strict=True):
            record[name] = "".join(labels[row]) if is_single else labels[row]
    kept = [beside[row] for row in rows] if beside else []
    for name in dict.fromkeys(name for cells in kept for name in cells):
        if len({cells.get(name) for cells in kept}) > 1:  # one for all divides nothing
            for record, cells in zip(records, kept, strict=True):
                record[name] = cells.get(name)
    return records, note_unlabelled(len(files) - len(rows))


def note_unlabelled(count: int) -> tuple[str, ...]:
    """A note on images that nobody labelled."""
    has = "has no label and is" if count == 1 else "have no label and are"
    return (f"{plural(count, 'image')} {has} not used",) if count else ()


def find_splits(entry: Any) -> dict[str, Any]:
    """The cells of an image's own entry that may name its split: `{"subset": "Train"}`."""
    if not isinstance(entry, Mapping):
        return {}
    return {
        str(key): value
        for key, value in entry.items()
        if str(key).lower() in SPLIT_COLUMNS and isinstance(value, (str, int)) and value != ""
    }
