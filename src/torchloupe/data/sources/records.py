"""Labels in JSON: a line or an entry an image, a dict of paths, or COCO's lists.

What is read here becomes a table of text columns, whose roles are found as in any other table.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torchloupe.errors import DataError, printable

RECORD_ENDINGS = (".json", ".jsonl", ".ndjson")
_WANTED = 'for example [{"image": "1.jpg", "label": "cat"}, ...]'

Columns = dict[str, list[str]]


def read_records(path: Path) -> Columns:
    """The columns of a JSON file, by name, as text; DataError where it lists no images.

    It may hold a list of objects, an object a line, {path: label}, {label: [paths]}, or COCO's
    images, annotations and categories, where an image has the labels of its annotations.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json":
            content = json.loads(text)
        else:
            content = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{printable(path)} can't be read as JSON: {printable(error)}", _WANTED
        ) from None
    if isinstance(content, Mapping):
        records = _read_mapping(content)
    else:
        records = content if isinstance(content, list) else []
    if not records or not all(isinstance(record, Mapping) for record in records):
        raise DataError(f"{printable(path)} lists no images", _WANTED)
    names = list(dict.fromkeys(str(name) for record in records for name in record))
    columns = {name: [_as_text(record.get(name)) for record in records] for name in names}
    return {
        name: [str(cell) for cell in cells]
        for name, cells in columns.items()
        if all(cell is not None for cell in cells)
    }


def _read_mapping(content: Mapping[str, Any]) -> list[Any]:
    if all(isinstance(content.get(key), list) for key in ("images", "annotations", "categories")):
        return _read_coco(content)
    inner = [value for value in content.values() if isinstance(value, list)]
    if len(content) == 1 and inner and all(isinstance(entry, Mapping) for entry in inner[0]):
        return list(inner[0])  # {"data": [...]}
    if content and all(_is_label(value) for value in content.values()):
        return [{"image": path, "label": label} for path, label in content.items()]
    if len(content) > 1 and all(_is_list_of_texts(value) for value in content.values()):
        if all("/" in path or "." in path for paths in content.values() for path in paths):
            return [{"image": path, "label": k} for k, paths in content.items() for path in paths]
        return [{"image": path, "label": labels} for path, labels in content.items()]
    return []


def _read_coco(content: Mapping[str, Any]) -> list[Any]:
    """A record an image: its file and the names of the categories that it is annotated with."""
    names = {entry["id"]: str(entry.get("name", entry["id"])) for entry in content["categories"]}
    labels: dict[Any, list[str]] = {}
    for entry in content["annotations"]:
        found = labels.setdefault(entry.get("image_id"), [])
        name = names.get(entry.get("category_id"))
        if name is not None and name not in found:
            found.append(name)
    listed = [image for image in content["images"] if labels.get(image.get("id"))]
    is_single = all(len(labels[image["id"]]) == 1 for image in listed)
    return [
        {
            "file_name": image.get("file_name"),
            "label": labels[image["id"]][0] if is_single else labels[image["id"]],
        }
        for image in listed
    ]


def _is_label(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool)


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
    if isinstance(value, Sequence) and all(map(_is_label, value)):
        return json.dumps([str(word) for word in value], ensure_ascii=False)
    return None
