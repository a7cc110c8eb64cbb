"""Columns of splits and groups where they can't be used: in items of a dataset, and in streams."""

from collections.abc import Iterable, Mapping
from typing import Any

from torchloupe.data.sources.column_names import SPLIT_COLUMNS, names_groups
from torchloupe.data.sources.column_roles import plain_name
from torchloupe.data.sources.source import name_some


def tell_split_or_group(name: object) -> bool:
    """Whether a column so called says the split of a row, or what its image is of."""
    plain = plain_name(str(name))
    return plain in SPLIT_COLUMNS or names_groups(plain)


def note_unused_entries(item: Any) -> tuple[str, ...]:
    """A note on entries of an item of a dataset that say its split or group."""
    return _note(item, "entries", "a frame or list of dicts of images, labels and these")


def note_unused_in_stream(stream: Any) -> tuple[str, ...]:
    """A note on columns of a stream, as Hugging Face's have them, that say splits or groups."""
    names = getattr(getattr(stream, "dataset", stream), "column_names", None)
    told = dict.fromkeys(names) if isinstance(names, (list, tuple)) else None
    return _note(told, "columns of the stream", "a stream for each split")


def _note(found: Any, what: str, instead: str) -> tuple[str, ...]:
    names: Iterable[object] = found if isinstance(found, Mapping) else ()
    told = [name for name in names if tell_split_or_group(name)]
    if not told:
        return ()
    return (f"{what} that say a split or group are not used, {name_some(told)}: give {instead}",)
