"""Label Studio's JSON: tasks, each with an image and the answers that people gave to questions.

Answers about the whole image count; those about places in it count where there are no others.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from torchloupe.data.image.formats import IMAGE_SUFFIXES
from torchloupe.data.sources.export_records import Records, find_splits, make_records
from torchloupe.data.sources.source import name_some
from torchloupe.errors import DataError
from torchloupe.units import plural

_OF_UPLOADS = re.compile(r".*/local-files/\?d=")
_CHOICES = ("choices", "taxonomy")
_PLACES = {"x", "points", "vertices", "rle", "start", "sequence"}  # keys of answers about a part

Question = tuple[int, str]  # how much it says of the whole image, 0 for most; and its name


def are_tasks(content: Sequence[Any]) -> bool:
    """Whether these are tasks, and not other objects."""
    return bool(content) and all(
        isinstance(task, Mapping)
        and isinstance(task.get("data"), Mapping)
        and isinstance(task.get("annotations", task.get("completions")), list)
        for task in content
    )


def read_tasks(tasks: Sequence[Mapping[str, Any]]) -> Records:
    """Images with their answers; those that nobody gave one, or only skipped, are left out.

    A column `answers.NAME` for each question where there are several. DataError where people
    gave an image different answers.
    """
    images = [_find_image(task["data"]) for task in tasks]
    given = [_read_annotations(task) for task in tasks]
    asked = list(
        dict.fromkeys(question for own in given for answers in own for question in answers)
    )
    asked = [question for rank in (0, 1, 2) for question in asked if question[0] == rank]
    used = [question for question in asked if question[0] == asked[0][0]]
    columns: dict[str, list[list[str]]] = {}
    torn: dict[str, None] = {}
    for question in used:
        found = [[answers[question] for answers in own if question in answers] for own in given]
        for image, names in zip(images, found, strict=True):
            if len(set(map(frozenset, names))) > 1:
                torn[image] = None
        name = "label" if len(used) == 1 else f"answers.{question[1]}"
        columns[name] = [next(iter(names), []) for names in found]
    if torn:
        raise DataError(
            f"people gave {plural(len(torn), 'image')} different labels: {name_some(torn, 3)}",
            "settle them in Label Studio, or mark the right annotation as ground truth",
        )
    records, notes = make_records(images, columns or {"label": [[]] * len(images)},
                                  [_find_split(task) for task in tasks])  # fmt: skip
    rest = [name for rank, name in asked if (rank, name) not in used]
    shown = f"the answers to {name_some(name for _, name in used)} are read, and those to "
    note = f"{shown}{name_some(rest)} are not used" if rest else ""
    return records, (*notes, *filter(None, (note,)))


def _read_annotations(task: Mapping[str, Any]) -> list[dict[Question, list[str]]]:
    """The answers of each person; of those that are marked as right alone, if there are any."""
    given = task.get("annotations", task.get("completions", ()))
    notes = [note for note in given if not note.get("was_cancelled")]
    truths = [note for note in notes if note.get("ground_truth")]
    found = [_read_answers(note.get("result") or ()) for note in truths or notes]
    return [answers for answers in found if answers]


def _read_answers(results: Sequence[Mapping[str, Any]]) -> dict[Question, list[str]]:
    answers: dict[Question, list[str]] = {}
    for result in results:
        value, kind = result.get("value") or {}, str(result.get("type", ""))
        found = value.get("choices") or value.get(kind)
        rank = 2 if _PLACES & value.keys() else int(kind not in _CHOICES)
        for one in found if isinstance(found, list) else [found]:
            name = " > ".join(map(str, one)) if isinstance(one, list) else one
            listed = answers.setdefault((rank, str(result.get("from_name", kind))), [])
            if name is not None and str(name) not in listed:
                listed.append(str(name))
    return {question: names for question, names in answers.items() if names}


def _find_split(task: Mapping[str, Any]) -> dict[str, Any]:
    return {**find_splits(task.get("meta")), **find_splits(task["data"])}


def _find_image(data: Mapping[str, Any]) -> str:
    """The image among the things that a task shows: the first that is named like one."""
    texts = [value for value in data.values() if isinstance(value, str)]
    named = [text for text in texts if text.lower().endswith(tuple(IMAGE_SUFFIXES))]
    image = (named or [str(data.get("image", ""))])[0]
    return unquote(_OF_UPLOADS.sub("", image)) if not image.startswith("http") else image
