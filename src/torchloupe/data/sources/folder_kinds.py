"""What kind of source a folder is, and where in it the data are if not at its top.

Names and a look into a few files decide; folders are not listed whole.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from torchloupe.data.image.formats import IMAGE_SUFFIXES
from torchloupe.data.sources.archived import find_split_archives
from torchloupe.data.sources.archives import holds_one_array
from torchloupe.data.sources.copies import find_twins
from torchloupe.data.sources.file_kinds import kind_of_array_folder
from torchloupe.data.sources.idx import is_idx_name
from torchloupe.data.sources.image_names import walk_images
from torchloupe.data.sources.matlab import MATLAB_ENDINGS
from torchloupe.data.sources.records import RECORD_ENDINGS
from torchloupe.data.sources.shards import find_shards
from torchloupe.data.sources.source import SPLIT_WORDS, Data, short_name
from torchloupe.data.sources.split_names import is_filler, read_split
from torchloupe.data.sources.split_tables import (
    find_metadata,
    find_split_tables,
    may_hold_tables,
)
from torchloupe.data.sources.system_files import is_program_folder, is_system_name
from torchloupe.data.sources.tables import TABLE_ENDINGS
from torchloupe.data.sources.text_lists import LIST_ENDINGS, is_listing
from torchloupe.errors import DataError, LoupeError, printable
from torchloupe.units import plural

_MOST_BESIDE = 20  # folders that are looked into for lists
_DEEPEST = 3  # folders in one another that hold nothing else and are entered


def kind_of_folder(path: Path) -> str:
    """A folder is read by class folders, unless it plainly holds arrays or shards."""
    listed, folders = _list_names(path)
    files, folders = [name.lower() for name in listed], [name.lower() for name in folders]
    is_idx = any(is_idx_name(name) for name in files)
    if known := "idx" if is_idx else kind_of_array_folder(path, files, folders):
        return known
    zipped = [path / name for name in listed if name.lower().endswith(".npz") and not folders]
    are_arrays = len(zipped) > 1 and all(map(holds_one_array, zipped))
    if not folders and (are_arrays or any(name.endswith(".npy") for name in files)):
        return "npy"
    if not folders and any(name.endswith(".tar") for name in files):
        return "shards"
    if (
        folders
        and set(folders) <= set(SPLIT_WORDS)
        and not _has_folders(path)
        and find_shards(path)
    ):
        return "shards"
    if may_hold_tables(path, files, folders) and find_split_tables(path):
        return "tables"
    may_be_listed = any(n.startswith("metadata.") or n.endswith(MATLAB_ENDINGS) for n in files)
    is_listed = may_be_listed and find_metadata(path) is not None
    is_archives = not folders and len(find_split_archives(path)) > 1
    return "metadata" if is_listed else "archives" if is_archives else "folder"


def _has_folders(path: Path) -> bool:
    """Whether the folders in `path` hold folders in turn."""
    return any(
        inner.is_dir() and not is_system_name(inner.name)
        for place in path.iterdir()
        if place.is_dir()
        for inner in place.iterdir()
    )


@dataclass(frozen=True)
class Inside:
    """The folder to open in place of the one above it."""

    path: Path
    note: str
    images: Path | None = None  # where the images are that the lists in `path` name

    def adopt(self, data: Data, above: Path) -> Data:
        """`data` under the name of the folder `above`, with notes on where it was found."""
        notes = [self.note]
        listed = 0 if self.images is None else sum(1 for _ in walk_images(str(self.images)))
        if (rest := listed - len(data.samples)) > 0:
            is_one = rest == 1
            notes.append(
                f"{plural(rest, 'image')} in {printable(self.images.name if self.images else '')}/ "
                f"{'is' if is_one else 'are'} in none of the lists, and not used"
            )
        name = short_name(above.resolve().name)
        return replace(data, name=name, notes=(*notes, *data.notes))


def find_inside(path: Path) -> Inside | None:
    """What to open in place of a folder of class folders; None for itself.

    That is one of lists for each split beside the folder of images (`meta/` of Food-101), or tables
    further down where each folder holds one folder alone (`data/train/metadata.csv`).
    """
    place = path
    for _ in range(_DEEPEST):
        files, folders = _list_names(place)
        if len(folders) != 1 or any(_may_be_data(place / name) for name in files):
            break
        place /= folders[0]
        if kind_of_folder(place) in ("tables", "metadata", "archives"):
            return Inside(place, f"the data are in {printable(place.relative_to(path))}/")
    _, folders = _list_names(path)
    if twins := find_twins(path, folders):
        return Inside(path / twins[0], twins[1])
    is_split = any(read_split(name) is not None for name in folders)
    if is_split or len(folders) > _MOST_BESIDE or not any(map(is_filler, folders)):
        return None
    listed = [name for name in folders if _holds_split_tables(path / name)]
    rest = [name for name in folders if is_filler(name) and name not in listed]
    images = [name for name in rest if next(walk_images(str(path / name)), "")]
    if len(listed) != 1 or len(images) != 1:
        return None
    note = (
        f"the splits are those of the lists in {printable(listed[0])}/, the images are in "
        f"{printable(images[0])}/"
    )
    return Inside(path / listed[0], note, path / images[0])


def _list_names(path: Path) -> tuple[list[str], list[str]]:
    """The files and the folders in a folder, by name."""
    try:
        with os.scandir(path) as entries:
            listed = sorted((e.name, e.is_dir()) for e in entries if not is_system_name(e.name))
    except OSError as error:
        raise DataError(
            f"folder {printable(path)} can't be read: {error.strerror or error}", "make it readable"
        ) from None
    files = [name for name, is_folder in listed if not is_folder]
    folders = [name for name, is_folder in listed if is_folder]
    return files, [name for name in folders if not is_program_folder(str(path / name))]


def _may_be_data(file: Path) -> bool:
    """Whether a file beside the only folder may be data itself, and no README or the like."""
    ending = file.suffix.lower()
    if ending in (*LIST_ENDINGS, *RECORD_ENDINGS):
        return is_listing(file)
    return ending in IMAGE_SUFFIXES or ending in TABLE_ENDINGS


def _holds_split_tables(folder: Path) -> bool:
    try:
        return bool(find_split_tables(folder))
    except LoupeError:
        return False
