"""Folders of loose images beside class folders whose names say test, val or no label.

`cat/`, `dog/` and `test/1.png`: the name decides whether that is an error, a note or, where a table
lists the images, a folder that is left out. Names that may be of a class (`test_tube`) are noted.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from torchloupe.data.sources.class_trees import through_fillers
from torchloupe.data.sources.image_names import make_name, walk_images
from torchloupe.data.sources.masks import is_mask_folder
from torchloupe.data.sources.source import name_some
from torchloupe.data.sources.split_files import lists_images
from torchloupe.data.sources.split_names import (
    is_filler,
    is_held_back,
    is_vague_name,
    names_images,
    read_split_name,
)
from torchloupe.data.sources.tables_beside import tables_in
from torchloupe.data.sources.walk import Level
from torchloupe.data.split import SPLIT_NAMES, TRAIN
from torchloupe.errors import DataError, printable

Trees = Mapping[str, Mapping[str, set[str]]]

_FEWEST = 2  # class folders beside
_SAY_NOTHING = ("image", "images", "img", "imgs", "data", "dataset", "samples", "files")
_OF_TESTS = ("public", "private", "hidden", "blind", "final", "stage", "stg", "phase")


def judge_held_back(
    root: Path, prefix: str, trees: Trees, level: Level, part: int
) -> tuple[dict[str, Path], list[str]]:
    """The folders that are no classes, each with the table that lists its images; with notes.

    `trees` are the class folders below `prefix`, each with the folders in it that hold folders, and
    their names; `level` is what lies there. Nothing is judged in splits other than train, nor where
    fewer than two other folders are left. DataError for folders that are no classes by their names.
    """
    doubtful = _find_doubtful(trees) if part == TRAIN else []
    if not doubtful or len(trees) - len(doubtful) < _FEWEST:
        return {}, []
    listed = _find_listed(root / prefix, doubtful, level)
    notes = [
        f"'{printable(prefix + name)}' is no class, its images are listed in "
        f"{printable(table.name)}: not used"
        for name, table in listed.items()
    ]
    rest = [name for name in doubtful if name not in listed]
    plain = [name for name in rest if _is_plain(name)]
    if plain:
        others = [name for name in trees if name not in doubtful]
        is_one = len(plain) == 1
        raise DataError(
            f"{printable(root / prefix)} has {name_some(plain)} with images and no class folders "
            f"beside {name_some(others, 3)}: {'its name says' if is_one else 'their names say'} no "
            "class",
            f"move {'it' if is_one else 'them'} elsewhere to leave {'it' if is_one else 'them'} "
            f"out; data.label_pattern='^{'[^/]+/' * prefix.count('/')}([^/]+)/' takes every folder "
            "as a class",
        )
    return listed, notes + [
        f"'{printable(prefix + name)}' is a class; if it {_say_what(name)}, move it elsewhere"
        for name in rest
    ]


def _find_doubtful(trees: Trees) -> list[str]:
    """The folders of loose images whose names speak of a split other than train, or of no label."""
    return [
        name
        for name, tree in trees.items()
        if _speaks(name) and len(_class_like(through_fillers(name, tree))) < _FEWEST
    ]


def _find_listed(folder: Path, doubtful: Iterable[str], level: Level) -> dict[str, Path]:
    """Of the `doubtful` folders those whose images a table of a split or of no labels lists."""
    tables = [table.absolute() for table in tables_in(folder, level) if _speaks(table.stem)]
    found: dict[str, Path] = {}
    for name in doubtful if tables else ():
        images = walk_images(str(folder / name))
        known = {make_name(image.rpartition("/")[2]) for image in images}
        if table := next((table for table in tables if lists_images(table, known)), None):
            found[name] = table
    return found


def _speaks(name: str) -> bool:
    """Whether a name says val, test or no label, plainly or among other words, or nothing."""
    if is_held_back(name):
        return name.lower() != "gallery"  # which may be one of art
    said = read_split_name(name)
    if name.lower() in _SAY_NOTHING:
        return True
    if said is None or said.part == TRAIN:
        return names_images(name) and is_vague_name(name)
    return " " not in name.strip() or names_images(name)  # `test tube`


def _is_plain(name: str) -> bool:
    """Whether a name can't be that of a class: `test`, `testA`, `private_test`, `x_testset`."""
    said = read_split_name(name)
    if name.lower() in _SAY_NOTHING:
        return False
    words = said.frame if said else ("",)
    is_said = all(word.isdigit() or len(word) == 1 or word in _OF_TESTS for word in words)
    return is_held_back(name) or names_images(name) or (bool(said) and is_said)


def _class_like(names: Iterable[str]) -> list[str]:
    return [name for name in names if not is_filler(name) and not is_mask_folder(name)]


def _say_what(name: str) -> str:
    said = read_split_name(name)
    return "is none" if said is None else f"holds the images of {SPLIT_NAMES[said.part]}"
