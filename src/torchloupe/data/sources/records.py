"""Labels in JSON and CVAT's XML: an entry an image, dicts of paths, columns, exports of programs.

What is read here becomes a table of text columns, whose roles are found as in any other table.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torchloupe.data.sources.annotation_exports import read_export
from torchloupe.data.sources.annotation_lines import read_lines
from torchloupe.data.sources.annotation_xml import read_cvat
from torchloupe.data.sources.export_records import Records
from torchloupe.data.sources.flag_rows import read_flag_rows
from torchloupe.data.sources.json_text import parse_json
from torchloupe.data.sources.object_cells import spread_objects
from torchloupe.data.sources.pairs import LABEL_KEYS
from torchloupe.data.sources.record_columns import is_image_name, read_columns, read_rows
from torchloupe.data.sources.split_names import read_split
from torchloupe.data.split import SPLIT_NAMES, TRAIN
from torchloupe.errors import DataError, LoupeError, printable

RECORD_ENDINGS = (".json", ".jsonl", ".ndjson", ".manifest", ".xml")
_WANTED = 'for example [{"image": "1.jpg", "label": "cat"}, ...]'
# What lists beside the records are called that name their class numbers.
_NAME_LISTS = ("classes", "class_names", "label_names", "names", "categories", "labels", "id2label")
_REMARKS = ("info", "metainfo", "meta", "metadata", "licenses", "license", "description", "version")
_NUMBERED_BY = (*LABEL_KEYS, "category_id", "gt_label", "label_id", "class_idx", "label_idx")

Columns = dict[str, list[str]]


def read_records(path: Path) -> tuple[Columns, tuple[str, ...]]:
    """The columns of a JSON file, by name, as text, and notes; DataError where it lists no images.

    It may hold a list of objects, an object a line, lists of columns, {path: label}, {path:
    object}, {label: [paths]}, any of these for each split, or an export (annotation_exports).
    """
    if path.suffix.lower() == ".xml":
        return _as_columns(path, *read_cvat(path))
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = [line for line in text.splitlines() if line.strip()]
        is_each = len(lines) > 1 and all(
            line.strip()[0] + line.strip()[-1] == "{}" for line in lines
        )
        if path.suffix.lower() == ".json" and not is_each:
            content = parse_json(text, printable(path))
        else:
            content = [parse_json(line, printable(path)) for line in lines]
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{printable(path)} can't be read as JSON: {printable(error)}", _WANTED
        ) from None
    try:
        records, notes = _read(content)
    except LoupeError as error:
        raise type(error)(f"{printable(path)}: {error.message}", error.hint) from None
    except (KeyError, TypeError, AttributeError, IndexError):
        records, notes = [], ()
    return _as_columns(path, records, notes)


def _as_columns(
    path: Path, records: Sequence[Any], notes: tuple[str, ...]
) -> tuple[Columns, tuple[str, ...]]:
    if not records or not all(isinstance(record, Mapping) for record in records):
        raise DataError(f"{printable(path)} lists no images", _WANTED)
    plain = [spread_objects(record) for record in records]
    names = list(dict.fromkeys(name for record in plain for name in record))
    cells = {name: [record.get(name) for record in plain] for name in names}
    columns = {name: list(map(_as_text, read_flag_rows(v) or v)) for name, v in cells.items()}
    kept = {
        name: [str(cell) for cell in cells]
        for name, cells in columns.items()
        if all(cell is not None for cell in cells) and any(cells)
    }
    return kept, notes


def _read(content: Any) -> Records:
    """Records, one an image, from any of the forms; none where it is no such form."""
    if (export := read_export(content)) is not None:
        return export
    if isinstance(content, Mapping):
        return _read_mapping(content)
    if not isinstance(content, list):
        return [], ()
    if (export := read_lines(content)) is not None:
        return export
    return (read_rows(content) if isinstance(content[0], list) else content), ()


def _read_mapping(content: Mapping[str, Any]) -> Records:
    parts = {key: read_split(str(key)) for key in content}
    splits = {key: content[key] for key, part in parts.items() if part is not None}
    rest = {key: value for key, value in content.items() if key not in splits}
    if len(splits) > 1 and TRAIN in parts.values() and set(rest) <= {*_NAME_LISTS, *_REMARKS}:
        records, notes = _read_splits(splits)
        return _name_labels(records, rest), notes
    columns, rest = read_columns(content)
    if columns:
        return _name_labels(columns, rest), ()
    rows = {key: found for key, found in content.items() if _is_list_of_lists(found)}
    for key, found in rows.items():  # {"labels": [["1.jpg", 0], ...]}
        if len(rows) == 1 and (records := read_rows(found)):
            rest = {name: other for name, other in content.items() if name != key}
            return _name_labels(records, rest), ()
    lists = {key: found for key, found in content.items() if _is_list_of_objects(found)}
    named = {key: found for key, found in lists.items() if str(key) not in _NAME_LISTS}
    if len(named) > 1:
        named = {
            k: v for k, v in named.items() if all(any(map(is_image_name, e.values())) for e in v)
        }
    if len(named or lists) == 1:  # {"data": [...]}, with other things beside it
        (key, records), *_ = (named or lists).items()
        rest = {name: found for name, found in content.items() if name != key}
        return _name_labels(records, rest), ()
    for key, found in content.items():  # {"classes": [...], "labels": {"1.jpg": 0}}
        rest = {name: value for name, value in content.items() if name != key}
        if isinstance(found, Mapping) and rest and set(rest) <= {*_NAME_LISTS, *_REMARKS}:
            return _name_labels(_read_pairs(found), rest), ()
    return _read_pairs(content), ()


def _read_pairs(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Records from {path: label}, {path: object}, {label: [paths]} or {path: [labels]}.

    Labels of a path may be numbers, or a row of 0 and 1.
    """
    values = list(content.values())
    if values and all(map(_is_label, values)):
        return [{"image": path, "label": label} for path, label in content.items()]
    are_texts = len(values) > 1 and all(map(_is_list_of_texts, values))
    if are_texts and all("/" in path or "." in path for paths in values for path in paths):
        return [{"image": path, "label": k} for k, paths in content.items() for path in paths]
    if are_texts or (len(values) > 1 and _are_numbers(values) and all(map(is_image_name, content))):
        return [{"image": path, "label": labels} for path, labels in content.items()]
    listed = values if len(values) > 1 and all(map(_is_list_of_objects, values)) else []
    if listed and all(any(map(is_image_name, e.values())) for entries in listed for e in entries):
        return [{"label": k, **entry} for k, entries in content.items() for entry in entries]
    if len(values) > 1 and all(isinstance(value, Mapping) for value in values):
        is_named = all(any(map(is_image_name, value.values())) for value in values)
        return [v if is_named else {"image": k, **v} for k, v in content.items()]
    return []


def _read_splits(content: Mapping[str, Any]) -> Records:
    """The records of each split, with its name in the column `split`."""
    records: list[Any] = []
    notes: list[str] = []
    for key, value in content.items():
        part = SPLIT_NAMES[read_split(str(key)) or TRAIN]
        found: list[Any] = []
        more: tuple[str, ...] = ()
        if _is_list_of_texts(value):
            folders = [path.strip("/").rpartition("/")[0].rpartition("/")[2] for path in value]
            found = [{"image": p, "label": f} for p, f in zip(value, folders, strict=True) if f]
        elif value:
            found, more = _read(value)
        if value and len(found) < (len(value) if isinstance(value, list) else 1):
            return [], ()
        records += [{**record, "split": part} for record in found]
        notes += more
    return records, tuple(notes)


def _name_labels(records: list[Any], rest: Mapping[str, Any]) -> list[Any]:
    """The records with class names for numbers where a list in `rest` names all of them."""
    inner = [found for key in _REMARKS if isinstance(found := rest.get(key), Mapping)]
    for key in _NAME_LISTS:
        names = next(filter(None, (_read_names(given.get(key)) for given in (rest, *inner))), {})
        keys = {k for record in records for k in record if k in _NUMBERED_BY}
        if names and len(keys) == 1:
            own = keys.pop()
            values = [record.get(own) for record in records]
            values = read_flag_rows(values) or values
            if {str(v) for value in values for v in _listed(value)} <= set(names):
                named = [[names[str(v)] for v in _listed(value)] for value in values]
                return [
                    {**record, own: found if isinstance(value, list) else found[0]}
                    for record, value, found in zip(records, values, named, strict=True)
                ]
    return records


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _read_names(found: Any) -> dict[str, str]:
    """Class names by number, as text, of a list of names, {number: name} or objects with id."""
    if isinstance(found, list) and _is_list_of_objects(found):
        return {str(entry["id"]): str(entry["name"]) for entry in found if "name" in entry}
    if _is_list_of_texts(found):
        return {str(number): name for number, name in enumerate(found)}
    if isinstance(found, Mapping) and all(isinstance(name, str) for name in found.values()):
        return {str(number): name for number, name in found.items()}
    return {}


def _is_list_of_objects(value: Any) -> bool:
    is_list = isinstance(value, list) and bool(value)
    return is_list and all(isinstance(entry, Mapping) for entry in value)


def _is_label(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def _is_list_of_lists(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], list)


def _are_numbers(values: Sequence[Any]) -> bool:
    """Whether these are rows of 0 and 1, or lists of class numbers; boxes are of one length."""
    if read_flag_rows(values) is not None:
        return True
    are_lists = all(isinstance(value, list) and all(map(_is_label, value)) for value in values)
    return are_lists and len(set(map(len, values))) > 1


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)


def _as_text(value: Any) -> str | None:
    """A cell as text; lists of labels as JSON; None for what no table can hold."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, int, float)):
        return str(value)
    if isinstance(value, list) and any(isinstance(entry, Mapping) for entry in value):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Sequence) and all(map(_is_label, value)):
        return json.dumps([str(word) for word in value], ensure_ascii=False)
    return None
