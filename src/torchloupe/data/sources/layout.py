"""The layout of a folder: which of its folders are splits, and which are classes.

Folders are splits where their names say so and the class folders in them agree. Where names say it
and the folders disagree, or the reverse, nothing is guessed: the errors here name what was found.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from torchloupe.data.sources.masks import IMAGE_FOLDERS, is_mask_folder
from torchloupe.data.sources.sidecars import find_sidecars, without_sidecars
from torchloupe.data.sources.source import SPLIT_WORDS, name_some
from torchloupe.data.sources.split_names import (
    SplitName,
    is_filler,
    is_vague_name,
    names_images,
    read_split,
    read_split_name,
)
from torchloupe.data.sources.split_parts import note_names, read_parts
from torchloupe.data.sources.stray_splits import (
    find_inner_sets,
    hint_for_sets,
    refuse_stray_splits,
)
from torchloupe.data.sources.tables_beside import rank_tables, tables_in
from torchloupe.data.sources.variants import refuse_variants
from torchloupe.data.sources.walk import Level, Walk
from torchloupe.data.split import SPLIT_NAMES, TRAIN
from torchloupe.errors import DataError, printable

_DEEPEST = 8  # nested single folders that are entered
_NUMBERED = re.compile(
    r".*?(fold|split|part|batch|chunk|shard|subset|archive|images?|imgs?|cv|k)[-_. ]*\d+",
    re.IGNORECASE,
)


@dataclass
class Layout:
    """Where class folders stand: below each of `splits`, or at the top if there are none."""

    splits: dict[str, int] = field(default_factory=dict)  # folder to TRAIN, VAL or TEST
    beside: list[str] = field(default_factory=list)  # folders that are neither split nor class
    notes: list[str] = field(default_factory=list)
    inner: dict[str, dict[str, int]] = field(default_factory=dict)  # class to split folders in it

    @property
    def is_split(self) -> bool:
        """Whether the folders give more than the training split."""
        inner = (part for parts in self.inner.values() for part in parts.values())
        return any(part != TRAIN for part in (*self.splits.values(), *inner))


def descend(
    walk: Walk, below: str, level: Level, is_entered: Callable[[str, str], bool] | None = None
) -> tuple[str, Level]:
    """The folder that holds the data, through folders that hold one folder and nothing else.

    `below` is "" or ends in "/", and so does what is returned. `is_entered(above, name)` says
    whether the only folder in a folder is no class; else each is entered that holds folders alone.
    """
    for _ in range(_DEEPEST):
        if len(level.folders) != 1 or level.loose:
            break
        only = level.folders[0]
        if is_entered and not is_entered(below.rstrip("/").rpartition("/")[2], only):
            break
        inner = walk.look(below + only)
        if not inner.folders or inner.loose:
            break
        below, level = f"{below}{only}/", inner
    return below, level


def find_common_folder(scout: Walk, splits: Iterable[str]) -> str:
    """The name of the only folder in every one of `splits`; "" if there is no such name."""
    inner = {tuple(scout.look(name).folders) for name in splits}
    only = inner.pop() if len(inner) == 1 else ()
    return only[0] if len(only) == 1 else ""


def find_layout(root: str, top: Level, scout: Walk) -> Layout:
    """Which of the top folders are splits; `scout` looks into them. DataError if in doubt.

    A class may well be called `train`: without a val or test beside it, other folders make
    it one class among them.
    """
    named = {name: found for name in top.folders if (found := read_split_name(name))}
    splits = {name: named[name].part for name in _accept_names(named)}
    if parts := read_parts(top.folders, partial(class_folders, scout)):
        _compare_class_folders(root, parts, scout)
        return Layout(parts, notes=[note_names(parts)])
    others = [name for name in top.folders if name not in splits]
    if TRAIN not in splits.values():
        if splits and not others:
            raise DataError(
                f"{printable(root)} has {name_some(splits)} and no train folder",
                "name the folder of training images 'train'",
            )
        _refuse_held_back(root, top, named, scout)
        return _find_inner_splits(top, scout)
    if others and set(splits.values()) == {TRAIN}:
        # `test1` beside `train` is no class, whatever it is.
        if len(splits) == 1 and all(is_vague_name(name) or name in named for name in others):
            _refuse_unnamed_split(root, next(iter(splits)), others, scout)
            return Layout(splits, others)
        return Layout()
    for part in set(splits.values()):
        same = [name for name in splits if splits[name] == part]
        if len(same) > 1:
            raise DataError(
                f"{printable(root)} has several folders for {SPLIT_NAMES[part]}: {name_some(same)}",
                "keep one of them"
                if any(named[name].is_plain for name in same)
                else f"keep one of them, or put them as class folders into {SPLIT_NAMES[part]}/",
            )
    layout = Layout(splits, others)
    if any(name.lower() not in SPLIT_WORDS for name in splits):
        _compare_class_folders(root, splits, scout)
        layout.notes.append(note_names(splits))
    return layout


def _refuse_held_back(root: str, top: Level, named: Mapping[str, SplitName], scout: Walk) -> None:
    """DataError for `val_256` beside `data_256`, which says nothing, and for loose images in
    `my_testset` beside the only other folder, in which there are class folders.
    """
    loose = [n for n in named if names_images(n) and len(class_folders(scout, n)) < 2]
    rest = [name for name in top.folders if name not in loose]
    if loose and len(rest) == 1 and len(class_folders(scout, rest[0])) > 1:
        raise DataError(
            f"{printable(root)} has {name_some(loose)} beside {name_some(rest)}, which are not "
            "classes",
            f"give the folder with class folders in it: {printable(Path(root, rest[0]))}",
        )
    held = [name for name, found in named.items() if all(map(str.isdigit, found.frame))]
    others = [name for name in top.folders if name not in held]
    if held and others and all(is_filler(re.sub(r"\d", "", name)) for name in others):

        def folders(place: str) -> list[str]:
            return scout.look(place).folders

        if sets := find_inner_sets(others, folders, may_be_flat=True):
            raise DataError(
                f"{printable(root)} has {name_some(held)} beside {name_some(others)}, and other "
                f"splits in {name_some(sets.values())}",
                hint_for_sets(Path(root), sets, held, folders),
            )
        raise DataError(
            f"{printable(root)} has {name_some(held)} beside {name_some(others)}, which are not "
            "classes",
            f"did you mean {name_some(tables)}?"
            if (tables := rank_tables(tables_in(Path(root), top)))
            else "name the folder of training images 'train'",
        )


def _find_inner_splits(top: Level, scout: Walk) -> Layout:
    """The layout of classes that each hold train, val and test folders and nothing else."""
    inner: dict[str, dict[str, int]] = {}
    for name in top.folders:
        level = scout.look(name)
        parts = {split: read_split(split) for split in level.folders}
        found = {split: part for split, part in parts.items() if part is not None}
        is_one = not level.loose and TRAIN in found.values() and len(found) == len(parts)
        if not is_one or len(set(found.values())) < len(found) or is_filler(name):
            return Layout()
        inner[name] = found
    if len(inner) < 2:
        return Layout()
    deep = [
        {folder for split in parts for folder in scout.look(f"{name}/{split}").folders}
        for name, parts in inner.items()
    ]
    if len(deep[0]) > 1 and all(folders == deep[0] for folders in deep):
        raise DataError(
            f"{printable(scout.root)} has {name_some(inner)} with splits and the same folders in "
            f"each: {name_some(sorted(deep[0]), 3)}",
            "give one of them, or put the images of each class into one folder a split",
        )
    first = [f"{name}/{split}" for name in list(inner)[:1] for split in inner[name]]
    return Layout(inner=inner, notes=[f"the splits are inside the classes: {name_some(first)}"])


def _accept_names(named: Mapping[str, SplitName]) -> list[str]:
    """The folders whose names are taken for splits: plain ones, and those of one frame."""
    frames: dict[tuple[str, ...], set[int]] = {}
    for found in named.values():
        frames.setdefault(found.frame, set()).add(found.part)
    return [name for name, found in named.items() if found.is_plain or len(frames[found.frame]) > 1]


def class_folders(scout: Walk, name: str) -> list[str]:
    """The class folders of one split, through folders that hold one folder alone."""
    return descend(scout, f"{name}/", scout.look(name))[1].folders


def _compare_class_folders(root: str, splits: Mapping[str, int], scout: Walk) -> None:
    """DataError if folders whose names say split hold class folders that have nothing in common.

    A folder of loose images alone is let pass: its images have no labels.
    """
    trains = [name for name, part in splits.items() if part == TRAIN]
    train, known = trains[0], set().union(*(class_folders(scout, name) for name in trains))
    for name in splits:
        inner = set(class_folders(scout, name))
        only = next(iter(inner)) if len(inner) == 1 else ""
        if only and only not in known and (is_filler(only) or read_split_name(only)):
            continue  # loose images in `test/images/`
        if known and inner and not inner & known:
            raise DataError(
                f"the names of {name_some([train, name])} in {printable(root)} say train and "
                f"{SPLIT_NAMES[splits[name]]}, and no class folder is in both: "
                f"{name_some(sorted(known), 2)} and {name_some(sorted(inner), 2)}",
                "if they are splits, give their class folders the same names; if they are classes, "
                "names that say no split",
            )


def _refuse_unnamed_split(root: str, train: str, others: list[str], scout: Walk) -> None:
    known = set(class_folders(scout, train))
    for name in others:
        if known & set(class_folders(scout, name)):
            raise DataError(
                f"{printable(root)} has {name_some([train, name])} with the same class folders, "
                f"and '{printable(name)}' may be val or test",
                f"rename '{printable(name)}' to val or test",
            )


def refuse_parts_as_classes(
    path: Path, trees: Mapping[str, Mapping[str, set[str]]], top: Level
) -> None:
    """DataError if the folders that would be classes are plainly parts of one set.

    `trees` are these folders, each with the folders in it that hold folders, and their names.
    """
    children = {name: tree.get(name, set()) for name, tree in trees.items()}
    shown, names = printable(path), sorted(children)
    tables = tables_in(path, top)
    hint = "put the images of each class in a folder of its own, or list them in a .csv"
    if ranked := rank_tables(tables):
        hint = f"did you mean {name_some(ranked)}?"
    masks = [name for name in top.folders if is_mask_folder(name)]
    images = [name for name in names if name.lower() in IMAGE_FOLDERS]
    if images and set(names) - set(images) and set(names) <= {*images, *masks}:
        raise images_beside(path, [*images, *masks], ranked, hint)
    refuse_stray_splits(path, trees)
    trains = [name for name in names if (s := read_split_name(name)) and s.part == TRAIN]
    for name in trains:
        alike = [n for n in names if n != name and children[n] and children[n] <= children[name]]
        if alike:
            raise DataError(
                f"{shown} has {name_some([name, *alike])} with the same class folders: "
                f"{name_some(sorted(children[alike[0]]), 3)}",
                "name each of them after its split: train, val or test",
            )
    for name in names if not (images and masks) else ():
        parts = {read_split(inner) for inner in children[name] if not is_mask_folder(inner)}
        if len(parts) > 1 and TRAIN in parts and None not in parts:
            inside = [f"{name}/{inner}" for inner in sorted(children[name])]
            rest = [n for n in names if n != name and not children[n]]
            if len(rest) > 1:
                raise DataError(
                    f"{shown} has splits inside '{printable(name)}', {name_some(inside)}, and none "
                    f"in {name_some(rest)}",
                    f"move '{printable(name)}' elsewhere to leave it out; data.label_pattern="
                    "'^([^/]+)/' takes it as a class",
                )
            raise DataError(
                f"{shown} has splits inside its class folders: {name_some(inside)}",
                f"put class folders into splits: {_train_of(children[name])}/{printable(name)}",
            )
    refuse_variants(shown, children, hint)
    if len(names) > 1 and all(map(_NUMBERED.fullmatch, names)):
        first = children[names[0]]
        if len(first) > 1 and all(children[name] == first for name in names):
            raise DataError(
                f"{shown} has {name_some(names, 3)} with the same class folders in each: "
                f"{name_some(sorted(first), 3)}",
                "put all images of a class into one folder, or list them in a .csv with the "
                "columns image, label and split",
            )
        if tables and all(map(is_filler, set().union(*children.values()))):
            raise DataError(f"{shown} holds {name_some(names, 3)}, which are not classes", hint)


def _train_of(folders: Iterable[str]) -> str:
    return next(name for name in sorted(folders) if read_split(name) == TRAIN)


def images_beside(
    path: Path, folders: Sequence[str], tables: Sequence[Path], hint: str
) -> DataError:
    """The error of a folder of images beside others of masks, boxes or lists.

    The hint names the `tables`, else those in the `folders`; `hint` is for where there are none.
    """
    inner = [path / name for name in folders]
    found = [table for place in inner for table in tables_in(place, Walk(str(place)).look())]
    rest = without_sidecars(found, path) if found else []
    if not tables and len(rest) < len(found) and (sidecars := find_sidecars(path)):
        return sidecars.explain(path)
    if lists := tables or rank_tables(rest):
        hint = f"did you mean {name_some(lists)}?"
    return DataError(f"{printable(path)} holds {name_some(folders)}, which are not classes", hint)


def note_alike(children: Mapping[str, set[str]]) -> tuple[str, ...]:
    """A note if every class folder holds several folders, or some do and others none: these may be
    the classes.
    """
    found = list(children.values())
    if len(found) < 2 or max(map(len, found)) < 2:
        return ()
    if not all(found):
        some = [name for name, inner in children.items() if len(inner) > 1]
        inner = sorted(set().union(*(children[name] for name in some)))
        is_one, folders = len(some) == 1, f"the folders {name_some(inner, 3)}"
        return (
            f"{name_some(some, 3)} {'is one class' if is_one else 'are one class each'}, with all "
            f"in {folders}; other classes hold no folders "
            "(data.label_pattern='([^/]+)/[^/]+$' takes the last folder as the class)",
        )
    if min(map(len, found)) < 2:
        return ()
    inner = sorted(set().union(*found))
    return (
        f"the classes are {name_some(sorted(children), 3)}; the folders {name_some(inner, 3)} "
        "inside them are not classes (data.label_pattern='([^/]+)/[^/]+$' takes the last folder)",
    )


def is_unlabelled(name: str, inner: Level, known: set[str]) -> bool:
    """Whether the only folder in a split of test images is no class: `test/unknown/`.

    `known` are the class folders of train.
    """
    if name in known or inner.folders:
        return False
    words = re.sub("[^a-z]", "", name.lower())
    is_said = is_vague_name(name) or is_filler(name) or read_split_name(name) is not None
    return is_said or words in ("unknown", "all", "none", "dummy", "noclass", "nolabel")
