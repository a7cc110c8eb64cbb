"""Archives of any layout: `.zip` and `.tar`, compressed or not, without unpacking the images.

A skeleton of the archive is laid out in a temporary folder: images as files of their size without
content, tables and arrays as they are. It is opened like any folder, and images are then read from
the archive. A member's name is only ever a name below that folder; links and devices are left out.
"""

import lzma
import os
import shutil
import struct
import tarfile
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from torchloupe.data.image.formats import IMAGE_SUFFIXES, MAX_BYTES, ImageError
from torchloupe.data.sources.archive_members import (
    FREE_FRACTION,
    Archive,
    Member,
    TarFile,
    ZipFile,
    no_room,
)
from torchloupe.data.sources.incomplete_files import hint_for_part
from torchloupe.data.sources.records import RECORD_ENDINGS
from torchloupe.data.sources.shard_labels import JSON, LARGEST_LABEL_BYTES, read_json_label
from torchloupe.data.sources.source import Data, FileReader, make_stamp, short_name, stamp_file
from torchloupe.data.sources.split_names import read_split
from torchloupe.data.sources.tables import TABLE_ENDINGS
from torchloupe.data.sources.tables_beside import rank_tables, tables_in
from torchloupe.data.sources.text_lists import LIST_ENDINGS
from torchloupe.data.sources.walk import Walk
from torchloupe.data.split import TRAIN
from torchloupe.errors import DataError, LoupeError, printable

ARCHIVE_ENDINGS = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz")
MAX_MEMBERS = 1_000_000
_LARGEST_NAME_BYTES = 255
_DEEPEST = 8  # nested single folders that are entered
_LOOKED_AT = 1000  # members of a tar, to tell shards from other archives
_DATA_ENDINGS = frozenset(
    (
        *("", ".csv", ".tsv", ".parquet", ".npz", ".npy", ".bin", ".gz", ".pt", ".pth"),
        *(".safetensors", ".h5", ".hdf5", ".meta", *LIST_ENDINGS, *RECORD_ENDINGS),
    )
)


class MemberReader:
    """Images in an archive, in the order of the rows of a data set."""

    def __init__(self, archive: Archive, members: list[Member | None], holder: Any) -> None:
        """None stands for what is listed and not in the archive; `holder` is kept alive."""
        self._archive = archive
        self._members = members
        self._holder = holder

    def read(self, row: int) -> bytes:
        """The bytes of the image of `row`."""
        member = self._members[row]
        if member is None:
            raise ImageError("there is no such file in the archive")
        return self._archive.read(member)


class TemporaryFolder:
    """A folder that is removed with this object, or at the end of the process."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="torchloupe-")).resolve()
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


class Skeleton:
    """A temporary folder with the names of an archive's members, to be opened as a folder."""

    def __init__(self, path: Path) -> None:
        """DataError for what is no archive or has too many members or too much in them."""
        self.path = path
        self._holder = TemporaryFolder()
        self.folder = self._holder.path / name_archive(path)
        self.notes: list[str] = []
        self._members: dict[str, Member] = {}
        self._skipped = 0
        self.folder.mkdir()
        shown = printable(path)
        try:
            self._archive: ZipFile | TarFile = (
                ZipFile(path) if path.suffix.lower() == ".zip" else TarFile(path)
            )
            self._lay_out()
        except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
            raise _unreadable(path, error) from None
        except (OSError, EOFError, ValueError, NotImplementedError, struct.error) as error:
            raise _unreadable(path, getattr(error, "strerror", None) or error) from None
        if isinstance(self._archive, TarFile) and self._archive.is_compressed:
            self.notes.append(
                f"{shown} is decompressed again for each run; a .zip or a folder avoids that"
            )
        if self._skipped:
            many = "member has a name" if self._skipped == 1 else "members have names"
            self.notes.append(f"{self._skipped:,} {many} in {shown} that can't be used")

    def adopt(self, data: Data) -> Data:
        """`data`, opened from the folder, with its images read from the archive."""
        reader: Any = data.reader
        if isinstance(data.reader, FileReader):
            root, files = os.fspath(self.folder), data.reader
            members = []
            for row in range(len(data.samples)):
                inside = os.path.relpath(os.path.normpath(files.path(row)), root)
                members.append(self._members.get(inside.replace(os.sep, "/")))
            reader = MemberReader(self._archive, members, self._holder)
        else:
            reader.kept_alive = self._holder  # what it reads lies in the folder
        notes = tuple(self.explain(note) for note in data.notes)
        return replace(
            data,
            name=short_name(name_archive(self.path)),
            reader=reader,
            notes=(*notes, *self.notes),
            stamp=make_stamp("archive", stamp_file(os.fspath(self.path)), data.samples.ids),
        )

    def explain(self, text: str) -> str:
        """A text about the folder as one about the archive."""
        shown = printable(self.path)
        return text.replace(f"{self.folder}{os.sep}", f"{shown}/").replace(str(self.folder), shown)

    def explain_error(self, error: LoupeError) -> LoupeError:
        """An error about the folder as one about the archive."""
        hint = self.explain(error.hint)
        if f"{printable(self.path)}/" in hint:  # which can't be given as it is
            hint = f"unpack the archive first; {hint}"
        return type(error)(self.explain(error.message), hint)

    def only_archive(self) -> Path | None:
        """The only member where it is an archive in turn, as a file; None for anything else."""
        if len(self._members) != 1 or not is_archive_name(next(iter(self._members))):
            return None
        name, member = next(iter(self._members.items()))
        if member.size_bytes > shutil.disk_usage(self.folder).free * FREE_FRACTION:
            raise no_room(self.path)
        with (self.folder / name).open("wb") as file:
            self._archive.copy(member, file)
        return self.folder / name

    def only_table(self) -> Path | None:
        """The only member where it is a table of text, which was unpacked; None else."""
        name = next(iter(self._members), "")
        is_table = name.lower().endswith((".csv", ".tsv", *LIST_ENDINGS, *RECORD_ENDINGS))
        return self.folder / name if is_table and len(self._members) == 1 else None

    def keep_with(self, data: Data) -> Data:
        """`data` from the archive inside, which lies in this one's folder."""
        reader: Any = data.reader
        reader.kept_alive = (self._holder, getattr(reader, "kept_alive", None))
        stamp = make_stamp("archive", stamp_file(os.fspath(self.path)), data.samples.ids)
        notes = tuple(self.explain(note) for note in data.notes)
        return replace(data, name=short_name(name_archive(self.path)), notes=notes, stamp=stamp)

    def start(self) -> Path:
        """The folder to open: down through folders that hold one folder and nothing else."""
        place = self.folder
        for _ in range(_DEEPEST):
            inside = list(place.iterdir())
            if len(inside) != 1 or not inside[0].is_dir():
                break
            if not any(inner.is_dir() for inner in inside[0].iterdir()):
                has_data = any(self._is_data(inner.name) for inner in inside[0].iterdir())
                return inside[0] if has_data else place
            place = inside[0]
        return place

    def _lay_out(self) -> None:
        room = int(shutil.disk_usage(self.folder).free * FREE_FRACTION)
        for count, member in enumerate(self._archive.members(), 1):
            if count > MAX_MEMBERS:
                raise DataError(
                    f"{printable(self.path)} has more than {MAX_MEMBERS:,} members",
                    "unpack it and give the folder",
                )
            name = safe_name(member.name)
            if name is None:
                self._skipped += 1
            elif not _is_hidden(name):
                is_data = self._is_data(name)
                room -= member.size_bytes if is_data else 0
                if room < 0:
                    raise no_room(self.path)
                self._place(name, member, is_data)

    def _place(self, name: str, member: Member, is_data: bool) -> None:
        """Make the file for a member: whole if it is data, else a hole as large as it."""
        target = self.folder / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                if is_data:
                    self._archive.copy(member, file)
                elif hasattr(os, "pread"):  # elsewhere files have no holes
                    with suppress(OSError):
                        file.truncate(min(member.size_bytes, MAX_BYTES))
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            self._skipped += 1
        else:
            self._members[name] = member

    def _is_data(self, name: str) -> bool:
        return os.path.splitext(name)[1].lower() in _DATA_ENDINGS  # noqa: PTH122


def open_unpacked(folder: Path, open_data: Callable[[Path], Data]) -> Data:
    """Data from the folder of an archive, or from its only table where that names the classes."""
    try:
        return open_data(folder)
    except DataError:
        tables = rank_tables(tables_in(folder, Walk(str(folder)).look()))
        data = None
        if len(tables) == 1 and tables[0].suffix.lower() in TABLE_ENDINGS:
            with suppress(LoupeError):
                data = open_data(tables[0])
        if data is None:
            raise
    note = f"the labels are those in {printable(tables[0].name)}, the only table in the archive"
    return replace(data, notes=(note, *data.notes))


def is_archive_name(name: str) -> bool:
    """Whether a file is called like an archive that is read."""
    return name.lower().endswith(ARCHIVE_ENDINGS)


def find_split_archives(folder: Path) -> dict[int, Path]:
    """The archive of each split in a folder, by its name; {} unless train is among them."""
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        part = read_split(name_archive(path)) if is_archive_name(path.name) else None
        if part is not None and (part in found or not path.is_file()):
            return {}
        if part is not None:
            found[part] = path
    return dict(sorted(found.items())) if TRAIN in found else {}


def is_shard(path: Path) -> bool:
    """Whether a `.tar` is no archive of folders: labels are in it, or no folders are."""
    label, has_folders = _look_into_tar(path)
    return bool(label) or not has_folders


def refuse_compressed_shard(path: Path) -> None:
    """DataError for a compressed `.tar` with NAME.cls or the like: its folders are no classes."""
    label, _ = _look_into_tar(path)
    if label:
        raise DataError(
            f"{printable(path)} is a compressed shard: labels are in it, such as "
            f"{printable(label)}",
            "decompress it (gunzip, unxz or bunzip2) and give the .tar",
        )


def _look_into_tar(path: Path) -> tuple[str, bool]:
    """A member with a label, "" without one, and whether images lie in folders.

    Labels are NAME.cls, and NAME.json with a label beside an image NAME.
    """
    images, jsons, has_folders = set(), {}, False
    unreadable = (tarfile.TarError, OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)
    with suppress(*unreadable), tarfile.open(path) as file:
        for count, member in enumerate(file):
            above, _, last = member.name.removeprefix("./").rpartition("/")
            stem, ending = os.path.splitext(last)  # noqa: PTH122
            ending = ending.lower()
            if ending == ".cls":
                return member.name, has_folders
            if ending in IMAGE_SUFFIXES:
                images.add((above, stem))
                has_folders |= bool(above)
            if ending == f".{JSON}" and _holds_label(file, member):
                jsons[above, stem] = member.name
            if count > _LOOKED_AT:
                break
    return next((name for key, name in jsons.items() if key in images), ""), has_folders


def _holds_label(file: tarfile.TarFile, member: tarfile.TarInfo) -> bool:
    """Whether a `.json` member has an entry that is a label."""
    if not member.isreg() or member.size > LARGEST_LABEL_BYTES:
        return False
    opened = file.extractfile(member)
    text = b"" if opened is None else opened.read()
    found = read_json_label(text.decode("utf-8", "backslashreplace"))
    return found is not None and bool(found[0])


def name_archive(path: Path) -> str:
    """The name of a data set in an archive: the file's without its endings."""
    name = path.name
    for ending in sorted(ARCHIVE_ENDINGS, key=len, reverse=True):
        if name.lower().endswith(ending):
            return name[: -len(ending)] or "data"
    return name


def safe_name(name: str) -> str | None:
    """A member's name as one below a folder, with `/`; None for one that leads elsewhere."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    unfit = not parts or parts[0].startswith("/") or ".." in parts or ":" in parts[0]
    if unfit or "\0" in name or any(len(os.fsencode(p)) > _LARGEST_NAME_BYTES for p in parts):
        return None
    return "/".join(parts)


def _is_hidden(name: str) -> bool:
    """Whether a member is of the system: `.DS_Store`, `__MACOSX/...`."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _unreadable(path: Path, reason: object) -> DataError:
    return DataError(
        f"{printable(path)} can't be read as an archive: {printable(reason)}",
        hint_for_part(path) or "fetch the file again",
    )
