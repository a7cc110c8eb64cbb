"""What annotation programs export as JSON: COCO, VIA, Label Studio, Datumaro (CVAT).

Each becomes a record an image: its file, and the labels that people gave it. Boxes and outlines
count by the name of what is in them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torchloupe.data.sources.annotation_coco import is_coco, read_coco
from torchloupe.data.sources.annotation_tasks import are_tasks, read_tasks
from torchloupe.data.sources.export_records import (
    Records,
    find_splits,
    note_unlabelled,
    pair_labels,
)
from torchloupe.data.sources.object_cells import read_object


def read_export(content: Any) -> Records | None:
    """The records of an export and notes on what has no label; None for any other content.

    KeyError, TypeError or AttributeError where it is such an export and damaged; DataError where
    people gave an image different labels.
    """
    if isinstance(content, list):
        return read_tasks(content) if are_tasks(content) else None
    if not isinstance(content, Mapping):
        return None
    if is_coco(content):
        return read_coco(content)
    if isinstance(content.get("items"), list) and isinstance(content.get("categories"), Mapping):
        return _read_datumaro(content)
    regions = content.get("_via_img_metadata", content)
    if isinstance(regions, Mapping) and regions and all(map(_is_of_via, regions.values())):
        return _read_via(list(regions.values()))
    return None


def _is_of_via(value: Any) -> bool:
    is_one = isinstance(value, Mapping) and "filename" in value
    return is_one and ("file_attributes" in value or "regions" in value)


def _read_datumaro(content: Mapping[str, Any]) -> Records:
    """Items with their labels; those of boxes count where no item has a label of its own."""
    names = [str(entry["name"]) for entry in content["categories"]["label"]["labels"]]
    of_all = [
        [note for note in item["annotations"] if note.get("label_id") is not None]
        for item in content["items"]
    ]
    own = [[note for note in notes if note.get("type") == "label"] for notes in of_all]
    chosen = own if any(own) else of_all
    return pair_labels(
        [
            (
                (item.get("image") or item.get("media") or {}).get("path") or item["id"],
                list(dict.fromkeys(names[note["label_id"]] for note in notes)),
            )
            for item, notes in zip(content["items"], chosen, strict=True)
        ],
        [{**find_splits(item.get("attr")), **find_splits(item)} for item in content["items"]],
    )


def _read_via(entries: Sequence[Mapping[str, Any]]) -> Records:
    """Files with a column for each attribute, of the file or of the regions in it."""
    own = [entry.get("file_attributes") or {} for entry in entries]
    if not any(map(any, own)):
        own = [_join_regions(entry.get("regions") or ()) for entry in entries]
    records = [
        {
            "filename": entry["filename"],
            **{key: read_object(v) for key, v in found.items() if v not in ("", [], {})},
        }
        for entry, found in zip(entries, own, strict=True)
    ]
    kept = [record for record in records if len(record) > 1]
    return kept, note_unlabelled(len(records) - len(kept))


def _join_regions(regions: Any) -> dict[str, list[Any]]:
    """The different values of each attribute of an image's regions."""
    joined: dict[str, list[Any]] = {}
    for region in regions.values() if isinstance(regions, Mapping) else regions:
        for key, value in (region.get("region_attributes") or {}).items():
            plain = read_object(value)
            for one in plain if isinstance(plain, list) else [plain]:
                if one not in (None, "") and one not in joined.setdefault(key, []):
                    joined[key].append(one)
    return joined
