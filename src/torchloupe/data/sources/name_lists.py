"""Class names for class numbers, in a file beside the table: classes.txt, label_map.json.

Names are only used where the file leaves no doubt which number each belongs to.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.image.formats import IMAGE_SUFFIXES
from torchloupe.data.sources.object_cells import read_object
from torchloupe.data.sources.source import name_some
from torchloupe.data.sources.split_names import is_filler, read_split
from torchloupe.errors import printable
from torchloupe.units import plural

_YAML_ENDINGS = (".yaml", ".yml")
_ENDINGS = (".txt", ".json", ".csv", ".tsv", ".names", ".labels", ".pbtxt", *_YAML_ENDINGS)
_LARGEST_BYTES = 2**20
_MOST_NAMES = 20_000
_MOST_SPELLINGS = 2  # of a class, on average
_NO_COUNT = 10**9  # a number that no list without numbers reaches
_WORDS = frozenset(
    (
        *("class", "classes", "classname", "classnames", "classlist", "classmap", "classindex"),
        *("label", "labels", "labelmap", "labelnames", "labelname", "name", "names", "category"),
        *("categories", "synset", "synsets", "idx", "index", "indices", "species", "breeds", "id"),
        *("signnames", "mapping", "meta", "characters"),
    )
)
_YAML_NAMES = re.compile(
    r"^names *: *(\[.*\]|) *(?:#.*)?\n((?: *(?:-|\d+ *:) .*\n)*)", re.MULTILINE
)
_ITEM_NAMES = ("display_name", "name")
_NUMBER = re.compile(r"\d{1,9}")
_PREFIX = re.compile(r"(?P<number>\d{1,9})(\s*[,:;=]\s*|\s+)(?P<name>\S.*)")
_SUFFIX = re.compile(r"(?P<name>\S.*?)(\s*[,:;=]\s*|\s+)(?P<number>\d{1,9})")

Names = dict[int, str]


@dataclass(frozen=True)
class NameLists:
    """Class names by number; notes; and the files that give the names."""

    names: Names
    notes: tuple[str, ...] = ()
    files: frozenset[Path] = frozenset()


NO_LIST = NameLists({})


def name_numbers(texts: NDArray[Any], table: Path, column: str) -> tuple[NDArray[Any], list[str]]:
    """Labels with names in place of numbers, where one list beside `table` names all; notes.

    `texts` [N] are label cells; they stay as they are where they are no numbers.
    """
    found, codes = np.unique(texts, return_inverse=True)
    values = [str(value) for value in found]
    chosen = list_names(values, table, column)
    if not chosen.names:
        return texts, list(chosen.notes)
    named = np.array([chosen.names[int(value)] for value in values], dtype=np.dtypes.StringDType())
    return named[codes.reshape(-1)], list(chosen.notes)


def list_names(values: Sequence[str], table: Path, column: str) -> NameLists:
    """The names that lists beside `table` give the numbers that `values` are; none for others."""
    numbers = _read_numbers(values)
    lists = _find_lists(table.absolute().parent, table.name) if numbers else []
    return _choose(lists, numbers, f"the numbers in column {printable(column)!r}")


def name_by_column(
    texts: NDArray[Any], names: NDArray[Any], column: str, named: str
) -> tuple[NDArray[Any], list[str]]:
    """Names in place of numbers where cells `names` [N] of the same rows are one for each; notes.

    `texts` [N] stay as they are where they are no numbers, or a number has two names: a note.
    """
    pairs = Counter(zip(texts.tolist(), names.tolist(), strict=True))
    numbers = list(dict.fromkeys(number for number, _ in pairs))
    told = list(dict.fromkeys(name for _, name in pairs))
    if not _read_numbers(numbers) or not _are_names([name for name in told if name] or [""]):
        return texts, []
    if len(pairs) == len(numbers) == len(told) and all(told):
        note = f"the classes of column {printable(column)!r} are named by column "
        return names, [f"{note}{printable(named)!r}"]
    if len(told) > _MOST_SPELLINGS * len(numbers):  # they name something else
        return texts, []
    several = _find_several(pairs) or _find_several({p[::-1]: n for p, n in pairs.items()})
    several = several or next(f"{number} has none" for number, name in pairs if not name)
    return texts, [f"the names in column {printable(named)!r} are not used: {several}"]


def _find_several(pairs: Mapping[tuple[str, str], int]) -> str:
    """What is said to be two things in the fewest rows, for a note; "" where nothing is."""
    found: dict[str, list[tuple[int, str]]] = {}
    for (one, other), count in pairs.items():
        found.setdefault(one, []).append((count, other))
    torn = {one: sorted(others)[::-1] for one, others in found.items() if len(others) > 1}
    if not torn:
        return ""
    one, ((most, usual), *rest) = min(torn.items(), key=lambda item: (item[1][-1], item[0]))
    fewest, odd = rest[-1]
    return (
        f"{printable(one)} is {printable(usual)!r} in {plural(most, 'row')} and {printable(odd)!r} "
        f"in {plural(fewest, 'row')}"
    )


def name_folders(found: Sequence[str], root: Path, path: Path) -> NameLists:
    """Names of class folders that are numbers, by a list in their `root`, in `path` or above it.

    Above `path`, which was given, only lists with numbers count: those that name these alone, or
    all of these if `path` is a part of a set, such as `train/`.
    """
    numbers = _read_numbers(found)
    what = "the numbered class folders"
    for place in dict.fromkeys((root.absolute(), path.absolute())) if numbers else ():
        chosen = _choose(_find_lists(place), numbers, what)
        if chosen.notes:
            return chosen
    told = {}
    for file in _find_lists(path.absolute().parent) if numbers else ():
        names = _parse(file, (_NO_COUNT,))
        is_part = read_split(path.name) is not None or is_filler(path.name)
        if set(names) >= set(numbers) and (is_part or len(names) == len(numbers)):
            told[file] = names
    return _choose(list(told), numbers, what) if told else NO_LIST


def _read_numbers(values: Sequence[str]) -> list[int]:
    """The different numbers that texts are, in order; none where some are something else."""
    if len(values) < 2 or not all(map(_NUMBER.fullmatch, values)):
        return []
    numbers = sorted({int(value) for value in values})
    return numbers if len(numbers) == len(values) else []  # 7 and 007


def _choose(lists: Sequence[Path], numbers: Sequence[int], what: str) -> NameLists:
    """The names that `lists` give `numbers`, none where that is not certain."""
    fitting = {path: names for path in lists if (names := _read(path, numbers))}
    different = {tuple(names[number] for number in numbers) for names in fitting.values()}
    files = name_some(path.name for path in fitting)
    if not fitting:
        return NameLists({}, _note_uncounted(lists, numbers, what))
    if len(different) > 1:
        note = f"{files} give {what} different names: none is used (data.class_names names classes)"
        return NameLists({}, (note,))
    names = next(iter(fitting.values()))
    return NameLists(names, (f"the names of {what} are those in {files}",), frozenset(fitting))


def _note_uncounted(lists: Sequence[Path], numbers: Sequence[int], what: str) -> tuple[str, ...]:
    """A note where a list names more classes than there are numbers, from 0 or from 1."""
    for path in lists:
        names = _read(path, range(len(numbers)))
        count = len(names)
        if list(names) != list(range(count)) or not 0 < numbers[0] <= numbers[-1] < count:
            continue
        first, other = names[numbers[0]], names[numbers[0] - 1]
        return (
            f"'{printable(path.name)}' names {count} classes, and {what} are {numbers[0]} to "
            f"{numbers[-1]}: whether {numbers[0]} is {printable(first)!r} (counted from 0) or "
            f"{printable(other)!r} (from 1) is not certain, and the numbers stay; write its number "
            f"before each name there, such as `{numbers[0]} {printable(first)}`",
        )
    return ()


def _find_lists(folder: Path, besides: str = "") -> list[Path]:
    """Files in a folder whose names say that they name classes, but for the one called so."""
    listed = []
    try:
        entries = sorted(folder.iterdir())
    except OSError:  # a folder above may be closed
        return []
    for path in entries:
        if path.suffix.lower() not in _ENDINGS or path.name == besides or path.name[0] in "._":
            continue
        spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", path.stem)
        words = set(re.findall(r"[a-z]+", spaced.lower()))
        is_said = bool(words & _WORDS) or path.suffix.lower() == ".names"
        if is_said and path.is_file() and path.stat().st_size <= _LARGEST_BYTES:
            listed.append(path)
    return listed


def _read(path: Path, numbers: Sequence[int]) -> Names:
    """Names by number that cover `numbers`; {} where the file holds none, or not for certain."""
    names = _parse(path, numbers)
    return names if set(numbers) <= set(names) and _are_names(list(names.values())) else {}


def _parse(path: Path, numbers: Sequence[int]) -> Names:
    """What a file says of numbers; lists without numbers are counted if that gives `numbers`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json":
            names = _read_json(json.loads(text), numbers)
        elif path.suffix.lower() in (".csv", ".tsv"):
            names = _read_table(text, "\t" if path.suffix.lower() == ".tsv" else ",", numbers)
        elif path.suffix.lower() == ".pbtxt":
            names = _read_items(text)
        elif path.suffix.lower() in _YAML_ENDINGS:
            names = _read_yaml(text, numbers)
        else:
            names = _read_lines(text, numbers)
    except (OSError, ValueError, RecursionError, csv.Error):
        return {}
    return names


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
    """Names in order, counted from 0 where there is a 0; from 1 where the last number is theirs."""
    if numbers[0] == 0 and numbers[-1] < len(names):
        return dict(enumerate(names))
    if numbers[0] > 0 and numbers[-1] == len(names):
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


def _read_items(text: str) -> Names:
    """Names of TensorFlow's label maps: `item { id: 1 name: "cat" }`."""
    names = {}
    for item in re.findall(r"item\s*\{(.*?)\}", text, re.DOTALL):
        number = re.search(r"\bid\s*:\s*(\d{1,9})\b", item)
        quoted = {key: re.search(rf"\b{key}\s*:\s*(['\"])(.+?)\1", item) for key in _ITEM_NAMES}
        name = next((found for found in quoted.values() if found), None)
        if number is None or name is None or int(number[1]) in names:
            return {}
        names[int(number[1])] = name[2]
    return names


def _read_yaml(text: str, numbers: Sequence[int]) -> Names:
    """Names under `names:` in YAML, as YOLO has it: by number, a list of lines, or [a, b]."""
    block = _YAML_NAMES.search(f"{text}\n")
    if block is None:
        return {}
    if block[1]:
        return _count([_unquote(name) for name in block[1][1:-1].split(",")], numbers)
    lines = [line.strip() for line in block[2].splitlines() if line.strip()]
    if all(line.startswith("-") for line in lines):
        return _count([_unquote(line[1:]) for line in lines], numbers)
    pairs = [line.partition(":") for line in lines]
    if not all(number.strip().isdigit() for number, _, _ in pairs):
        return {}
    return {int(number): _unquote(name) for number, _, name in pairs}


def _unquote(text: str) -> str:
    return text.strip().strip("'\"")


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
