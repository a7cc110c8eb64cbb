"""Files written whole or not at all: beside their name, flushed to the disk, then renamed.

This module knows bytes and names, not what they mean. Failures are raised as a ResourceError
with the reason that the operating system gives.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from torchloupe.errors import ResourceError, printable
from torchloupe.units import format_bytes

# The place is wrong, not full.
_PLACE_ERRORS = {
    *(errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR),
}


def make_folder(path: Path, hint: str) -> None:
    """Make a folder and those above it, unless it is there; ResourceError with `hint`."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(
            f"can't make the folder {printable(path)}: {error.strerror or error}", hint
        ) from None


def replace_file(path: Path, content: bytes) -> None:
    """Write `path` whole or not at all: beside its name, flushed, then renamed over it."""
    with replacing(path, len(content)) as file:
        file.write(content)


@contextmanager
def replacing(path: Path, needed_bytes: int = 0, hint: str = "") -> Iterator[BinaryIO]:
    """A new file, open for writing, that takes the place of `path` when it was written whole.

    A file or link planted at the temporary name is removed, never followed. `hint` is that of
    `disk_error`.
    """
    temporary = path.with_name(f".{path.name}.writing")
    try:
        temporary.unlink(missing_ok=True)
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):  # on a disk that can't be written the first error counts
                temporary.unlink(missing_ok=True)
            raise
        sync(path.parent)
    except OSError as error:
        raise disk_error(error, path, needed_bytes, hint) from error


def point_link(link: Path, target: Path) -> None:
    """Make `link` a relative symbolic link to `target`, replacing an older one in one step."""
    temporary = link.with_name(f".{link.name}.writing")
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(os.path.relpath(target, link.parent))
        temporary.replace(link)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise disk_error(error, link, 0) from error


def append_line(path: Path, line: bytes) -> None:
    """Add a whole line at the end of `path`; OSError if the disk refuses it, wholly."""
    with path.open("ab", buffering=0) as file:
        before = file.seek(0, os.SEEK_END)
        try:
            written = file.write(line)
        except OSError:
            file.truncate(before)  # half a line would spoil the next one
            raise
        if written < len(line):
            file.truncate(before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def disk_error(error: OSError, path: Path, needed_bytes: int, hint: str = "") -> ResourceError:
    """The error of a write that failed; for a full disk with the bytes needed and free."""
    free = ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = f"; {format_bytes(needed_bytes)} are needed, "
        free += f"{format_bytes(shutil.disk_usage(path.parent).free)} are free"
    is_place = error.errno in _PLACE_ERRORS
    otherwise = "make room or give another --out; the checkpoints written before are intact"
    return ResourceError(
        f"can't write {printable(path)}: {error.strerror or error}{free}",
        hint
        or ("give a place that exists and can be written, with --out" if is_place else otherwise),
    )


def remove(path: Path) -> None:
    """Remove a file, a link (not what it leads to) or a folder, whichever is at `path`."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk; a folder only if that is possible."""
    try:
        number = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except PermissionError:
        if os.name == "nt":
            return  # Windows can't open a folder to flush it
        raise
    try:
        os.fsync(number)
    except OSError:
        if not path.is_dir():  # some file systems can't flush a folder, and need not
            raise
    finally:
        os.close(number)
