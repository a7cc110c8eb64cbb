"""The tables and lists that stand beside images, and which of them may hold training labels."""

import re
from collections.abc import Iterable
from pathlib import Path

from torchloupe.data.sources.records import RECORD_ENDINGS
from torchloupe.data.sources.split_names import read_split_name
from torchloupe.data.sources.text_lists import LIST_ENDINGS, is_listing
from torchloupe.data.sources.walk import Level
from torchloupe.data.split import TRAIN

TABLE_FILES = (".csv", ".tsv", ".parquet", ".npz", ".mat")
_OF_OTHER_USE = re.compile("submission|partition|split|bbox|bounding_box|landmark", re.IGNORECASE)
_OF_SPLITS = re.compile("partition|split", re.IGNORECASE)


def tables_in(path: Path, top: Level) -> list[Path]:
    """Files in the folder that may be the data themselves."""
    return sorted(
        path / name
        for name in top.files
        if name.lower().endswith(TABLE_FILES)
        or (name.lower().endswith((*LIST_ENDINGS, *RECORD_ENDINGS)) and is_listing(path / name))
    )


def tables_of_split(path: Path, top: Level, part: int) -> list[Path]:
    """The tables in the folder of all splits that may be of one: not those named after another."""
    names = {table: read_split_name(table.stem) for table in tables_in(path, top)}
    return [table for table, name in names.items() if name is None or name.part == part]


def rank_tables(tables: Iterable[Path]) -> list[Path]:
    """The tables that may hold training labels: one of `train`, else those of no other use."""
    found = [table for table in tables if not _is_of_other_use(table)]
    splits = {table: read_split_name(table.stem) for table in found}
    train = [table for table, name in splits.items() if name is not None and name.part == TRAIN]
    if train:
        return train
    return [table for table in found if splits[table] is None]


def _is_of_other_use(table: Path) -> bool:
    """Whether a table's name says no labels; JSON of splits holds labels, too."""
    stem = table.stem
    if table.suffix.lower() in RECORD_ENDINGS:
        stem = _OF_SPLITS.sub("", stem)
    return _OF_OTHER_USE.search(stem) is not None
