"""Class names for class numbers, in a file beside the table: classes.txt, label_map.json.

Names are only used where the file leaves no doubt which number each belongs to.
"""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.image.formats import IMAGE_SUFFIXES
from torchloupe.data.sources.object_cells import read_object
from torchloupe.data.sources.source import name_some
from torchloupe.errors import printable

_ENDINGS = (".txt", ".json", ".csv", ".tsv", ".names", ".labels")
_LARGEST_BYTES = 2**20
_MOST_NAMES = 20_000
_WORDS = frozenset(
    (
        *("class", "classes", "classname", "classnames", "classlist", "classmap", "classindex"),
        *("label", "labels", "labelmap", "labelnames", "labelname", "name", "names", "category"),
        *("categories", "synset", "synsets", "idx", "index", "indices", "species", "breeds", "id"),
        *("signnames", "mapping", "meta", "characters"),
    )
)
_NUMBER = re.compile(r"\d{1,9}")
_PREFIX = re.compile(r"(?P<number>\d{1,9})(\s*[,:;=]\s*|\s+)(?P<name>\S.*)")
_SUFFIX = re.compile(r"(?P<name>\S.*?)(\s*[,:;=]\s*|\s+)(?P<number>\d{1,9})")

Names = dict[int, str]


def name_numbers(texts: NDArray[Any], table: Path, column: str) -> tuple[NDArray[Any], list[str]]:
    """Labels with names in place of numbers, where one list beside `table` names all; notes.

    `texts` [N] are label cells; they stay as they are where they are no numbers.
    """
    found, codes = np.unique(texts, return_inverse=True)
    values = [str(value) for value in found]
    if len(values) < 2 or not all(map(_NUMBER.fullmatch, values)):
        return texts, []
    numbers = sorted({int(value) for value in values})
    if len(numbers) < len(values):  # 7 and 007
        return texts, []
    fitting = {path: names for path in _find_lists(table) if (names := _read(path, numbers))}
    different = {tuple(names[number] for number in numbers) for names in fitting.values()}
    files = name_some(path.name for path in fitting)
    if not fitting:
        return texts, []
    if len(different) > 1:
        return texts, [
            f"{files} give the numbers in column {printable(column)!r} different names: none is "
            "used (data.class_names names classes)"
        ]
    names = next(iter(fitting.values()))
    named = np.array([names[int(value)] for value in values], dtype=np.dtypes.StringDType())
    note = f"the names of the numbers in column {printable(column)!r} are those in {files}"
    return named[codes.reshape(-1)], [note]


def _find_lists(table: Path) -> list[Path]:
    """Files beside a table whose names say that they name classes."""
    listed = []
    for path in sorted(table.absolute().parent.iterdir()):
        if path.suffix.lower() not in _ENDINGS or path.name == table.name or path.name[0] in "._":
            continue
        spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", path.stem)
        words = set(re.findall(r"[a-z]+", spaced.lower()))
        is_said = bool(words & _WORDS) or path.suffix.lower() == ".names"
        if is_said and path.is_file() and path.stat().st_size <= _LARGEST_BYTES:
            listed.append(path)
    return listed


def _read(path: Path, numbers: Sequence[int]) -> Names:
    """Names by number that cover `numbers`; {} where the file holds none, or not for certain."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json":
            names = _read_json(json.loads(text), numbers)
        elif path.suffix.lower() in (".csv", ".tsv"):
            names = _read_table(text, "\t" if path.suffix.lower() == ".tsv" else ",", numbers)
        else:
            names = _read_lines(text, numbers)
    except (OSError, ValueError, RecursionError, csv.Error):
        return {}
    return names if set(numbers) <= set(names) and _are_names(list(names.values())) else {}


def _are_names(names: Sequence[str]) -> bool:
    """Whether texts may be names of classes: all different, no numbers and no files."""
    is_plain = all(name.strip() and len(name) <= 200 for name in names)
    has_files = any(name.lower().endswith(tuple(IMAGE_SUFFIXES)) for name in names)
    are_numbers = all(map(_NUMBER.fullmatch, names))
    is_short = len(names) <= _MOST_NAMES
    return is_plain and is_short and not has_files and not are_numbers and _differ(names)


def _differ(names: Sequence[str]) -> bool:
    return len(set(names)) == len(names)


def _count(names: Sequence[str], numbers: Sequence[int]) -> Names:
    """Names in order, counted from 0; from 1 where there is one for each of the numbers 1 to n."""
    if numbers[0] == 0 and numbers[-1] < len(names):
        return dict(enumerate(names))
    if numbers == list(range(1, len(names) + 1)):
        return dict(enumerate(names, 1))
    return {}


def _read_json(content: Any, numbers: Sequence[int]) -> Names:
    """{number: name}, {name: number}, a list of names, or objects with id and name."""
    for _ in range(2):  # {"label": {"0": "cat"}}, as in config.json's id2label
        if isinstance(content, Mapping) and len(content) == 1:
            only = next(iter(content.values()))
            content = only if isinstance(only, (Mapping, list)) else content
    if isinstance(content, list):
        if all(isinstance(entry, Mapping) and "id" in entry for entry in content):
            return {int(entry["id"]): str(read_object(entry)) for entry in content}
        return _count(content, numbers) if all(isinstance(e, str) for e in content) else {}
    if not isinstance(content, Mapping):
        return {}
    if all(_NUMBER.fullmatch(str(key)) for key in content):
        return {int(key): name for key, value in content.items() if (name := _last_text(value))}
    if all(_NUMBER.fullmatch(str(value)) for value in content.values()):
        return {int(number): str(name) for name, number in content.items()}
    return {}


def _last_text(value: Any) -> str:
    """A name, or the last of several, as in ["n01440764", "tench"]."""
    if isinstance(value, list) and value and all(isinstance(entry, str) for entry in value):
        return str(value[-1])
    plain = read_object(value)
    return plain if isinstance(plain, str) else ""


def _read_table(text: str, delimiter: str, numbers: Sequence[int]) -> Names:
    """Names from the only column of different texts beside the only one of numbers that fit."""
    lines = [line for line in text.splitlines() if line.strip()]
    if delimiter not in lines[0] and ";" in lines[0]:
        delimiter = ";"
    rows = list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True))
    width = len(rows[0])
    if len(rows) > _MOST_NAMES or any(len(row) != width for row in rows):
        return {}
    if not any(map(_NUMBER.fullmatch, rows[0])):
        rows = rows[1:]
    columns = [[row[k].strip() for row in rows] for k in range(width)]
    counted = [
        [int(cell) for cell in cells] for cells in columns if all(map(_NUMBER.fullmatch, cells))
    ]
    fitting = [cells for cells in counted if _differ(list(map(str, cells))) and
               set(numbers) <= set(cells)]  # fmt: skip
    texts = [cells for cells in columns if _are_names(cells)]
    if len(fitting) != 1 or len(texts) != 1:
        return {}
    return dict(zip(fitting[0], texts[0], strict=True))


def _read_lines(text: str, numbers: Sequence[int]) -> Names:
    """Names a line, with their numbers before or behind, or in order."""
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    for form in (_PREFIX, _SUFFIX):
        matches = [form.fullmatch(line) for line in lines]
        found = [match for match in matches if match is not None]
        if lines and len(found) == len(lines):
            keys = [int(match["number"]) for match in found]
            if _differ(list(map(str, keys))):
                return dict(zip(keys, (match["name"] for match in found), strict=True))
    return _count(lines, numbers)
