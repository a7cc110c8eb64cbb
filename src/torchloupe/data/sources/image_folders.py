"""Tables whose ids name folders: every image in the folder of a patient has the patient's label."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.sources.image_files import ImageFiles
from torchloupe.data.sources.image_names import common_tail, is_beside_pictures, plain, walk_images
from torchloupe.data.sources.source import name_some
from torchloupe.errors import DataError, printable
from torchloupe.units import plural

_LOOKED_AT = 20


@dataclass(frozen=True, eq=False)
class Spread:
    """The images of the folders that a table's rows name, or of the lists in its cells."""

    names: NDArray[Any]  # [M] files relative to the image folder
    rows: NDArray[np.int64]  # [M] the table's row of each
    groups: NDArray[np.int64]  # [M] the folder or row that each belongs to
    notes: tuple[str, ...]
    are_lists: bool = False


def spread_folders(files: ImageFiles, names: NDArray[Any]) -> Spread | None:
    """The images of all rows where `names` [N] are folders of images; None where they are files.

    DataError where an id fits several folders.
    """
    distinct = list(dict.fromkeys(names.tolist()))
    some = distinct[:: max(1, len(distinct) // _LOOKED_AT)][:_LOOKED_AT]
    if sum(not files.is_file(name) and bool(_find(files, name)) for name in some) * 2 <= len(some):
        return None
    if sum(files.is_file(name) or bool(files.matches(name)) for name in some) * 2 > len(some):
        return None
    folders = {name: _choose(files, name) for name in distinct if not files.is_file(name)}
    images = {name: _list_images(files, folder) for name, folder in folders.items() if folder}
    spread, rows, groups = [], list[int](), list[int]()
    numbers = {name: number for number, name in enumerate(distinct)}
    for row, name in enumerate(names.tolist()):
        for image in images.get(name) or [name]:
            spread.append(image)
            rows.append(row)
            groups.append(numbers[name])
    count = sum(map(len, images.values()))
    notes = (
        f"{plural(len(images), 'id')} of {printable(files.table)} name folders: each image in one "
        f"has its label, {plural(count, 'image')} in all, and those of a folder stay in one split",
        *_note_zeros(files, folders),
    )
    return Spread(
        np.array(spread, dtype=np.dtypes.StringDType()),
        np.array(rows, dtype=np.int64),
        np.array(groups, dtype=np.int64),
        notes,
    )


def _find(files: ImageFiles, name: str) -> list[str]:
    """The folders with images that a name may mean, without those inside one another."""
    tidy = name.strip().replace("\\", "/").strip("/")
    while tidy.startswith("./"):
        tidy = tidy[2:]
    words = tidy.split("/")
    if not tidy or ".." in words:
        return []
    if os.path.isdir(os.path.join(files.folder_path, tidy)):  # noqa: PTH112, PTH118
        return [tidy]
    last = words[-1].removesuffix(".0") if words[-1].endswith(".0") else words[-1]
    found = []
    for path in files.listed.find_folders(last):
        parts = path.split("/")
        same = common_tail(parts[:-1], words[:-1])
        if same in (len(words) - 1, len(parts) - 1):
            found.append(path)
    return [path for path in found if not any(path.startswith(f"{other}/") for other in found)]


def _choose(files: ImageFiles, name: str) -> str:
    """The folder of an id, "" for none; DataError for several."""
    found = _find(files, name)
    if len(found) > 1:
        raise DataError(
            f"{printable(files.table)} lists '{printable(name, 60)}', which may be the folders "
            f"{name_some(found)}",
            f"say which: data.image_folder={printable(found[0].rpartition('/')[0] or found[0])}",
        )
    return found[0] if found else ""


def _list_images(files: ImageFiles, folder: str) -> list[str]:
    """The images in a folder, without masks and small copies if there are others."""
    listed = sorted(walk_images(os.path.join(files.folder_path, folder)))  # noqa: PTH118
    pictures = [name for name in listed if not is_beside_pictures(name)]
    return [f"{folder}/{name}" for name in pictures or listed]


def _note_zeros(files: ImageFiles, folders: dict[str, str]) -> Sequence[str]:
    other = [
        (name, folder)
        for name, folder in folders.items()
        if folder and name.isdigit() and plain(folder.rpartition("/")[2]) != plain(name)
    ]
    if not other:
        return ()
    name, folder = other[0]
    return (
        f"{plural(len(other), 'id')} of {printable(files.table)} lost zeros: "
        f"{printable(name, 40)} is {printable(folder, 80)}/",
    )
