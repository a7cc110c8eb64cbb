"""Members of `.zip` and `.tar` archives: where each lies, and its bytes when asked for.

Several threads may read at once. Sizes in headers are not trusted.
"""

import bz2
import gzip
import lzma
import os
import shutil
import struct
import tarfile
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import IO, Any, Protocol

from torchloupe.data.image.formats import MAX_BYTES, ImageError
from torchloupe.data.sources.source import read_file
from torchloupe.errors import DataError, ResourceError, printable
from torchloupe.system.cache import find_cache
from torchloupe.units import format_bytes

FREE_FRACTION = 0.5  # of the free disk that is used at most, whatever an archive holds
_PIECE = 4 * 2**20
_OPENERS = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}


@dataclass(frozen=True)
class Member:
    """One file in an archive: where its bytes are, and how many they are in the end."""

    name: str
    offset: int
    stored_bytes: int
    size_bytes: int
    is_deflated: bool = False
    crc: int | None = None


class Archive(Protocol):
    """A reader of members; safe to call from several threads."""

    def members(self) -> Iterator[Member]: ...
    def read(self, member: Member) -> bytes: ...
    def copy(self, member: Member, target: IO[bytes]) -> None: ...


class ZipFile:
    """A `.zip`, read through its table of contents."""

    def __init__(self, path: Path) -> None:
        self._path = os.fspath(path)
        self._file = zipfile.ZipFile(path)
        weakref.finalize(self, self._file.close)

    def members(self) -> Iterator[Member]:
        """Its plain files; DataError if one is encrypted or compressed by an unsupported method."""
        for info in self._file.infolist():
            if info.is_dir() or (info.external_attr >> 28) not in (0, 8):  # a link, a device
                continue
            is_deflated = info.compress_type == zipfile.ZIP_DEFLATED
            if info.flag_bits & 1 or not (is_deflated or info.compress_type == zipfile.ZIP_STORED):
                what = "encrypted" if info.flag_bits & 1 else "compressed by an unsupported method"
                raise DataError(
                    f"{printable(info.filename)} in {printable(self._path)} is {what}",
                    "unpack it and give the folder",
                )
            yield Member(
                info.filename,
                info.header_offset,
                info.compress_size,
                info.file_size,
                is_deflated,
                info.CRC,
            )

    def read(self, member: Member) -> bytes:
        """The bytes of a member, checked; ImageError if they are damaged or too many."""
        if max(member.size_bytes, member.stored_bytes) > MAX_BYTES:
            raise ImageError(f"{format_bytes(member.size_bytes)} is too large for an image")
        head = read_file(self._path, member.offset, 30)
        name, extra = struct.unpack("<HH", head[26:30])
        if head[:4] != b"PK\x03\x04":
            raise ImageError("the archive is damaged there")
        found = read_file(self._path, member.offset + 30 + name + extra, member.stored_bytes)
        if member.is_deflated:
            try:
                found = zlib.decompressobj(-15).decompress(found, member.size_bytes + 1)
            except zlib.error:
                raise ImageError("the archive is damaged there") from None
        if len(found) != member.size_bytes or zlib.crc32(found) != member.crc:
            raise ImageError("the archive is damaged there")
        return found

    def copy(self, member: Member, target: IO[bytes]) -> None:
        """Write a member of any size to `target`, piece by piece."""
        with self._file.open(member.name) as source:
            shutil.copyfileobj(source, target, _PIECE)


class TarFile:
    """A `.tar`; a compressed one is decompressed once, into a file that has no name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        with path.open("rb") as file:
            start = file.read(2)
        opener = _OPENERS.get(start)
        self.is_compressed = opener is not None
        self._file: IO[bytes] = path.open("rb") if opener is None else _decompress(path, opener)
        weakref.finalize(self, self._file.close)

    def members(self) -> Iterator[Member]:
        """Its plain files."""
        self._file.seek(0)
        with tarfile.open(fileobj=self._file, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # or a million of them stay in memory
                if member.isreg() and not member.issparse():
                    yield Member(member.name, member.offset_data, member.size, member.size)
            self._file.seek(archive.offset)
            if self._file.read(512) != bytes(512):
                raise ValueError(f"it is damaged or cut at byte {archive.offset:,}")

    def read(self, member: Member) -> bytes:
        """The bytes of a member; ImageError if they are too many or not there."""
        if member.size_bytes > MAX_BYTES:
            raise ImageError(f"{format_bytes(member.size_bytes)} is too large for an image")
        if hasattr(os, "pread"):
            found = os.pread(self._file.fileno(), member.size_bytes, member.offset)
        else:
            with self._lock:
                self._file.seek(member.offset)
                found = self._file.read(member.size_bytes)
        if len(found) != member.size_bytes:
            raise ImageError("the archive ends before the image does")
        return found

    def copy(self, member: Member, target: IO[bytes]) -> None:
        """Write a member of any size to `target`, piece by piece."""
        place = self._file.tell()  # of the walk through the members
        self._file.seek(member.offset)
        left = member.size_bytes
        while left > 0 and (piece := self._file.read(min(left, _PIECE))):
            target.write(piece)
            left -= len(piece)
        self._file.seek(place)


def _decompress(path: Path, opener: Any) -> IO[bytes]:
    """The tar in a compressed file, in a file without a name; ResourceError short of room."""
    cache = find_cache()
    place = cache if cache is not None and cache.is_dir() else None
    target: IO[bytes] = tempfile.TemporaryFile(dir=place)  # noqa: SIM115 - kept open
    try:
        _fill(target, path, opener, place)
    except BaseException:
        target.close()
        raise
    return target


def _fill(target: IO[bytes], path: Path, opener: Any, place: Path | None) -> None:
    room = int(shutil.disk_usage(place or tempfile.gettempdir()).free * FREE_FRACTION)
    with opener(path, "rb") as source:
        while piece := source.read(_PIECE):
            room -= len(piece)
            if room < 0:
                raise no_room(path)
            target.write(piece)
    target.flush()


def no_room(path: Path) -> ResourceError:
    """The error for an archive that would fill the disk."""
    return ResourceError(
        f"what {printable(path)} holds would fill more than half of the free disk",
        "unpack it where there is more space and give the folder",
    )
