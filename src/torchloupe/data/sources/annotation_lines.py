"""What annotation services export as an object a line: SageMaker Ground Truth, Labelbox.

Each becomes a record an image, as in annotation_exports.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torchloupe.data.sources.export_records import Records, find_splits, pair_labels
from torchloupe.data.sources.source import name_some
from torchloupe.errors import DataError

_META = "-metadata"


def read_lines(content: Sequence[Any]) -> Records | None:
    """The records of such an export and notes; None for any other content.

    KeyError, TypeError or AttributeError where it is such an export and damaged; DataError where
    it holds several annotations of an image that differ, or several jobs.
    """
    if not content or not all(isinstance(entry, Mapping) for entry in content):
        return None
    if all("source-ref" in entry for entry in content):
        return _read_manifest(content)
    if all(isinstance(entry.get("data_row"), Mapping) for entry in content):
        return _read_labelbox(content)
    return None


def _read_manifest(entries: Sequence[Mapping[str, Any]]) -> Records | None:
    """The class names in the metadata of one labelling job; None where there are none."""
    jobs = dict.fromkeys(
        key
        for entry in entries
        for key, value in entry.items()
        if key.endswith(_META) and {"class-name", "class-map"} & value.keys()
    )
    if len(jobs) > 1:
        names = name_some(job.removesuffix(_META) for job in jobs)
        raise DataError(f"it holds the labels of several jobs: {names}", "keep one of them")
    if not jobs:
        return None
    (job,) = jobs
    pairs = []
    for entry in entries:
        found = entry.get(job) or {}
        one = [found["class-name"]] if "class-name" in found else []
        listed = one or found.get("class-map", {}).values()
        pairs.append((entry["source-ref"], list(dict.fromkeys(map(str, listed)))))
    return pair_labels(pairs, list(map(find_splits, entries)))


def _read_labelbox(entries: Sequence[Mapping[str, Any]]) -> Records:
    """The answers to the questions about a whole image, of one project and one question."""
    pairs, torn = [], []
    for entry in entries:
        row = entry["data_row"]
        image = row.get("external_id") or row.get("global_key") or row.get("row_data")
        answers: dict[str, set[tuple[str, ...]]] = {}
        for project in entry["projects"].values():
            for label in project["labels"]:
                for question in label["annotations"]["classifications"]:
                    given = question.get("checklist_answers") or [question.get("radio_answer")]
                    names = [str(answer["name"]) for answer in given if answer]
                    answers.setdefault(str(question["name"]), set()).add(tuple(names))
        if len(answers) > 1:
            raise DataError(
                f"it asks several questions about an image: {name_some(list(answers))}",
                "export the question that the classes are answers to",
            )
        found = set().union(*answers.values())
        if len(found) > 1:
            torn.append(str(image))
        pairs.append((image, list(next(iter(found), ()))))
    if torn:
        raise DataError(
            f"people gave images different labels: {name_some(torn, 3)}", "settle them in Labelbox"
        )
    return pair_labels(pairs, list(map(_find_split, entries)))


def _find_split(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What the row and its metadata fields say of its split."""
    found = find_splits(entry["data_row"])
    for field in entry.get("metadata_fields") or ():
        name, value = field.get("schema_name", field.get("name")), field.get("value")
        one = value[0] if isinstance(value, list) and value else value
        found |= find_splits({name: one.get("name") if isinstance(one, Mapping) else one})
    return found
