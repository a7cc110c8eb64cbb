"""Copies of the class folders inside one of them: the same files once more, or other images.

A folder is a copy only if each image in it stands outside under the same name and with as many
bytes, and some of them are read and are the same. What is no copy is never left out in silence.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from torchloupe.data.image.formats import IMAGE_SUFFIXES
from torchloupe.data.sources.class_trees import find_sets_inside
from torchloupe.data.sources.source import name_some
from torchloupe.data.sources.split_names import is_held_back, read_split_name
from torchloupe.data.sources.stray_splits import find_inner_sets
from torchloupe.data.sources.system_files import is_system_name
from torchloupe.data.sources.walk import Walk, file_facts
from torchloupe.data.split import SPLIT_NAMES, TRAIN
from torchloupe.errors import DataError, printable

_MOST_TWINS = 5
_READ = 32  # images whose bytes are compared


def find_stranger(walk: Walk, folder: str, places: Sequence[str], outside: str) -> str:
    """The first image in `folder` that doesn't stand in `outside` too; "" if each does.

    `places` are `folder` or folders in it: what is below one of them is looked for below `outside`
    ("" or ends in "/"). All are relative to the root of `walk`.
    """
    starts = sorted((f"{place}/" for place in places), key=len, reverse=True)
    for number, (name, facts) in enumerate(walk.find_images(folder)):
        start = next((start for start in starts if name.startswith(start)), None)
        twin = f"{outside}{name.removeprefix(start)}" if start else ""
        if not twin or file_facts(os.path.join(walk.root, twin))[0] != facts[0]:  # noqa: PTH118
            return name
        is_read = number < _READ or number % 1024 == 0
        if is_read and _read(walk, name) != _read(walk, twin):
            return name
    return ""


def find_copies(walk: Walk, prefix: str, trees: Mapping[str, Mapping[str, set[str]]]) -> list[str]:
    """The class folders below `prefix` that hold a copy of the others.

    `trees` are the class folders, each with the folders in it that hold folders, and their names.
    DataError for one that holds folders called like the others, and other images in them.
    """
    copies = []
    for name, places in find_sets_inside(trees).items():
        scout = Walk(walk.root)
        inside = [prefix + place for place in places]
        if not (stranger := find_stranger(scout, prefix + name, inside, prefix)):
            copies.append(name)
            continue
        shared = [n for n in trees if n != name and any(n in trees[name][p] for p in places)]
        raise DataError(
            f"{printable(os.path.join(walk.root, prefix).rstrip('/'))} has "  # noqa: PTH118
            f"{name_some(shared, 3)}, and folders of the same names in '{printable(places[0])}' "
            f"with other images, such as '{printable(stranger)}'",
            _say_what_to_give(walk.root, prefix, name, places[0]),
        )
    return copies


def _say_what_to_give(root: str, prefix: str, name: str, place: str) -> str:
    said = read_split_name(name)
    depth = "[^/]+/" * prefix.count("/")
    if prefix and said is not None and said.part != TRAIN:
        above = prefix.rstrip("/").rpartition("/")[0]
        inside, beside = printable(f"{prefix}{name}"), printable(os.path.join(above, name))  # noqa: PTH118
        return f"if it is the {SPLIT_NAMES[said.part]} split, move '{inside}' to '{beside}'"
    if (said is not None and said.part != TRAIN) or is_held_back(name):
        return (
            f"move the class folders beside '{printable(name)}' into one called 'train' if it is a "
            "split; data.label_pattern='([^/]+)/[^/]+$' takes the last folder as the class"
        )
    return (
        f"give the inner folder, {printable(os.path.join(root, prefix, place))}, or move it away; "  # noqa: PTH118
        f"data.label_pattern='^{depth}([^/]+)/' takes '{printable(name)}' as a class, "
        "'([^/]+)/[^/]+$' the last folder"
    )


def find_twins(path: Path, names: Sequence[str]) -> tuple[str, str] | None:
    """Where a set with splits is that all folders `names` in `path` hold once more, and a note.

    None where one of them holds no set, or other images.
    """

    def folders(place: str) -> list[str]:
        found = []
        with suppress(OSError), os.scandir(path / place) as entries:  # a link to itself
            for entry in entries:
                if entry.name.lower().endswith(tuple(IMAGE_SUFFIXES)):
                    return []  # before a million of them are listed
                if entry.is_dir() and not is_system_name(entry.name):
                    found.append(entry.name)
        return sorted(found)

    if not 1 < len(names) <= _MOST_TWINS:
        return None
    sets = find_inner_sets(names, folders)
    if len(sets) < len(names):
        return None
    first, *others = sets.values()
    scout = Walk(str(path))
    if any(find_stranger(scout, place, [place], f"{first}/") for place in others):
        return None
    if any(find_stranger(scout, first, [first], f"{place}/") for place in others):
        return None
    beside = [name for name in names if sets[name] != first]
    return first, f"the data are in {printable(first)}/; {note_copies(beside)[0]}"


def note_beside(walk: Walk, splits: Iterable[str], beside: Sequence[str]) -> list[str]:
    """Notes on folders `beside` those of `splits` that are not used: copies, and others."""
    copies, others = list[str](), list[str]()
    known = list(splits)
    for name in beside:
        scout = Walk(walk.root)
        inside = set(known) & set(scout.look(name).folders)
        images = next(islice(scout.find_images(name), 1), None) if inside else None
        is_copy = images is not None and not find_stranger(scout, name, [name], "")
        (copies if is_copy else others).append(name)
        walk.take_over(scout, "", is_counted=False)
    notes = []
    if others:
        used = name_some(known)
        notes.append(f"beside {used}, folders are not used: {name_some(others)}")
    return [*notes, *note_copies(copies)]


def note_copies(copies: Sequence[str]) -> list[str]:
    """A note on folders that are copies, if there are any."""
    if not copies:
        return []
    holds = "holds" if len(copies) == 1 else "hold"
    return [f"{name_some(copies)} {holds} a copy of other folders here, not used"]


def _read(walk: Walk, name: str) -> bytes:
    """The first bytes of an image."""
    try:
        with open(os.path.join(walk.root, name), "rb") as file:  # noqa: PTH118, PTH123
            return file.read(65_536)
    except OSError:
        return b""
