"""Splits where classes would be: inside one folder and not beside it, misspelt, or without train.

Folder names alone decide. What is found is never read as splits; the errors say what to give.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import SequenceMatcher
from pathlib import Path

from torchloupe.data.sources.masks import is_mask_folder
from torchloupe.data.sources.source import name_some
from torchloupe.data.sources.split_names import (
    SplitName,
    is_filler,
    is_held_back,
    read_split,
    read_split_name,
)
from torchloupe.data.split import SPLIT_NAMES, TEST, TRAIN, VAL
from torchloupe.errors import DataError, printable

Folders = Callable[[str], Collection[str]]  # the names of the folders in a folder

_SPELT = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation"), VAL),
    **dict.fromkeys(("test", "testing"), TEST),
}
_ALIKE = 0.75  # of SequenceMatcher: `tset` and `test`
_MOST_VAGUE = 5  # parts of a set; of more folders one may be a class called `gallery`
_RENAME = "name each of them after its split: train, val or test"
_AS_CLASSES = "data.label_pattern='^([^/]+)/' if they are classes"


def refuse_stray_splits(path: Path, trees: Mapping[str, Mapping[str, set[str]]]) -> None:
    """DataError if some of the folders that would be classes are splits, or hold them.

    `trees` are these folders, each with the folders in it that hold folders, and their names.
    """

    def folders(place: str) -> Collection[str]:
        return trees[place.partition("/")[0]].get(place, ())

    if len(trees) < 2:
        return
    sets = find_inner_sets(trees, folders)
    if sets and len(sets) < len(trees):
        others = [name for name in trees if name not in sets]
        raise DataError(
            f"{printable(path)} has {name_some(sets)} with splits inside, "
            f"{name_some(_splits_in(sets, folders), 3)}, beside {name_some(others, 3)}: these are "
            "not classes",
            hint_for_sets(path, sets, others, folders),
        )
    if sets and any(place != name for name, place in sets.items()):
        shared = set.intersection(*(_classes_of_train(p, folders) for p in sets.values()))
        if len(shared) > 1:
            raise DataError(
                f"{printable(path)} has {name_some(sets)} with splits and the same folders in "
                f"each: {name_some(sorted(shared), 3)}",
                f"give one of them: {printable(path / next(iter(sets.values())))}",
            )
    inner = {name: _class_names(folders(_go_down(name, folders))) for name in trees}
    _refuse_loose(path, inner)
    _refuse_misspelt(path, inner)


def find_inner_sets(
    names: Iterable[str], folders: Folders, *, may_be_flat: bool = False
) -> dict[str, str]:
    """Of `names` those that hold a whole set, and where in them, through single folders.

    That is train and another split, with class folders of which one at least is in both, or, if
    it `may_be_flat`, with no folders.
    """
    found = {}
    for name in names:
        place = _go_down(name, folders)
        known = _classes_of_train(place, folders)
        parts = _read_splits(folders(place))
        others = [inner for inner, part in parts.items() if part != TRAIN]
        is_flat = TRAIN in parts.values() and not any(folders(f"{place}/{n}") for n in parts)
        inside = (_class_names(folders(_go_down(f"{place}/{n}", folders))) for n in others)
        is_whole = len(known) > 1 and any(known & classes for classes in inside)
        if is_whole or (may_be_flat and is_flat and others):
            found[name] = place
    return found


def hint_for_sets(
    path: Path, sets: Mapping[str, str], others: Iterable[str], folders: Folders
) -> str:
    """The whole set to give, and which of the folders beside it may be moved into it."""
    places = list(sets.values())
    parts = _read_splits(folders(places[0])).values()
    known = _classes_of_train(places[0], folders)
    missing = [
        name
        for name, part in _read_splits(others).items()
        if part not in parts and known & _class_names(folders(_go_down(name, folders)))
    ]
    if len(places) == 1 and len(missing) == 1:
        return f"move '{printable(missing[0])}' into {printable(path / places[0])} and give that"
    return f"did you mean {name_some(path / place for place in places)}?"


def _refuse_loose(path: Path, inner: Mapping[str, set[str]]) -> None:
    """DataError for loose images in `test` beside the only other folder, with class folders."""
    loose = [name for name in inner if is_held_back(name) and len(inner[name]) < 2]
    rest = [name for name in inner if name not in loose]
    if loose and len(rest) == 1 and len(inner[rest[0]]) > 1:
        typos = _find_typos(rest)
        raise DataError(
            f"{printable(path)} has {name_some(loose)} beside {name_some(rest)}, which are not "
            "classes",
            _say_rename(typos)
            if typos
            else f"give the folder with class folders in it: {printable(path / rest[0])}",
        )


def _refuse_misspelt(path: Path, inner: Mapping[str, set[str]]) -> None:
    """DataError for folders with the same class folders of which one is called as splits are."""
    found = {name: read_split_name(name) for name in inner}
    plain = [name for name, said in found.items() if said and _is_plain(said)]
    vague = [name for name in inner if is_held_back(name) and name not in plain]
    typos = {name: said for name, said in _find_typos(inner).items() if not found[name]}
    said_so = [*plain, *(vague if len(inner) <= _MOST_VAGUE else ())]
    if not said_so and _are_all_splits(inner, typos):
        said_so = list(inner)
    pairs = [(n, m) for n in said_so for m in inner if m != n and len(inner[n] & inner[m]) > 1]
    alike = [name for name in inner if any(name in pair for pair in pairs)]
    trains = [name for name in plain if (said := found[name]) and said.part == TRAIN]
    taken = {said.part for name in plain if (said := found[name])}
    typos = {name: said for name, said in typos.items() if name in alike and said.part not in taken}
    if not alike or (trains and not typos and len(inner) > 2):
        return
    shared = set.intersection(*(inner[name] for name in alike)) or inner[alike[0]]
    unsaid = [name for name in alike if name not in said_so]
    hint = _RENAME if trains else f"{_RENAME} ({_AS_CLASSES})"
    if typos:
        hint = _say_rename(typos)
    elif not trains and len(unsaid) == 1 and not vague:
        hint = f"rename '{printable(unsaid[0])}' to 'train' ({_AS_CLASSES})"
    raise DataError(
        f"{printable(path)} has {name_some([*trains, *(n for n in alike if n not in trains)])} "
        f"with the same class folders: {name_some(sorted(shared), 3)}",
        hint,
    )


def _go_down(name: str, folders: Folders) -> str:
    """The folder itself, or through single folders that hold folders the last of these."""
    while len(inner := folders(name)) == 1 and folders(deeper := f"{name}/{next(iter(inner))}"):
        name = deeper
    return name


def _read_splits(names: Iterable[str]) -> dict[str, int]:
    """The names that say a split, plainly or in one frame: `seg_train`, `seg_test`."""
    found = {name: said for name in names if (said := read_split_name(name))}
    frames = [said.frame for said in found.values()]
    return {
        name: said.part
        for name, said in found.items()
        if said.is_plain or frames.count(said.frame) > 1
    }


def _splits_in(sets: Mapping[str, str], folders: Folders) -> list[str]:
    first = next(iter(sets.values()))
    return [f"{first}/{name}" for name in sorted(_read_splits(folders(first)))]


def _classes_of_train(place: str, folders: Folders) -> set[str]:
    trains = [name for name, part in _read_splits(folders(place)).items() if part == TRAIN]
    return _class_names(folders(_go_down(f"{place}/{trains[0]}", folders))) if trains else set()


def _class_names(names: Iterable[str]) -> set[str]:
    """The names that may be of classes: no splits, images or masks."""
    return {
        name
        for name in names
        if not is_filler(name) and not is_mask_folder(name) and read_split(name) is None
    }


def _is_plain(said: SplitName) -> bool:
    """Whether a name says a split and nothing else but a number."""
    return all(map(str.isdigit, said.frame))


def _find_typos(names: Iterable[str]) -> dict[str, SplitName]:
    """The names in which one word is nearly one of a split, and what they mean."""
    found: dict[str, SplitName] = {}
    for name in names:
        for word in re.findall(r"[^\W\d_]+", name):
            ranked = sorted((_likeness(word.lower(), known), known) for known in _SPELT)
            likeness, known = ranked[-1]
            said = read_split_name(name.replace(word, known))
            if likeness >= _ALIKE and said is not None:
                found[name] = said
    return found


def _likeness(word: str, known: str) -> float:
    return SequenceMatcher(None, word, known).ratio() if word[:1] == known[:1] else 0.0


def _are_all_splits(names: Iterable[str], typos: Mapping[str, SplitName]) -> bool:
    """Whether all names are near those of splits, of one frame, and one is plainly misspelt.

    `trial` and `tent` are not: they are words with a letter of their own.
    """
    said = {name: typos.get(name) or read_split_name(name) for name in names}
    found = [each for each in said.values() if each is not None]
    is_one = len(found) == len(said) and len({each.frame for each in found}) == 1
    parts = {each.part for each in found}
    words = [word.lower() for name in typos for word in re.findall(r"[^\W\d_]+", name)]
    return is_one and TRAIN in parts and len(parts) > 1 and any(map(_is_misspelt, words))


def _is_misspelt(word: str) -> bool:
    """Whether letters of a split's name are swapped, left out or added, and none is another."""
    return any(
        _likeness(word, known) >= _ALIKE
        and (sorted(word) == sorted(known) or _is_within(word, known) or _is_within(known, word))
        for known in _SPELT
        if len(known) > 3
    )


def _is_within(short: str, long: str) -> bool:
    letters = iter(long)
    return all(letter in letters for letter in short)


def _say_rename(typos: Mapping[str, SplitName]) -> str:
    named = {name: "_".join((*said.frame, SPLIT_NAMES[said.part])) for name, said in typos.items()}
    pairs = [f"'{printable(name)}' to '{printable(new)}'" for name, new in named.items()]
    return f"rename {' and '.join(pairs)}"
