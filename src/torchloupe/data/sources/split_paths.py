"""The split that the paths of images name: `test/a/1.png`, `data/train/1.png`, `train_0001.jpg`."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.sources.source import name_some
from torchloupe.data.sources.split_names import read_split
from torchloupe.data.split import TRAIN

_FIRST_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, eq=False)
class PathSplit:
    """The split [N] of images, and the folders or first words of names that say so."""

    parts: NDArray[np.int8]
    words: tuple[str, ...]


def read_split_paths(names: NDArray[Any]) -> PathSplit | None:
    """The split of paths [N] by their folders of one depth, or else the first word of their names.

    None unless each path names one, and train is among them.
    """
    if not len(names):
        return None
    depths = range(str(names[0]).count("/"))
    cuts: list[Callable[[str], str]] = [partial(_folder, depth) for depth in depths]
    for cut in (*cuts, _first_word):
        if (found := _read_all(names, cut)) is not None:
            return found
    return None


def note_split_paths(ids: NDArray[Any]) -> list[str]:
    """A note where the names of files in class folders name splits."""
    found = read_split_paths(ids)
    if found is None:
        return []
    return [
        f"the names of the images begin with {name_some(found.words)}, which is not used as the "
        "split: put them into class folders below train/ and test/ to use it"
    ]


def _read_all(names: NDArray[Any], cut: Callable[[str], str]) -> PathSplit | None:
    known: dict[str, int | None] = {}
    given = np.empty(len(names), dtype=np.int8)
    for row, name in enumerate(names):
        word = cut(name)
        if word not in known:
            known[word] = read_split(word) if word else None
        part = known[word]
        if part is None:
            return None
        given[row] = part
    is_divided = TRAIN in known.values() and len(set(known.values())) > 1
    return PathSplit(given, tuple(sorted(known))) if is_divided else None


def _folder(depth: int, name: str) -> str:
    folders = name.split("/")[:-1]
    return folders[depth] if depth < len(folders) else ""


def _first_word(name: str) -> str:
    found = _FIRST_WORD.match(name.rpartition("/")[2])
    return found.group() if found else ""
