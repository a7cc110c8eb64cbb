"""COCO's JSON: lists of images, of annotations of these, and of the categories that they have.

Which image and which category an annotation is of is said by ids, numbers or texts.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from torchloupe.data.sources.export_records import Records, find_splits, pair_labels
from torchloupe.data.sources.source import name_some
from torchloupe.errors import DataError
from torchloupe.units import plural

_NAMES = ("name", "category_name", "class_name", "scientificName", "scientific_name", "label")
_NAMED_BY = ("category", "label", "class", "name", "category_name")
_FILES = ("file_name", "filename", "file", "path", "name")


def is_coco(content: Mapping[str, Any]) -> bool:
    """Whether there are lists of images and of annotations."""
    return all(_is_list_of_objects(content.get(key)) for key in ("images", "annotations"))


def read_coco(content: Mapping[str, Any]) -> Records:
    """Images with the names of the categories that they are annotated with, and notes.

    DataError where annotations have ids that the lists lack.
    """
    annotations = content["annotations"]
    given = [_listed(entry.get("category_id")) for entry in annotations]
    used = dict.fromkeys(number for own in given for number in own)
    names, notes = _name_categories(content.get("categories") or (), list(used))
    if used and set(used) <= set(names.values()) - set(names):  # names in place of ids
        names = {name: name for name in names.values()}
    if names and (unknown := [number for number in used if number not in names]):
        raise DataError(
            f"annotations have a category_id that `categories` lacks: {name_some(unknown)}; its "
            f"ids are {name_some(names)}",
            _hint_for_ids(unknown, used, names),
        )
    files = [next((image[key] for key in _FILES if image.get(key)), None)
             for image in content["images"]]  # fmt: skip
    of = [_text(entry.get("image_id")) for entry in annotations]
    ids = [_text(image.get("id", image.get("image_id"))) for image in content["images"]]
    if not set(ids) & set(of) and len(set(_counted(ids))) == len(set(ids)):
        ids, of = _counted(ids), _counted(of)  # 00012 and 12
    keys, missing = _find_keys(ids, files, set(of))
    labels: dict[str, dict[str, None]] = {}
    for entry, image, own in zip(annotations, of, given, strict=True):
        found = [names.get(number, number) for number in own]
        if not names or not own:
            found = [str(entry[key]) for key in _NAMED_BY if key in entry][:1] or found
        labels.setdefault(image, {}).update(dict.fromkeys(found))
    pairs = [(file, list(labels.get(key, ()))) for file, key in zip(files, keys, strict=True)]
    records, more = pair_labels(pairs, list(map(find_splits, content["images"])))
    return records, (*more, *notes, *missing)


def _name_categories(
    categories: Sequence[Any], used: Sequence[str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Names by id as text, and a note on those that several have; a list of texts is counted."""
    if categories and all(isinstance(entry, str) for entry in categories):
        first = {"0": 0, str(len(categories)): 1}
        start = next((first[number] for number in used if number in first), None)
        return ({}, ()) if start is None else (
            {str(number): name for number, name in enumerate(categories, start)}, ()
        )  # fmt: skip
    names: dict[str, str] = {}
    for entry in categories:
        number = _text(entry["id"] if "id" in entry else entry["category_id"])
        names[number] = str(next((entry[key] for key in _NAMES if entry.get(key)), number))
    listed = list(names.values())
    twice = [name for name in dict.fromkeys(listed) if listed.count(name) > 1]
    note = f"several categories have one name and are one class: {name_some(twice)}"
    return names, (note,) if twice else ()


def _find_keys(
    ids: list[str], files: Sequence[Any], wanted: set[str]
) -> tuple[list[str], tuple[str, ...]]:
    """What annotations call each image: its id, else its file; a note on images that lack."""
    names = [os.path.basename(str(file)) for file in files]  # noqa: PTH119
    stems = [os.path.splitext(name)[0] for name in names]  # noqa: PTH122
    found = max((ids, list(map(str, files)), names, stems), key=lambda k: len(wanted & set(k)))
    lacking = [image for image in sorted(wanted) if image not in set(found)]
    is_shifted = any(wanted <= _shift(found, by) for by in (1, -1))
    if lacking and (is_shifted or len(lacking) == len(wanted)):
        raise DataError(
            f"annotations have an image_id that `images` lacks: {name_some(lacking)}; its ids are "
            f"{name_some(found)}",
            "give annotations the ids that `images` has, counted from the same number",
        )
    note = f"annotations of {plural(len(lacking), 'image')} that `images` lacks are not used"
    return found, (note,) if lacking else ()


def _hint_for_ids(
    unknown: Sequence[str], used: Mapping[str, None], names: Mapping[str, Any]
) -> str:
    for by, what in ((1, "add 1 to each category_id"), (-1, "subtract 1 from each category_id")):
        if (shifted := _shift(used, by)) and set(names) >= shifted:
            return f"count both from the same number: {what}"
    return f"add {unknown[0]} to `categories`, or take out the annotations of it"


def _shift(numbers: Any, by: int) -> set[str]:
    """Whole numbers as text, with `by` added; none where some are others."""
    able = all(number.lstrip("-").isdecimal() for number in numbers)
    return {str(int(number) + by) for number in numbers} if able else set()


def _counted(ids: Sequence[str]) -> list[str]:
    """Ids without leading zeros where all are numbers."""
    return [str(int(one)) for one in ids] if all(map(str.isdecimal, ids)) else list(ids)


def _listed(value: Any) -> list[str]:
    if value is None or value == "":
        return []
    return list(map(_text, value)) if isinstance(value, list) else [_text(value)]


def _text(number: Any) -> str:
    """An id as text: 1, 1.0 and "1" alike."""
    is_whole = isinstance(number, float) and number.is_integer()
    return str(int(number) if is_whole else number)


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, Mapping) for entry in value)
