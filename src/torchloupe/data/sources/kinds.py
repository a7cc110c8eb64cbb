"""Kinds of sources: opens what was typed or passed from Python as a Data.

It decides what a source is and leaves the reading to the module that knows the format.
"""

import glob
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torchloupe.data.image.formats import IMAGE_SUFFIXES
from torchloupe.data.sources.archived import (
    Skeleton,
    find_split_archives,
    is_archive_name,
    is_shard,
    open_unpacked,
    refuse_compressed_shard,
)
from torchloupe.data.sources.archives import open_npy, open_npz
from torchloupe.data.sources.arrays import LAYOUTS
from torchloupe.data.sources.file_kinds import (
    ARRAY_KINDS,
    OPENERS,
    kind_of_array_file,
)
from torchloupe.data.sources.folder_kinds import Inside, find_inside, kind_of_folder
from torchloupe.data.sources.folders import open_folder
from torchloupe.data.sources.idx import is_idx_name, open_idx
from torchloupe.data.sources.incomplete_files import (
    hint_for_config,
    hint_for_part,
    refuse_pointer,
)
from torchloupe.data.sources.joined import join_splits, paths_of_splits
from torchloupe.data.sources.known_roots import find_known_root
from torchloupe.data.sources.missing import missing_path
from torchloupe.data.sources.named import PREFIX, open_digits, open_torchvision
from torchloupe.data.sources.no_classes import ARCHIVES, PICKLES, hint_for_foreign
from torchloupe.data.sources.objects import open_code, open_object
from torchloupe.data.sources.packed_tables import PACKED_TABLES, open_beside, open_gzip
from torchloupe.data.sources.shard_sets import names_shards, open_local_shards, open_shard_set
from torchloupe.data.sources.source import Data, short_name
from torchloupe.data.sources.split_files import note_split_files
from torchloupe.data.sources.split_tables import (
    find_metadata,
    find_split_tables,
    open_split_tables,
)
from torchloupe.data.sources.tables import TABLE_ENDINGS, TableOptions, note_unlisted, open_table
from torchloupe.data.split import TEST, TRAIN
from torchloupe.errors import DataError, LoupeError, UsageError, did_you_mean, printable
from torchloupe.system.user_code import is_object_spec

_KINDS = (
    "a source is a folder, .csv, .tsv, .parquet, .npz, .npy, .pt, .h5, .safetensors, .zip, .tar or "
    "IDX file, digits, torchvision:NAME, file.py:NAME or a URL of shards"
)
_ARRAY_KINDS = ("npz", "npy", "idx", "code", "object", *ARRAY_KINDS)
_ARCHIVES_DEEP = 2  # archives in one another that are opened
_TABLE_KINDS = ("table", "tables", "metadata", "gzip")
_TABLE_OPTIONS = ("image_column", "label_column", "label_separator", "image_folder", "split_column")


def open_data(
    source: Any,
    *,
    image_column: str = "auto",
    label_column: str = "auto",
    label_separator: str = "auto",
    image_folder: str = "auto",
    split_column: str = "auto",
    label_pattern: str = "auto",
    layout: str = "auto",
    class_names: Sequence[str] = (),
    download: bool = False,
) -> Data:
    """Images and labels from wherever they are.

    `source` is a path (class folders; a table of files; arrays as .npz, .npy, IDX, .pt, .h5,
    CIFAR or Parquet of images; tar shards; a .zip or .tar of any of these), a name ("digits",
    "torchvision:CIFAR10"), code ("file.py:name"), or a Python object: a Dataset, DataLoader or
    IterableDataset; arrays, lists or a data frame of images and labels; a tuple (train, val) or
    (train, val, test) or a dict of these or of paths; Data passes through.
    `image_column`, `label_column`, `label_separator`, `image_folder` and `split_column` are for
    tables (the first two for shards, too: endings of their members), `label_pattern` (a regex on
    paths, whose group is the class) for folders, `layout` (NHW, NHWC, NCHW) for arrays,
    `class_names` names the classes of data that carries numbers only.
    UsageError if there is no such source or an option doesn't fit it, DataError if it can't be
    learned from.
    """
    if isinstance(class_names, str):
        raise UsageError("class_names is one text", 'give a sequence, such as ("cat", "dog")')
    if layout not in LAYOUTS:
        raise UsageError(f"there is no layout {printable(layout)!r}", did_you_mean(layout, LAYOUTS))
    typed = {
        "image_column": image_column,
        "label_column": label_column,
        "label_separator": label_separator,
        "image_folder": image_folder,
        "split_column": split_column,
        "label_pattern": label_pattern,
        "layout": layout,
    }
    typed = {name: value for name, value in typed.items() if value != "auto"}
    if isinstance(source, Data):
        return _pass_through(source, typed)
    options: dict[str, Any] = {**typed, "class_names": tuple(class_names)}
    if (paths := paths_of_splits(source)) is not None:
        data = _open_paths(paths, options)
    else:
        data = _open(source, options, download)
    is_named = isinstance(source, (str, Path)) and not class_names
    return replace(data, opened_with=typed, origin=str(source) if is_named else "")


def _open(  # noqa: PLR0911
    source: Any, options: dict[str, Any], download: bool
) -> Data:
    """Data from one source; `options` are those that were typed, and class_names."""
    is_text = isinstance(source, (str, Path))
    above, kind, inside = source, "object", None
    if is_text:
        source, kind, inside = _step_inside(str(source), "label_pattern" in options)
    shown = printable(source) if is_text else f"a {type(source).__name__}"
    if kind == "archive":
        return _open_archive(_path(str(source)), **options)
    for name in _unfit(kind):
        if name in options:
            need = {"layout": "arrays", "label_pattern": "folders"}.get(name, "tables")
            if name in ("image_column", "label_column"):
                need = "tables and shards"
            hint = f"leave {name} out"
            if name in ("image_column", "label_column") and hasattr(source, "rename_column"):
                usual, given = name.partition("_")[0], printable(options[name], 60)
                hint += f", and name it in the dataset: dataset.rename_column({given!r}, {usual!r})"
            raise UsageError(
                f"data.{name}={printable(options[name])} is for {need}, and {shown} is none", hint
            )
    if kind == "code":
        found = open_code(str(source))
        if isinstance(found, (str, Path)):
            return open_data(found, download=download, **options)
        stem = Path(str(source).rpartition(":")[0]).stem
        return open_object(found, name=stem, **options)
    if kind == "object":
        return open_object(source, **options)
    if kind == "set":
        return open_shard_set(str(source), **options)
    if kind == "torchvision":
        return open_torchvision(str(source), download=download, **options)
    data = _OPENERS[kind](_path(str(source)), **options)
    return inside.adopt(data, _path(str(above))) if inside else data


def _step_inside(text: str, by_pattern: bool) -> tuple[str, str, Inside | None]:
    """A source and its kind; where a folder holds a known set, or lists further down, these.

    `by_pattern`: labels are in the paths of a folder, and its lists are not wanted.
    """
    kind = _kind_of(text)
    if kind in ("folder", "metadata") and (known := find_known_root(_path(text))):
        return known, _kind_of(known), None
    inside = find_inside(_path(text)) if kind == "folder" and not by_pattern else None
    if inside is None:
        return text, kind, None
    return str(inside.path), kind_of_folder(inside.path), inside


def _open_archive(path: Path, depth: int = 0, **options: Any) -> Data:
    """Data from whatever layout is in an archive; its name stands in every text."""
    skeleton = Skeleton(path)
    try:
        if depth < _ARCHIVES_DEEP and (inner := skeleton.only_archive()):
            return skeleton.keep_with(_open_archive(inner, depth + 1, **options))
        if table := skeleton.only_table():
            return skeleton.keep_with(open_beside(table, path, open_data, options))
        data = open_unpacked(skeleton.start(), lambda place: open_data(place, **options))
    except LoupeError as error:
        raise skeleton.explain_error(error) from None
    return skeleton.adopt(data)


def unfit_options(source: Any, *, by_pattern: bool = False) -> tuple[str, ...]:
    """The options of open_data that don't fit a source of this kind.

    `by_pattern`: data.label_pattern is typed.
    """
    if isinstance(source, Data):
        return ()
    if (paths := paths_of_splits(source)) is not None:
        source = next(iter(paths.values()))
    is_text = isinstance(source, (str, Path))
    return _unfit(_step_inside(str(source), by_pattern)[1] if is_text else "object")


def _unfit(kind: str) -> tuple[str, ...]:
    if kind in ("archive", "archives"):
        return ()
    if kind in _TABLE_KINDS:
        return ("label_pattern",)
    if kind in ("shards", "set", "parquet"):
        own = ["split_column"] if kind != "parquet" else []
        return ("label_separator", "image_folder", *own, "label_pattern", "layout")
    if kind == "folder":
        return (*_TABLE_OPTIONS, "layout")
    more = ("label_pattern",) if kind in _ARRAY_KINDS else ("label_pattern", "layout")
    return (*_TABLE_OPTIONS, *more)


def _pass_through(data: Data, typed: Mapping[str, str]) -> Data:
    """`data` as it is; with a note if options were typed that it was not opened with."""
    notes = [
        f"data.{name}={printable(value)} is not used: the data were opened before"
        for name, value in typed.items()
        if data.opened_with.get(name) != value
    ]
    notes = [note for note in notes if note not in data.notes]
    return replace(data, notes=(*data.notes, *notes)) if notes else data


def _open_paths(paths: Mapping[int, str], options: dict[str, Any]) -> Data:
    parts = {}
    for part, path in paths.items():
        if _kind_of(path) not in ("folder", "table", "archive"):
            raise UsageError(
                f"{printable(path)} is neither a table nor a folder of classes, nor an archive",
                "open it with open_data, or give arrays",
            )
        own = {"may_divide": False} if _kind_of(path) == "table" else {}
        parts[part] = _open(path, {**options, **own}, download=False)
    first = _path(paths[TRAIN])
    name = first.absolute().parent.name if len(paths) > 1 else first.stem
    return join_splits(parts, name, options["class_names"])


def _open_one_table(path: Path, **options: Any) -> Data:
    data = note_unlisted(open_table(path, TableOptions(**options)), path)
    return note_split_files(data, path)


def _open_folder_of_archives(path: Path, **options: Any) -> Data:
    """An archive for each split; one of test images without labels is not used."""
    paths, notes = find_split_archives(path), []
    if TEST in paths:
        try:
            _open(str(paths[TEST]), options, download=False)
        except DataError as error:
            notes.append(f"{paths.pop(TEST).name} is not used: {error.message}")
    data = _open_paths({part: str(file) for part, file in paths.items()}, options)
    return replace(data, name=short_name(path.resolve().name), notes=(*data.notes, *notes))


def _open_folder_of_tables(path: Path, **options: Any) -> Data:
    name = path.resolve().name
    return open_split_tables(find_split_tables(path), name, TableOptions(**options))


def _open_digits(_: Path, class_names: Sequence[str]) -> Data:
    data = open_digits(class_names)
    if not Path("digits").exists():
        return data
    note = (
        "digits is the set that comes with scikit-learn; write ./digits for the one in this folder"
    )
    return replace(data, notes=(*data.notes, note))


_OPENERS: dict[str, Callable[..., Data]] = {
    "digits": _open_digits,
    "folder": open_folder,
    "table": _open_one_table,
    "tables": _open_folder_of_tables,
    "metadata": lambda path, **options: _open_one_table(find_metadata(path) or path, **options),
    "archives": _open_folder_of_archives,
    "gzip": lambda path, **options: open_gzip(path, open_data, options),
    "npz": open_npz,
    "npy": open_npy,
    "idx": open_idx,
    "shards": open_local_shards,
    **OPENERS,
}


def _path(text: str) -> Path:
    return Path(os.path.expanduser(text))  # noqa: PTH111 - Path's raises for an unknown ~user


def _kind_of(text: str) -> str:  # noqa: PLR0911
    """The kind of source that a text names; UsageError if it names none."""
    if not text.strip():
        raise UsageError("no data was named", _KINDS)
    if text == "digits":
        return "digits"
    if text.startswith(PREFIX):
        return "torchvision"
    if names_shards(text):
        return "set"
    if text.startswith("hf:"):
        raise UsageError(
            f"{printable(text)} is not on this machine",
            "give shards on the hub, hf://datasets/NAME/{000..009}.tar, or download it",
        )
    path = _path(text)
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for names that are too long
        return kind_of_folder(path)
    if is_object_spec(text) and not os.path.exists(path):  # noqa: PTH110
        return "code"
    if os.path.isfile(path):  # noqa: PTH113
        return _kind_of_file(path)
    if any(sign in text for sign in "*?[") and glob.glob(str(path)):  # noqa: PTH207
        return "shards"
    raise missing_path(text, path, _KINDS)


def _kind_of_file(path: Path) -> str:
    ending = path.suffix.lower()
    refuse_pointer(path)
    if known := "idx" if is_idx_name(path.name) else kind_of_array_file(path):
        return known
    if is_archive_name(path.name) and not (ending == ".tar" and is_shard(path)):
        refuse_compressed_shard(path)
        return "archive"
    if ending in TABLE_ENDINGS or path.name.lower().endswith(PACKED_TABLES):
        return "table" if ending in TABLE_ENDINGS else "gzip"
    if ending in (".npz", ".npy"):
        return ending[1:]
    if ending == ".tar":
        return "shards"
    hint = _KINDS
    what = f"{ending} files are not read" if ending else "its name has no ending"
    if ending in IMAGE_SUFFIXES:
        what, hint = "it is a single image", "give the folder that holds one folder per class"
    elif ending == ".py":
        what, hint = "which object in it is the data?", f"for example {printable(path)}:dataset"
    elif config := hint_for_config(path):
        hint = config
    elif part := hint_for_part(path):
        what, hint = "it is a part of an archive", part
    elif foreign := hint_for_foreign(path.name):
        hint = foreign
        if ending in PICKLES:
            what = "pickles can run code and are not read"
        if ending in ARCHIVES:
            what = "such archives are not read"
    raise DataError(f"{printable(path)} can't be opened as data: {what}", hint)
