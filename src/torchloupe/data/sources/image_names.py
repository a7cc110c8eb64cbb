"""The image files below a folder by name, for tables whose cells are not paths of files.

A file is found by its name without ending and but for case; numbers without their leading zeros,
too; and folders, where an id names a folder of images.
"""

import os
import re
import stat
import unicodedata
from collections.abc import Iterator, Sequence

from torchloupe.data.image.formats import IMAGE_SUFFIXES
from torchloupe.data.sources.masks import is_mask_folder, is_mask_name
from torchloupe.data.sources.split_names import is_filler, read_split_name
from torchloupe.data.sources.system_files import (
    is_program_folder,
    is_system_name,
    name_own_folder,
)
from torchloupe.data.sources.thumbnails import is_thumbnail_folder
from torchloupe.data.sources.walk import as_text

NO_FILE = (-1, -1, -1)
_MOST_FILES = 3_000_000  # that are listed
_DIGITS = re.compile(r"\d+")


class ImageNames:
    """Every image below a folder, by its name without ending; small copies and masks if no other.

    With `is_alone` images in the folder beside are listed where it holds none.
    """

    def __init__(self, folder: str, is_alone: bool) -> None:
        self._listed: dict[str, list[str]] = {}
        rest: dict[str, list[str]] = {}
        for number, path in enumerate(walk_images(folder)):
            if number >= _MOST_FILES:
                break
            listed = rest if is_beside_pictures(path) else self._listed
            listed.setdefault(make_name(path.rpartition("/")[2]), []).append(path)
        beside = _list_beside(folder) if is_alone and not self._listed else {}
        self._listed = self._listed or beside or rest
        self._numbers: dict[str, list[str]] | None = None
        self._folders: dict[str, set[str]] | None = None

    def __bool__(self) -> bool:
        return bool(self._listed)

    def find(self, name: str, has_ending: bool = True) -> Sequence[str]:
        """The paths of the images of a name, relative to the folder."""
        return self._listed.get(make_name(name) if has_ending else plain(name), ())

    def find_number(self, number: str) -> Sequence[str]:
        """The paths of the images whose names are a number, but for zeros before it."""
        if self._numbers is None:
            self._numbers = {}
            for name, paths in self._listed.items():
                if _DIGITS.fullmatch(name):
                    self._numbers.setdefault(name.lstrip("0"), []).extend(paths)
        return self._numbers.get(number.lstrip("0"), ())

    def find_affixed(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """The images [N] with one text before or behind all the names: `1_aligned.jpg` for `1.jpg`.

        Each with where it is: (`face/1_aligned.jpg`, `face/*_aligned.jpg`). Or the images with
        other endings, `1.jpg` for `1.tif`. [] if no such text fits all names, or if several do.
        """
        cells = [(*_split_ending(plain(name)), _last_stem(name)) for name in names]
        first = cells[0][0].rpartition("/")[2]
        affixes = set()
        for listed in self._listed if first else ():
            before, own, behind = listed.partition(first)
            if own and before + behind and _is_set_off(before, behind):
                affixes.add((before, behind))
        fitting = []
        for before, behind in affixes:
            paths = [self._find_only(*cell, before, behind) for cell in cells]
            if all(paths):
                fitting.append([(path, _place(path, before, behind)) for path in paths])
        if fitting or not first:
            return fitting[0] if len(fitting) == 1 else []
        paths = [self._find_only(stem, "", own, "", "") for stem, _, own in cells]
        are_pictures = all(path and not is_beside_pictures(path) for path in paths)
        return [(path, _place(path, "", "")) for path in paths] if are_pictures else []

    def _find_only(self, cell: str, ending: str, own: str, before: str, behind: str) -> str:
        """The only image whose name is that of a cell between two texts; or "".

        Of several that differ in case it is the one with the stem `own`, as the cell has it.
        """
        *words, stem = cell.split("/")
        found = [
            path
            for path in self._listed.get(f"{before}{stem}{behind}", ())
            if ending in ("", _split_ending(plain(path))[1])
            and common_tail(path.split("/")[:-1], words) == len(words)
        ]
        if len(found) > 1:
            found = [path for path in found if own in path.rpartition("/")[2]]
        return found[0] if len(found) == 1 else ""

    def find_folders(self, name: str) -> Sequence[str]:
        """The folders of a name that hold images, at any depth; of a number but for its zeros."""
        if self._folders is None:
            self._folders = {}
            for paths in self._listed.values():
                for path in paths:
                    parts = path.split("/")[:-1]
                    for depth, part in enumerate(parts):
                        own = "/".join(parts[: depth + 1])
                        self._folders.setdefault(_without_zeros(plain(part)), set()).add(own)
        found = sorted(self._folders.get(_without_zeros(plain(name)), ()))
        same = [path for path in found if plain(path.rpartition("/")[2]) == plain(name)]
        exact = [path for path in same if path.rpartition("/")[2] == name]
        return exact or same or found


def _split_ending(name: str) -> tuple[str, str]:
    """A path without the ending of an image, and that ending; "" where it has none."""
    stem, ending = os.path.splitext(name)  # noqa: PTH122
    return (stem, ending) if ending.lower() in IMAGE_SUFFIXES else (name, "")


def _place(path: str, before: str, behind: str) -> str:
    folder, sign, name = path.rpartition("/")
    return f"{folder}{sign}{before}*{behind}{os.path.splitext(name)[1]}"  # noqa: PTH122


def _is_set_off(before: str, behind: str) -> bool:
    """Whether texts around a name are set off by a sign, and don't say that it is a mask."""
    is_apart = not before[-1:].isalnum() and not behind[:1].isalnum()
    return is_apart and not is_mask_name(f"x{behind}")


def _without_zeros(name: str) -> str:
    return name.lstrip("0") if _DIGITS.fullmatch(name) else name


def _list_beside(root: str) -> dict[str, list[str]]:
    """Images in the only folder of images beside a table's folder that holds none.

    So `annotations/list.txt` finds what lies in `images/`, and `Train_Labels/labels.csv` what lies
    in `Train_Input/`.
    """
    own = os.path.basename(root)  # noqa: PTH119
    above = os.path.dirname(root)  # noqa: PTH120
    with os.scandir(above) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and entry.name != own)
    split = read_split_name(own)
    plainly = [name for name in names if is_filler(name)]
    alike = [name for name in names if split and _is_of_split(name, split.part)]
    places = [
        name
        for name in plainly or alike
        if next(walk_images(os.path.join(above, name)), "")  # noqa: PTH118
    ]
    listed: dict[str, list[str]] = {}
    if len(places) == 1:
        for path in walk_images(os.path.join(above, places[0])):  # noqa: PTH118
            key = make_name(path.rpartition("/")[2])
            listed.setdefault(key, []).append(f"../{places[0]}/{path}")
    return listed


def _is_of_split(name: str, part: int) -> bool:
    found = read_split_name(name)
    return found is not None and found.part == part


def walk_images(root: str) -> Iterator[str]:
    """Every image file below `root`, relative to it; links to folders are not followed."""
    pending = [""]
    while pending:
        below = pending.pop()
        folder = os.path.join(root, below)  # noqa: PTH118
        if name_own_folder(folder) or is_program_folder(folder):
            continue
        try:
            with os.scandir(folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    if is_system_name(entry.name) or as_text(entry.name) != entry.name:
                        continue  # a name that is not Unicode is in no table
                    if entry.is_dir(follow_symlinks=not below):
                        pending.append(f"{below}{entry.name}/")
                    elif os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:  # noqa: PTH122
                        yield f"{below}{entry.name}"
        except OSError:  # can't be read: what is in it is not found
            continue


def is_beside_pictures(path: str) -> bool:
    """Whether an image lies in a folder of masks or small copies of pictures."""
    folders = path.split("/")[:-1]
    return any(is_mask_folder(name) or is_thumbnail_folder(name) for name in folders)


def plain(name: str) -> str:
    """A name as names are compared: in one case, accents composed."""
    return _compose(name).casefold()


def make_name(file: str) -> str:
    """A file's name without its ending, as names are compared."""
    return plain(os.path.splitext(file)[0])  # noqa: PTH122


def _last_stem(name: str) -> str:
    return _split_ending(name.rpartition("/")[2])[0]


def closeness(path: Sequence[str], words: Sequence[str], has_ending: bool) -> tuple[int, int]:
    """How exactly the name of a file and its folders are written as in a cell; larger is closer.

    Both are cut at slashes; `has_ending` says whether the cell has the file's ending.
    """
    last = path[-1] if has_ending else os.path.splitext(path[-1])[0]  # noqa: PTH122
    same = common_tail(path[:-1], words[:-1])
    folders = path[len(path) - 1 - same : -1], words[len(words) - 1 - same : -1]
    return _sameness([last], [words[-1]]), _sameness(*folders)


def _sameness(one: Sequence[str], other: Sequence[str]) -> int:
    """2 for equal texts, 1 if only accents are stored otherwise, 0 if they differ in case."""
    if list(one) == list(other):
        return 2
    return int([_compose(text) for text in one] == [_compose(text) for text in other])


def _compose(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def common_tail(one: Sequence[str], other: Sequence[str]) -> int:
    """How many of the last folders of two paths are the same."""
    count = 0
    for first, second in zip(reversed(one), reversed(other), strict=False):
        if plain(first) != plain(second):
            break
        count += 1
    return count


def look_up(root: str, name: str) -> tuple[int, int, int]:
    """Size and times of change of a file; -1 if there is none, or a folder in its place."""
    try:
        found = os.stat(os.path.join(root, name))  # noqa: PTH116, PTH118
    except (OSError, ValueError):
        return NO_FILE
    if stat.S_ISDIR(found.st_mode):
        return NO_FILE
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
