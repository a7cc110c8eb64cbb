"""Class folders: the first folder level is the class, whatever lies below belongs to it.

Names are only read here; a million files cost some tens of megabytes. What was found in a large
folder is kept in an index (data/sources/index). Which folders are splits is for the layout.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from torchloupe.data.samples import Samples
from torchloupe.data.sources.class_trees import find_trees, note_called_like, through_fillers
from torchloupe.data.sources.copies import find_copies, note_beside, note_copies
from torchloupe.data.sources.file_labels import list_by_names, make_pattern
from torchloupe.data.sources.held_back import judge_held_back
from torchloupe.data.sources.incomplete_files import refuse_pointers
from torchloupe.data.sources.index import Index
from torchloupe.data.sources.labels import compare_splits, order_classes
from torchloupe.data.sources.layout import (
    Layout,
    class_folders,
    descend,
    find_common_folder,
    find_layout,
    is_unlabelled,
    note_alike,
    refuse_parts_as_classes,
)
from torchloupe.data.sources.left_out import note_own
from torchloupe.data.sources.listing import Listing
from torchloupe.data.sources.masks import MaskFilter
from torchloupe.data.sources.name_lists import NO_LIST, name_folders
from torchloupe.data.sources.no_classes import (
    no_images,
    refuse_labels_beside,
    refuse_own,
    see_only,
)
from torchloupe.data.sources.source import (
    SPLIT_WORDS,
    Data,
    FileReader,
    make_stamp,
    name_some,
    short_name,
)
from torchloupe.data.sources.spelling import note_joined, note_twins
from torchloupe.data.sources.split_files import note_tables
from torchloupe.data.sources.split_lists import read_split_list
from torchloupe.data.sources.split_names import is_filler, read_split_name
from torchloupe.data.sources.split_parts import name_again, note_unused
from torchloupe.data.sources.split_paths import note_split_paths
from torchloupe.data.sources.tables_beside import tables_in, tables_of_split
from torchloupe.data.sources.thumbnails import ThumbnailFilter, is_of_copies
from torchloupe.data.sources.variants import refuse_same_inside
from torchloupe.data.sources.walk import Level, Walk, as_text, look_through
from torchloupe.data.split import TRAIN
from torchloupe.errors import printable
from torchloupe.units import plural

_UNLABELLED = re.compile(
    r"(un[-_ ]?label+ed|no[-_ ]?labels?|without[-_ ]?labels?)([-_ ]?(images|imgs|data|set))?",
    re.IGNORECASE,
)


def open_folder(path: Path, class_names: Sequence[str] = (), label_pattern: str = "auto") -> Data:
    """Images in class folders, or in class folders below train, val and test folders.

    A folder that holds one folder and nothing else is entered. `label_pattern` is a regex on
    paths whose group is the class; "auto" takes classes from names where there are no class
    folders and the names leave no doubt, "none" never.
    """
    is_typed = label_pattern not in ("auto", "none")
    pattern = make_pattern(label_pattern) if is_typed else None
    index = Index(path, [*class_names, label_pattern] if is_typed else class_names)
    kept = index.read()
    if kept is not None:
        return kept
    refuse_own(path)
    walk, scout = Walk(os.fspath(path)), Walk(os.fspath(path))
    below, _ = descend(scout, "", scout.look(), lambda _, name: name.lower() not in SPLIT_WORDS)
    root = os.path.join(walk.root, below.rstrip("/")) if below else walk.root  # noqa: PTH118
    if below:
        look_through(walk, "", below.rstrip("/").rpartition("/")[0])
    inner, deeper = (Walk(root) if below else walk), Walk(root)
    reading = _Reading(inner, below)
    layout = find_layout(root, reading.top, deeper)
    reading.notes += layout.notes
    if pattern is None:
        reading.read(layout)
    if pattern is not None or (label_pattern == "auto" and reading.may_be_flat(layout)):
        reading.read_names(layout, pattern)
    if not len(reading.listing):
        raise no_images(path, reading.walk, reading.top, reading.loose, reading.tables)
    classes = reading.listing.classes
    ids, codes, parts, files, exact = reading.listing.table()
    used = np.flatnonzero(np.bincount(codes, minlength=len(classes)))
    if len(used) == 1 and not reading.is_by_name:
        is_below = bool(layout.splits or layout.inner)
        if inside := see_only(path, Path(root), classes[used[0]], reading.top.folders, is_below):
            return _enter_only(Path(root), inside, class_names, reading)
    refuse_labels_beside(path, walk.ignored, len(ids))
    refuse_pointers(root, ids, files[:, 0])
    found = reading.name_classes([as_text(classes[k]) for k in used], path, class_names)
    names, numbers = order_classes(found, class_names)
    labels = np.asarray(numbers, dtype=np.int64)[np.searchsorted(used, codes)]
    notes = [*reading.notes, *note_joined(found), *note_twins(names)]
    notes += compare_splits(labels, parts, names) if layout.is_split else note_split_paths(ids)
    notes += note_unused(ids, names) if pattern and not layout.is_split else []
    for other, prefix in ((inner, below), (deeper, below), (scout, "")):
        walk.take_over(other, prefix, is_counted=other is inner)
    data = Data(
        name=short_name(path.resolve().name),
        kind="folder",
        samples=Samples(ids, labels, names),
        given=parts if layout.is_split else None,
        reader=FileReader(root, ids, exact),
        ignored=dict(walk.ignored.most_common()),
        notes=tuple(notes),
        stamp=make_stamp(ids, files),
    )
    if not reading.used_tables:  # which may change and no folder with them
        index.keep(data, files, exact, walk, below)
    return data


class _Reading:
    """The images found in class folders so far, and the notes on what is not used."""

    def __init__(self, walk: Walk, below: str) -> None:
        """`below` are the folders that were entered to get to the walk's root."""
        self.walk = walk
        self.top = walk.look()
        self.listing = Listing()
        self.is_by_name = False  # classes come from file names
        self.loose: dict[str, int] = {}  # split folder to images outside any class folder
        self.tables: list[Path] = []  # beside these images
        self.used_tables: set[Path] = set()  # that label images of a split, or name classes
        self.masks = MaskFilter(walk.root)
        self.small = ThumbnailFilter(walk.root)
        self.notes: list[str] = []
        if below:
            places = [*Path(walk.root).parents][: below.count("/")]
            tables = [t for place in places for t in tables_in(place, Walk(str(place)).look())]
            rest = f"; not used: {name_some(table.name for table in tables)}" if tables else ""
            self.notes = [f"the data are in {printable(below)}, the only folder there{rest}"]

    def read(self, layout: Layout) -> None:
        """List the class folders of every split, or those at the top if there are none."""
        places = [(f"{name}/", part) for name, part in layout.splits.items()] or [("", TRAIN)]
        copies = []
        scout = Walk(self.walk.root)
        common = find_common_folder(scout, layout.splits)
        known: set[str] = set()
        if train := [name for name, part in layout.splits.items() if part == TRAIN]:
            known = set().union(*(class_folders(scout, name) for name in train))
        for name, parts in layout.inner.items():
            for split, part in parts.items():
                self._list_class(name, f"{name}/{split}", part)
        for folder, part in places if not layout.inner else ():
            prefix, level = folder, self.top
            if folder:
                prefix, level = self._enter(folder, part, common, known)
            if part != TRAIN and len(level.folders) == 1 and not level.loose:
                inner = scout.look(prefix + level.folders[0])
                if is_unlabelled(level.folders[0], inner, known):
                    self.walk.look(prefix + level.folders[0])  # counts and records what is there
                    self._read_loose(prefix, level, inner.loose, part, known)
                    continue
            if part == TRAIN and (only := name_again(scout, folder, prefix, level)):
                self.loose[only] = self.walk.look(only).loose
                self.tables += tables_in(Path(self.walk.root, only), scout.look(only))
                continue
            copies += self._read_level(prefix, level, part, is_split=bool(folder))
        self.notes[:0] = note_beside(self.walk, layout.splits, layout.beside)
        self._describe_rest(copies)

    def may_be_flat(self, layout: Layout) -> bool:
        """Whether what was read may be no class: nothing, or one folder without any in it."""
        is_one = len(self.listing.classes) == 1 and not layout.splits
        return not len(self.listing) or (
            is_one and not Walk(self.walk.root).look(self.listing.classes[0]).folders
        )

    def read_names(self, layout: Layout, pattern: re.Pattern[str] | None) -> None:
        """List images by the labels in their names; without a pattern, where these are sure."""
        places = {f"{name}/": part for name, part in layout.splits.items()}
        for name, parts in layout.inner.items():
            places |= {f"{name}/{split}/": part for split, part in parts.items()}
        scout, listing = Walk(self.walk.root), Listing()
        notes = list_by_names(scout, listing, places or {"": TRAIN}, pattern)
        if len(listing):
            self.listing, self.is_by_name = listing, True
            self.notes = [*layout.notes, *notes]
            self.walk.take_over(scout, "", is_counted=pattern is not None)

    def _enter(self, folder: str, part: int, common: str, known: set[str]) -> tuple[str, Level]:
        """Where the class folders of a split are, and what else is there.

        `common` is a folder that every split holds, and holds alone; `known` are train's classes.
        """

        def is_no_class(above: str, name: str) -> bool:
            found = read_split_name(name)
            is_same = found is not None and found.part == part
            return is_same or name in (common, above) or is_filler(name)

        scout = Walk(self.walk.root)
        prefix, _ = descend(scout, folder, scout.look(folder), is_no_class)
        level = look_through(self.walk, folder, prefix)
        if prefix != folder:
            self.notes.append(f"the class folders of {folder} are in {prefix}")
        if level.loose:
            self.loose[prefix] = level.loose
            self.tables += tables_in(Path(self.walk.root, prefix), level)
            if level.folders or part == TRAIN:
                what = f"{plural(level.loose, 'image')} in {prefix}"
                self.notes.append(f"{what} outside any class folder")
            else:
                self._read_loose(prefix, level, level.loose, part, known)
        return prefix, level

    def _read_loose(
        self, prefix: str, level: Level, count: int, part: int, known: set[str]
    ) -> None:
        """Images of a split outside class folders, labelled by a list in `prefix` or not at all.

        They lie in `prefix`, whose `level` this is, or in the only folder there.
        """
        root = Path(self.walk.root)
        tables = tables_in(root / prefix, level) + tables_of_split(root, self.top, part)
        listed, table = read_split_list(tables, root / prefix, count, known)
        for name, label, facts in listed:
            self.listing.start_class(label, part)
            self.listing.add(prefix + name, facts)
        if table is not None:
            self.used_tables.add(table.absolute())
            what = f"{plural(count, 'image')} of {printable(prefix.rstrip('/'))}"
            self.notes.append(f"the labels of {what} are those in {printable(table.name)}")
            return
        folder = (prefix + "".join(level.folders)).rstrip("/")
        place = printable(os.path.join(self.walk.root, folder))  # noqa: PTH118
        have = "has no label and is" if count == 1 else "have no labels and are"
        labels = "labels it" if count == 1 else "labels them"
        self.notes.append(
            f"{plural(count, 'image')} in {folder}/ {have} not used: `loupe predict RUN {place}` "
            f"{labels}"
        )

    def _read_level(self, prefix: str, level: Level, part: int, is_split: bool) -> list[str]:
        """List the class folders in `prefix`; the copies of the whole set among them."""
        ranges: dict[str, tuple[int, int]] = {}
        empty = []
        for name in level.folders:
            if _UNLABELLED.fullmatch(name) and len(level.folders) > 2:
                self.walk.look(prefix + name)
                self.notes.append(
                    f"'{printable(prefix + name)}' says that it has no labels: not used"
                )
                continue
            others = [prefix + other for other in level.folders if other != name]
            if len(others) > 1 and is_of_copies(self.walk, prefix + name, others):
                self.notes.append(f"'{printable(prefix + name)}' holds small copies, not used")
                continue
            before = self.listing.count
            self._list_class(name, prefix + name, part)
            if self.listing.count > before:
                ranges[name] = (before, self.listing.count)
            elif not any(f"{own}/".startswith(f"{prefix}{name}/") for own in self.walk.own):
                empty.append(prefix + name)
        trees = find_trees(self.walk, prefix, ranges)
        copies = find_copies(self.walk, prefix, trees)
        rest = {name: tree for name, tree in trees.items() if name not in copies}
        if not is_split:
            refuse_parts_as_classes(Path(self.walk.root), rest, level)
        unlabelled, notes = judge_held_back(Path(self.walk.root), prefix, rest, level, part)
        self.notes += notes
        self.used_tables |= set(unlabelled.values())
        for name in [*copies, *unlabelled]:
            self.listing.drop(*ranges[name])
            del trees[name]
        if not is_split or part == TRAIN:
            no_class = self.masks.folder_names | self.walk.own_names
            children = {n: through_fillers(n, tree) - no_class for n, tree in trees.items()}
            refuse_same_inside(self.walk.root, prefix, children)
            self.notes += [*note_alike(children), *note_called_like(trees)]
        if empty and len(self.listing):
            many = "hold no images and are not classes" if len(empty) > 1 else "holds no images"
            self.notes.append(f"{name_some(empty)} {many}")
        return [prefix + name for name in copies]

    def _list_class(self, name: str, folder: str, part: int) -> None:
        """List the images of one class below a folder, without masks and small copies."""
        self.listing.start_class(name, part)
        images = self.masks.pictures(folder, self.walk.find_images(folder))
        for image, facts in self.small.pictures(folder, images):
            self.listing.add(image, facts)

    def _describe_rest(self, copies: Sequence[str]) -> None:
        """Notes on copies, on what torchloupe wrote, on loose images and on tables."""
        self.notes += [*self.masks.notes(), *self.small.notes()]
        self.notes += note_copies(copies)
        if self.walk.own:
            self.notes.append(note_own(self.walk.own))
        if self.top.loose and len(self.listing):
            self.notes.append(
                f"{plural(self.top.loose, 'image')} outside any class folder, not used"
            )

    def name_classes(self, found: list[str], path: Path, class_names: Sequence[str]) -> list[str]:
        """The names of classes, where these are numbers that a list names; with notes on that, and
        on tables beside the class folders that are not used.
        """
        root = Path(self.walk.root)
        lists = NO_LIST if class_names else name_folders(found, root, path)
        self.used_tables |= set(lists.files)
        self.notes += lists.notes
        beside = tables_in(root, self.top)
        self.notes += note_tables([t for t in beside if t.absolute() not in self.used_tables])
        return [lists.names[int(name)] for name in found] if lists.names else found


def _enter_only(path: Path, only: str, class_names: Sequence[str], reading: _Reading) -> Data:
    """Data from the only folder that holds images, where class folders or splits are in it."""
    data = open_folder(path / only, class_names)
    beside = [name for name in reading.top.folders if name != only]
    tables = tables_in(path, reading.top)
    unused = [*beside, *(table.name for table in tables)]
    rest = f"; not used: {name_some(unused)}" if unused else ""
    note = f"the data are in {printable(only)}/, the only folder with images{rest}"
    return replace(data, notes=(note, *data.notes))
