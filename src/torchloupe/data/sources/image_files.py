"""The image files that a table lists: where they are when they are not where the cells say.

Tables travel: they hold backslashes, paths of another machine, ids without ending, and names of
files that lie in a folder beside. A file is taken where one fits alone; where several do, nothing
is guessed.
"""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.image.formats import IMAGE_SUFFIXES
from torchloupe.data.sources.image_matches import (
    AS_WRITTEN,
    BY_ITS_END,
    ZEROS,
    Match,
    choose_matches,
    merge_copies,
    note_places,
    note_zeros,
)
from torchloupe.data.sources.image_names import (
    NO_FILE,
    ImageNames,
    closeness,
    common_tail,
    look_up,
    plain,
    walk_images,
)
from torchloupe.data.sources.incomplete_files import refuse_pointers
from torchloupe.data.sources.no_classes import hint_for_no_images
from torchloupe.data.sources.source import name_some
from torchloupe.data.sources.split_names import is_filler
from torchloupe.errors import DataError, UsageError, did_you_mean, printable
from torchloupe.units import plural

_PACKED = (".zip", ".tar", ".tgz", ".tar.gz", ".7z", ".rar")
_ADDRESS = re.compile(r"\s*(https?|ftp|s3|gs)://", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """Files of a table: their names [N] relative to its folder, and facts [N, 3], -1 for none."""

    names: NDArray[Any]
    facts: NDArray[np.int64]
    notes: tuple[str, ...]


_UPLOADED = re.compile("^[0-9a-f]{8}-")  # what Label Studio puts before the name of a file


@dataclass
class ImageFiles:
    """Finds the files of one table; `folder` is data.image_folder as typed, or "auto"."""

    table: Path
    folder: str = "auto"
    root: str = field(init=False)  # the table's folder
    _below: str = field(init=False)  # the image folder, relative to it or absolute

    def __post_init__(self) -> None:
        self.root = os.fspath(self.table.absolute().parent)
        self._below = "" if self.folder == "auto" else os.path.expanduser(self.folder)  # noqa: PTH111
        if not os.path.isdir(os.path.join(self.root, self._below)):  # noqa: PTH112, PTH118
            beside = [entry.name for entry in os.scandir(self.root) if entry.is_dir()]
            raise UsageError(
                f"there is no folder {printable(self.folder)} in {printable(self.root)} "
                "(data.image_folder)",
                did_you_mean(self.folder, beside),
            )

    def share_of(self, names: NDArray[Any]) -> float:
        """The share of `names` for which there is a file at all."""
        listed = [name for name in names.tolist() if name]
        found = sum(self.is_file(name) or bool(self.matches(name)) for name in listed)
        return found / len(listed) if listed else 0.0

    def find(
        self,
        names: NDArray[Any],
        given: NDArray[np.int8] | None,
        labels: Sequence[str] = (),
    ) -> Found:
        """The file of each name; `given` and `labels` are the split and label of each row.

        DataError if most can't be found, or where several files fit.
        """
        paths = [self._join(name) for name in names.tolist()]
        facts = np.array([look_up(self.root, path) for path in paths], dtype=np.int64)
        facts = facts.reshape(-1, 3)
        missing = np.flatnonzero(facts[:, 0] < 0)
        is_elsewhere = len(missing) == len(names)
        matches = {int(row): self._matches_of(str(names[row])) for row in missing}
        if not is_elsewhere:  # most are where they should be: others are not looked for elsewhere
            matches = {
                row: [match for match in found if match.place[:1] in ("", "*", "#")]
                for row, found in matches.items()
            }
        chosen, copied = self._choose(matches, given, labels)
        if is_elsewhere and not chosen:
            chosen = self._choose_by_name(names) or self._choose_affixed(names)
        for row, match in chosen.items():
            paths[row] = match.path
            facts[row] = look_up(self.root, match.path)
        placed = Counter(match.place for match in chosen.values())
        notes = note_places(self.table, placed) + note_zeros(self.table, chosen, names) + copied
        refuse_pointers(self.root, paths, facts[:, 0])
        lost = np.flatnonzero(facts[:, 0] < 0)
        notes += _note_missing(self, lost, names)
        return Found(np.array(paths, dtype=np.dtypes.StringDType()), facts, notes)

    def _choose(
        self,
        matches: dict[int, list[Match]],
        given: NDArray[np.int8] | None,
        labels: Sequence[str],
    ) -> tuple[dict[int, Match], tuple[str, ...]]:
        """The match of each row, and a note where files lie in several folders as copies."""
        try:
            return choose_matches(self.table, matches, given, labels), ()
        except DataError:
            merged, notes = merge_copies(self.table, matches)
            if not notes:
                raise
            return choose_matches(self.table, merged, given, labels), notes

    def _join(self, name: str) -> str:
        return os.path.join(self._below, name) if self._below else name  # noqa: PTH118

    def is_file(self, name: str) -> bool:
        """Whether a name is the path of a file."""
        return look_up(self.root, self._join(name)) != NO_FILE

    def _matches_of(self, name: str) -> list[Match]:
        """The files that a name may mean, or if there are none, that it is the number of."""
        if found := self.matches(name):
            return found
        stem, ending = _cut_number(name)
        found = []
        for path in self.listed.find_number(stem) if stem else ():
            last = path.rpartition("/")[2]
            long, own = os.path.splitext(last)  # noqa: PTH122
            if ending.lower() in ("", own.lower()):
                place = f"{path.removesuffix(last)}{'#' * len(long)}*{own}"
                found.append(Match(self._join(path), place))
        places = [ZEROS.sub("", match.place) for match in found]
        if len(set(places)) < len(places):
            raise DataError(
                f"{printable(self.table)} lists '{printable(name, 40)}', which may be "
                f"{name_some(match.path for match in found)}",
                "write the names of the files with all their zeros into the table",
            )
        return found

    def matches(self, name: str) -> list[Match]:
        """The files that a name which is no path of a file may mean, as it is written."""
        tidy = _tidy(name)
        for other in (tidy, unquote(tidy)):  # `my%20images/1.jpg`
            if other not in (name, "") and self.is_file(other):
                return [Match(self._join(other), AS_WRITTEN)]
        return self._search(tidy) or (self._search(unquote(tidy)) if "%" in tidy else [])

    def _search(self, name: str) -> list[Match]:
        """The images below the folder whose paths end as a name does, or begin where it ends."""
        words = [word for word in name.split("/") if word not in ("", ".")]
        if not words or ".." in words:
            return []
        has_ending = os.path.splitext(words[-1])[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122
        found, close = [], []
        for path in self.listed.find(words[-1], has_ending):
            parts = path.split("/")
            ending = "" if has_ending else os.path.splitext(path)[1]  # noqa: PTH122
            if has_ending and plain(parts[-1]) != plain(words[-1]):
                continue
            same = common_tail(parts[:-1], words[:-1])
            if same == len(words) - 1 or same == len(parts) - 1:
                left = "/".join(parts[: len(parts) - 1 - same])
                place = f"{left}/*{ending}" if left else f"*{ending}"
                if same < len(words) - 1:
                    place = BY_ITS_END
                found.append(Match(self._join(path), place))
                close.append(closeness(parts, words, has_ending))
        closest = max(close, default=(0, 0))  # 1.jpg before 1.JPG, cat/1.jpg before Cat/1.jpg
        return [match for match, near in zip(found, close, strict=True) if near == closest]

    @property
    def folder_path(self) -> str:
        """The image folder."""
        return os.path.join(self.root, self._below) if self._below else self.root  # noqa: PTH118

    @cached_property
    def listed(self) -> ImageNames:
        """The images below the image folder by name."""
        return ImageNames(self.folder_path, is_alone=self.folder == "auto")

    def _choose_by_name(self, names: NDArray[Any]) -> dict[int, Match]:
        """Files by their names alone where cells are paths of another machine.

        All must lie in one folder, whose name says nothing that the paths could contradict.
        """
        if not all(_is_absolute(name) for name in names.tolist()):
            return {}
        chosen = {}
        for row, name in enumerate(names.tolist()):
            last = name.strip().replace("\\", "/").rpartition("/")[2]
            last = last if self.listed.find(last) else _UPLOADED.sub("", last)
            found = self.listed.find(last)
            fitting = [path for path in found if plain(path.rpartition("/")[2]) == plain(last)]
            fitting = [path for path in fitting if path.rpartition("/")[2] == last] or fitting
            if len(fitting) != 1:
                return {}
            chosen[row] = Match(self._join(fitting[0]), BY_ITS_END)
        folders = {match.path.rpartition("/")[0] for match in chosen.values()}
        folder = folders.pop() if len(folders) == 1 else "?"
        is_plain = not folder or is_filler(folder.rpartition("/")[2])
        is_clear = is_plain and len({match.path for match in chosen.values()}) == len(names)
        return chosen if is_clear else {}

    def _choose_affixed(self, names: NDArray[Any]) -> dict[int, Match]:
        """Files whose names have one text more than the cells, the same in all."""
        found = self.listed.find_affixed([_tidy(name) for name in names.tolist()])
        return {row: Match(self._join(path), place) for row, (path, place) in enumerate(found)}


def _note_missing(
    files: ImageFiles, lost: NDArray[np.int64], names: NDArray[Any]
) -> tuple[str, ...]:
    """A note on files that are not there; DataError if most are: then it is the paths."""
    if not len(lost):
        return ()
    text = (
        f"{printable(files.table)} lists {plural(len(lost), 'file')} of {len(names):,} that "
        f"can't be found: {name_some(names[lost], 3)}"
    )
    if len(lost) * 2 > len(names):
        if _ADDRESS.match(str(names[lost[0]])):
            raise DataError(text, "download the images, and list the files")
        hint = "" if files.listed else _hint_for_no_images(files.root)
        if hint:
            raise DataError(text, hint)
        root = printable(files.folder_path)
        if files.folder != "auto":
            raise DataError(text, f"paths are relative to data.image_folder, {root}")
        raise DataError(
            text,
            f"paths are relative to the table's folder, {root}; data.image_folder=FOLDER names "
            "another",
        )
    return (text,)


def _hint_for_no_images(root: str) -> str:
    """What to do where no image is below the folder of a table; "" if that is unknown."""
    with os.scandir(root) as entries:
        packed = sorted(e.name for e in entries if e.name.lower().endswith(_PACKED))
    if packed:
        return f"unpack {name_some(packed)} beside it"
    if foreign := hint_for_no_images(Path(root)):
        return foreign
    above, own = os.path.split(root)
    if not is_filler(own):
        return ""
    beside = next((name for name in walk_images(above) if "/" in name), "")
    place = printable(beside.partition("/")[0])  # images/ beside annotations/list.json
    return f"say where they are, perhaps data.image_folder=../{place}" if place else ""


def _tidy(name: str) -> str:
    """A name with slashes for backslashes, without spaces, quotes, `file://` and `./` around it."""
    tidy = name.strip().strip("\"'").replace("\\", "/")
    if tidy[:7].lower() == "file://":
        tidy = tidy[7:].lstrip("/") if re.match("/*[A-Za-z]:", tidy[7:]) else tidy[7:]
    while tidy.startswith("./"):
        tidy = tidy[2:]
    return tidy


def _cut_number(name: str) -> tuple[str, str]:
    """The number that a name is, as `17` or `17.0`, and its ending; "" for other names."""
    stem, ending = os.path.splitext(name.strip())  # noqa: PTH122
    ending = "" if ending.strip("0") == "." else ending
    return (stem, ending) if re.fullmatch("[0-9]+", stem) else ("", "")


def _is_absolute(name: str) -> bool:
    return re.match(r"\s*(/|\\|[A-Za-z]:|~|[A-Za-z][A-Za-z0-9+.-]*://)", name) is not None
