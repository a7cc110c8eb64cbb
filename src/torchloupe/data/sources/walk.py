"""A walk through folders of images: what is an image, what is passed over, which links lead on.

A walk records the state of every folder before it reads it, so that the index can
tell later whether another walk would find the same.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from torchloupe.data.image.formats import IMAGE_SUFFIXES, names_an_image
from torchloupe.data.sources.system_files import (
    PAGES,
    is_program_folder,
    is_system_name,
    name_own_folder,
)
from torchloupe.errors import DataError, printable
from torchloupe.system.counter_rng import make_key

Facts = tuple[int, ...]

NO_FILE = (0, 0, 0)  # the facts of a file that is not there
_CHUNK = 65_536  # names of a folder held as Python strings at a time
_POSITIVE = 2**63 - 1  # what an int64 holds of numbers that some systems give 64 bits and more


@dataclass
class Level:
    """What one folder holds directly."""

    folders: list[str] = field(default_factory=list)
    loose: int = 0  # images
    files: list[str] = field(default_factory=list)  # the others, a few of them


@dataclass
class Walk:
    """Reads folders below `root`; paths are relative to it, with `/`."""

    root: str
    ignored: Counter[str] = field(default_factory=Counter)  # files passed over, by ending
    folders: dict[str, Facts] = field(default_factory=dict)  # read so far, as they were before
    own: dict[str, str] = field(default_factory=dict)  # folders passed over: a run, a pack
    has_loose_links: bool = False  # what is behind them may change and no folder read here with it

    @property
    def own_names(self) -> set[str]:
        """The names of the folders passed over, without those above them."""
        return {path.rpartition("/")[2] for path in self.own}

    def look(self, below: str = "") -> Level:
        """What lies directly in a folder; files that are no images are counted as ignored."""
        level = Level()
        folder = os.path.join(self.root, below)  # noqa: PTH118
        for entry in self._scan(below):
            if _is_folder(entry):
                if not (entry.is_symlink() and _closes_a_loop(entry.path, (folder,))):
                    level.folders.append(entry.name)
            elif self._is_image(entry):
                level.loose += 1
            else:
                level.files.append(entry.name)
        level.folders.sort()
        return level

    def find_images(self, top: str) -> Iterator[tuple[str, Facts]]:
        """Every image below the folder `top` ("": all): its path, its size and its times of change.

        Symbolic links are followed, except one that leads back to a folder it lies in.
        """
        pending: list[tuple[str, tuple[str, ...]]] = [(top, (self.root,))]
        while pending:
            below, trail = pending.pop()
            folder = os.path.join(self.root, below)  # noqa: PTH118
            for entry in self._scan(below):
                name = f"{below}/{entry.name}" if below else entry.name
                if _is_folder(entry):
                    if not entry.is_symlink():
                        pending.append((name, trail))
                    elif not _closes_a_loop(entry.path, (folder, *trail)):
                        pending.append((name, (folder, *trail)))
                elif self._is_image(entry):
                    facts = file_facts(entry)
                    self.has_loose_links |= facts == NO_FILE
                    yield name, facts

    def take_over(self, other: "Walk", prefix: str, is_counted: bool) -> None:
        """Record the folders that another walk read too; its root is `prefix` below this one's.

        `is_counted` says that its files passed over count as well.
        """
        if other is self:
            return
        for folder, facts in other.folders.items():
            self.folders.setdefault(f"{prefix}{folder}".rstrip("/"), facts)
        self.has_loose_links |= other.has_loose_links
        if is_counted:
            self.ignored.update(other.ignored)

    def _scan(self, below: str) -> Iterator[os.DirEntry[str]]:
        """The entries of a folder that may be data; none of one that torchloupe wrote."""
        folder = os.path.join(self.root, below)  # noqa: PTH118
        try:
            if what := name_own_folder(folder):
                self.own[below] = what
                self.folders[below] = folder_facts(folder)
                return
            times, key, names = _times_of(folder), 0, list[str]()
            of_pages, pages = list[os.DirEntry[str]](), set[str]()
            with os.scandir(folder) as entries:
                for entry in entries:
                    names.append(entry.name)
                    if len(names) == _CHUNK:
                        key = _add_names(key, names)
                        names.clear()
                    stem, ending = os.path.splitext(entry.name)  # noqa: PTH122
                    if ending.lower() in PAGES:
                        pages.add(f"{stem}_files")
                    if is_system_name(entry.name) or _is_of_program(entry):
                        continue
                    if entry.name.endswith("_files"):
                        of_pages.append(entry)
                    else:
                        yield entry
            yield from (entry for entry in of_pages if entry.name not in pages)
            self.folders[below] = (*times, _add_names(key, names))
        except OSError as error:
            raise DataError(
                f"folder {printable(folder)} can't be read: {error.strerror or error}",
                "make it readable, or take it out of the data",
            ) from None

    def _is_image(self, entry: os.DirEntry[str]) -> bool:
        """Whether a file is an image, by its ending or content; a broken link counts as one."""
        ending = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
        if entry.is_symlink():
            self.has_loose_links |= ending not in IMAGE_SUFFIXES
        elif not entry.is_file():
            ending = "special files"
        if ending in IMAGE_SUFFIXES or (
            ending != "special files" and names_an_image(entry.path)  # opens what has no ending
        ):
            return True
        self.ignored[as_text(ending)[:20] or "without ending"] += 1
        return False


def file_facts(file: os.DirEntry[str] | str) -> Facts:
    """The size of a file in bytes and its two times of change in ns; NO_FILE if it is none."""
    try:
        facts = os.stat(file) if isinstance(file, str) else file.stat()  # noqa: PTH116
    except OSError:  # a broken link, or gone meanwhile: reading it will say so
        return NO_FILE
    return (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


def folder_facts(folder: str) -> Facts:
    """Which folder this is, two times of change in ns, and a hash of the names in it.

    The names are read because some file systems do not keep a folder's times. OSError if the
    folder can't be read.
    """
    times, names, key = _times_of(folder), os.listdir(folder), 0  # noqa: PTH208
    for start in range(0, len(names) + 1, _CHUNK):  # the last may be empty, as in a walk
        key = _add_names(key, names[start : start + _CHUNK])
    return (*times, key)


def _add_names(key: int, names: list[str]) -> int:
    """A key of these names and of those before, which `key` stands for."""
    return make_key("\0".join([str(key), *names])) & _POSITIVE


def _times_of(folder: str) -> Facts:
    facts = os.stat(folder)  # noqa: PTH116
    return (
        facts.st_dev & _POSITIVE,
        facts.st_ino & _POSITIVE,
        facts.st_mtime_ns,
        facts.st_ctime_ns,
    )


def as_text(name: str) -> str:
    """A file name as Unicode; bytes that are not UTF-8 are written %FF."""
    return (
        "".join(f"%{ord(c) - 0xDC00:02X}" if "\udc80" <= c <= "\udcff" else c for c in name)
        .encode("utf-8", "replace")
        .decode()
    )


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_of_program(entry: os.DirEntry[str]) -> bool:
    return _is_folder(entry) and is_program_folder(entry.path)


def _closes_a_loop(link: str, trail: tuple[str, ...]) -> bool:
    """Whether the link leads to a folder that one of `trail` is or lies in."""
    target = os.path.realpath(link)
    return any(Path(os.path.realpath(place)).is_relative_to(target) for place in trail)


def holds_images(folder: str) -> bool:
    """Whether a folder holds an image directly."""
    try:
        with os.scandir(folder) as entries:
            return any(
                os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122
                for entry in entries
                if not is_system_name(entry.name)
            )
    except OSError:
        return False


def look_through(walk: Walk, first: str, last: str) -> Level:
    """What `last` holds, after a look at all folders from `first` down to it.

    So the files beside are counted, and the folders recorded.
    """
    level = walk.look(first)
    place = first
    for name in last.removeprefix(first).split("/"):
        if name:
            place = f"{place}{name}/"
            level = walk.look(place)
    return level
