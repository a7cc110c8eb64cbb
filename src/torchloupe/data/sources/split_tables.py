"""Tables of splits: train.csv beside val.csv, or a table in each of the folders train and valid.

Tables without labels, such as the test.csv of a competition, are no split.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torchloupe.data.sources.column_roles import (
    choose_image_column,
    choose_label_columns,
    plain_name,
)
from torchloupe.data.sources.columns import Table
from torchloupe.data.sources.image_files import ImageFiles
from torchloupe.data.sources.joined import join_splits
from torchloupe.data.sources.matlab import MATLAB_ENDINGS
from torchloupe.data.sources.pixel_table import find_pixel_columns, label_candidates
from torchloupe.data.sources.records import RECORD_ENDINGS
from torchloupe.data.sources.source import Data, name_some
from torchloupe.data.sources.split_names import is_filler, read_split, read_split_name
from torchloupe.data.sources.system_files import is_system_name
from torchloupe.data.sources.tables import TABLE_ENDINGS, TableOptions, open_table
from torchloupe.data.sources.text_lists import LIST_ENDINGS, is_listing
from torchloupe.data.split import SPLIT_NAMES, TRAIN, VAL
from torchloupe.errors import DataError, LoupeError, printable

_FEWEST_UNSURE = 2  # columns
_FEW_LISTS = 20  # .mat files that are looked into


def find_split_tables(folder: Path) -> dict[int, Path]:
    """The table of each split in a folder, by its name or by the folder it lies in; {} for none.

    There are none unless train and another split have labels. DataError for two of one split.
    """
    entries = sorted(entry for entry in folder.iterdir() if not is_system_name(entry.name))
    tables = [path for path in entries if _is_table(path)]
    found = _sort_by_split({path: path.stem for path in tables})
    if TRAIN not in found:
        inner = {
            table: path.name
            for path in entries
            if path.is_dir() and read_split_name(path.name)
            for table in _only_tables(path)
        }
        found = _sort_by_split(inner)
    if TRAIN not in found or len(found) < 2:
        return {}
    labelled = _find_labelled(found)
    if TRAIN not in labelled:
        labelled = _find_labelled(found, by_folders=True) or _find_unsure(found)
    if TRAIN not in labelled or len(labelled) < 2:
        return {}
    labelled = _without_trainval(_take_first_division(labelled))
    for part, paths in labelled.items():
        if len({path.with_suffix("") for path in paths}) > 1:
            raise DataError(
                f"{printable(folder)} has several tables for {SPLIT_NAMES[part]}: "
                f"{name_some(path.name for path in paths)}",
                "keep one of them, or give the table to use",
            )
    rank = TABLE_ENDINGS.index  # train.txt beside train.json says the same
    return {
        part: min(labelled[part], key=lambda path: rank(path.suffix.lower()))
        for part in sorted(labelled)
    }


def find_metadata(folder: Path) -> Path | None:
    """The metadata.csv or .jsonl of Hugging Face that labels the images of a folder, or the only
    .mat file that does; else None.

    There is none beside class folders, which say more.
    """
    entries = [entry for entry in folder.iterdir() if not is_system_name(entry.name)]
    folders = [entry.name for entry in entries if entry.is_dir()]
    if any(read_split(name) is None and not is_filler(name) for name in folders):
        return None
    for name in ("metadata.csv", "metadata.jsonl", "metadata.parquet"):
        path = folder / name
        try:
            if path.is_file() and "file_name" in Table(path).columns and _has_labels(path):
                return path
        except LoupeError:
            continue
    lists = [entry for entry in entries if entry.suffix.lower() in MATLAB_ENDINGS]
    labelled = [path for path in lists if _has_labels(path)] if len(lists) <= _FEW_LISTS else []
    return labelled[0] if len(labelled) == 1 else None


def open_split_tables(
    tables: Mapping[int, Path], name: str, options: TableOptions | None = None
) -> Data:
    """Data from a table for each split."""
    options = replace(options or TableOptions(), may_divide=False)
    parts = {part: open_table(path, options) for part, path in tables.items()}
    data = join_splits(parts, name, options.class_names)
    if not all(map(_division_of, tables.values())):
        return data
    train = tables[TRAIN]
    beside = train.parent.glob(f"*{train.suffix}")
    count = sum(_division_of(path) > 0 and _part_of(path) == TRAIN for path in beside)
    files = name_some(path.name for path in tables.values())
    note = f"{files} are used, the first of {count} divisions"
    return replace(data, notes=(note, *data.notes)) if count > 1 else data


def _division_of(path: Path) -> int:
    """The number of the division that a table is of, as in train1.txt; 0 for none."""
    found = read_split_name(path.stem)
    return (
        int(found.frame[0]) if found and len(found.frame) == 1 and found.frame[0].isdigit() else 0
    )


def _part_of(path: Path) -> int | None:
    found = read_split_name(path.stem)
    return found.part if found else None


def _take_first_division(labelled: dict[int, list[Path]]) -> dict[int, list[Path]]:
    """Of train1, val1, train2, val2 and so on those of the first number that all splits have."""
    numbers = [{_division_of(path) for path in paths} for paths in labelled.values()]
    common = set.intersection(*numbers) if numbers else set()
    if 0 in set().union(*numbers) or len(common) < 2:
        return labelled
    first = min(common)
    return {
        part: [path for path in paths if _division_of(path) == first]
        for part, paths in labelled.items()
    }


def _without_trainval(labelled: dict[int, list[Path]]) -> dict[int, list[Path]]:
    """The tables without trainval.txt, where train.txt and val.txt hold the same."""
    if VAL not in labelled or len(labelled[TRAIN]) < 2:
        return labelled
    both = [path for path in labelled[TRAIN] if "val" in path.stem.lower()]
    kept = [path for path in labelled[TRAIN] if path not in both]
    return {**labelled, TRAIN: kept or labelled[TRAIN]}


def _sort_by_split(names: Mapping[Path, str]) -> dict[int, list[Path]]:
    """The tables of each split by these names: plain ones, and those of one frame."""
    named = {path: found for path, name in names.items() if (found := read_split_name(name))}
    frames: dict[tuple[str, ...], set[int]] = {}
    for found in named.values():
        frames.setdefault(found.frame, set()).add(found.part)
    tables: dict[int, list[Path]] = {}
    for path, found in named.items():
        if found.is_plain or len(frames[found.frame]) > 1:
            tables.setdefault(found.part, []).append(path)
    return tables


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in TABLE_ENDINGS and path.is_file()


def _only_tables(folder: Path) -> list[Path]:
    """The tables of a folder that holds no class folders."""
    entries = [entry for entry in folder.iterdir() if not is_system_name(entry.name)]
    folders = [entry for entry in entries if entry.is_dir()]
    if len(folders) > 1:
        return []
    return sorted(entry for entry in entries if _is_table(entry))


def _find_labelled(
    found: Mapping[int, list[Path]], by_folders: bool = False
) -> dict[int, list[Path]]:
    """The tables of each split that have labels; with `by_folders` also folders of their paths."""
    labelled = {
        part: [path for path in paths if _has_labels(path, by_folders)]
        for part, paths in found.items()
    }
    return {part: paths for part, paths in labelled.items() if paths}


def _has_labels(path: Path, by_folders: bool = False) -> bool:
    """Whether a table holds labels beside its images, as far as its first rows tell.

    With `by_folders` the folders in the paths of its images may be the labels.
    """
    if path.suffix.lower() in (*LIST_ENDINGS, *RECORD_ENDINGS) and not is_listing(path):
        return False
    try:
        table = Table(path)
        if pixels := find_pixel_columns(table):
            named = [plain_name(name) for name in label_candidates(table, pixels)]
            return any(name not in ("id", "image_id", "index") for name in named)
        image = choose_image_column(table, "auto", ImageFiles(path).share_of)
        labels = choose_label_columns(table, "auto", image, ())
    except LoupeError:
        return False
    return by_folders or labels != [image]


def _find_unsure(found: Mapping[int, list[Path]]) -> dict[int, list[Path]]:
    """Tables of images that all have the same columns, none of which is surely the label."""
    kept: dict[int, list[Path]] = {}
    wanted: list[str] = []
    for part, paths in sorted(found.items()):
        for path in paths:
            try:
                table = Table(path)
                choose_image_column(table, "auto", ImageFiles(path).share_of)
            except LoupeError:
                continue
            wanted = wanted or table.columns
            if table.is_text and table.columns == wanted and len(wanted) > _FEWEST_UNSURE:
                kept.setdefault(part, []).append(path)
    return kept


def may_hold_tables(path: Path, files: Sequence[str], folders: Sequence[str]) -> bool:
    """Whether tables divide the folder: class folders that are in two splits say more."""
    splits = [name for name in folders if read_split_name(name) is not None]
    if not splits and not any(name.endswith(TABLE_ENDINGS) for name in files):
        return False
    seen: set[str] = set()
    for place in path.iterdir():
        if read_split_name(place.name) is not None and place.is_dir():
            inner = {n.name for n in place.iterdir() if n.is_dir() and not is_system_name(n.name)}
            if inner & seen:
                return False
            seen |= inner
    return True
