"""What annotation programs export as JSON: COCO, VIA, Label Studio, Datumaro (CVAT).

Each becomes a record an image: its file, and the labels that people gave it. Boxes and outlines
count by the name of what is in them.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from torchloupe.data.image.formats import IMAGE_SUFFIXES
from torchloupe.data.sources.object_cells import read_object
from torchloupe.data.sources.source import name_some
from torchloupe.errors import DataError
from torchloupe.units import plural

Records = tuple[list[Any], tuple[str, ...]]

_OF_UPLOADS = re.compile(r".*/local-files/\?d=")
_NAMED_BY = ("category", "label", "class", "name", "category_name")


def read_export(content: Any) -> Records | None:
    """The records of an export and notes on what has no label; None for any other content.

    KeyError, TypeError or AttributeError where it is such an export and damaged; DataError where
    people gave an image different labels.
    """
    if isinstance(content, list):
        is_tasks = content and all(_is_task(task) for task in content)
        return _read_label_studio(content) if is_tasks else None
    if not isinstance(content, Mapping):
        return None
    if all(_is_list_of_objects(content.get(key)) for key in ("images", "annotations")):
        return _read_coco(content)
    if isinstance(content.get("items"), list) and isinstance(content.get("categories"), Mapping):
        return _read_datumaro(content)
    regions = content.get("_via_img_metadata", content)
    if isinstance(regions, Mapping) and regions and all(map(_is_of_via, regions.values())):
        return _read_via(list(regions.values()))
    return None


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, Mapping) for entry in value)


def _is_task(task: Any) -> bool:
    return (
        isinstance(task, Mapping)
        and isinstance(task.get("data"), Mapping)
        and isinstance(task.get("annotations", task.get("completions")), list)
    )


def _is_of_via(value: Any) -> bool:
    is_one = isinstance(value, Mapping) and "filename" in value
    return is_one and ("file_attributes" in value or "regions" in value)


def _read_coco(content: Mapping[str, Any]) -> Records:
    """Images with the names of the categories that they are annotated with."""
    categories = content.get("categories", ())
    names = {entry["id"]: str(entry.get("name", entry["id"])) for entry in categories}
    labels: dict[Any, list[str]] = {}
    for entry in content["annotations"]:
        name = names.get(entry.get("category_id"))
        if not names:
            name = next((str(entry[key]) for key in _NAMED_BY if key in entry), None)
        found = labels.setdefault(entry.get("image_id"), [])
        if name is not None and name not in found:
            found.append(name)
    files = [image.get("file_name") for image in content["images"]]
    return pair_labels([(file, labels.get(image.get("id"), [])) for file, image in
                  zip(files, content["images"], strict=True)])  # fmt: skip


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
        ]
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
    return kept, _note_unlabelled(len(records) - len(kept))


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


def _read_label_studio(tasks: Sequence[Mapping[str, Any]]) -> Records:
    """Tasks with their choices; those that nobody annotated, or only skipped, have none."""
    pairs, torn = [], []
    for task in tasks:
        image = _find_image(task["data"])
        given = task.get("annotations", task.get("completions", ()))
        answers = [note for note in given if not note.get("was_cancelled")]
        truths = [note for note in answers if note.get("ground_truth")]
        choices = [c for note in truths or answers if (c := _read_choices(note.get("result", ())))]
        if len({tuple(sorted(names)) for names in choices}) > 1:
            torn.append(image)
        pairs.append((image, choices[0] if choices else []))
    if torn:
        raise DataError(
            f"people gave {plural(len(torn), 'image')} different labels: {name_some(torn, 3)}",
            "settle them in Label Studio, or mark the right annotation as ground truth",
        )
    return pair_labels(pairs)


def _read_choices(results: Sequence[Mapping[str, Any]]) -> list[str]:
    names: dict[str, None] = {}
    for result in results:
        value, kind = result.get("value") or {}, str(result.get("type", ""))
        names |= dict.fromkeys(value.get("choices") or value.get(kind) or ())
    return [str(name) for name in names]


def _find_image(data: Mapping[str, Any]) -> str:
    """The image among the things that a task shows: the first that is named like one."""
    texts = [value for value in data.values() if isinstance(value, str)]
    named = [text for text in texts if text.lower().endswith(tuple(IMAGE_SUFFIXES))]
    image = (named or [str(data.get("image", ""))])[0]
    return unquote(_OF_UPLOADS.sub("", image)) if not image.startswith("http") else image


def pair_labels(found: Sequence[tuple[Any, list[str]]]) -> Records:
    """A record of each labelled image: a text if all have one label, else lists."""
    listed = [(file, names) for file, names in found if names]
    is_single = all(len(names) == 1 for _, names in listed)
    records = [
        {"file_name": file, "label": names[0] if is_single else names} for file, names in listed
    ]
    return records, _note_unlabelled(len(found) - len(listed))


def _note_unlabelled(count: int) -> tuple[str, ...]:
    has = "has no label and is" if count == 1 else "have no label and are"
    return (f"{plural(count, 'image')} {has} not used",) if count else ()
