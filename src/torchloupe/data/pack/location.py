"""Where decoded pixels are kept: on disk, in memory or nowhere, by the setting and free space."""

import shutil
from pathlib import Path

from torchloupe.data.pack.decoding import Decoding, thread_count
from torchloupe.data.pack.library import missing_bytes
from torchloupe.errors import ResourceError, UsageError, did_you_mean, printable
from torchloupe.system.limits import available_memory_bytes
from torchloupe.units import format_bytes, plural

PACKS = ("auto", "disk", "memory", "off", "stream")
SPARE_BYTES = 10**9  # of disk that a pack leaves free
MEMORY_SHARE = 0.5  # of the free memory that pixels may take


def choose_place(work: Decoding, pack: str, cache: Path | None, notes: list[str]) -> str:
    """disk, memory or off, by the setting and by free space."""
    if pack not in PACKS:
        raise UsageError(f"data.pack is {printable(pack)!r}", did_you_mean(pack, PACKS))
    if pack in ("auto", "disk") and cache is not None:
        # A user's own Dataset may return other images the next time: a pack would be useless.
        if pack == "auto" and work.data.kind == "dataset" and _fits_memory(work.total_bytes):
            return "memory"
        missing, free = missing_bytes(work, cache), _free_disk_bytes(cache)
        if missing == 0 or (free is not None and free >= missing + SPARE_BYTES):
            return "disk"
        room = "unknown" if free is None else format_bytes(free)
        if pack == "disk":
            raise ResourceError(
                f"a pack needs {format_bytes(missing)} and {format_bytes(SPARE_BYTES)} to spare, "
                f"and {printable(cache)} has {room} free",
                "make room (`loupe pack --list` shows what packs take), or use "
                "--set data.pack=memory or data.pack=off",
            )
        notes.append(
            f"no pack on disk: it needs {format_bytes(missing)} and {format_bytes(SPARE_BYTES)} to "
            f"spare, and {printable(cache)} has {room} free"
        )
    elif pack == "disk":
        raise ResourceError(
            "there is no cache folder for a pack: this user has no home folder",
            "set XDG_CACHE_HOME to a folder, or use --set data.pack=memory",
        )
    size, memory = work.total_bytes, available_memory_bytes()
    if pack == "memory" and size > memory:
        raise ResourceError(
            f"the pixels need {format_bytes(size)} of memory, and {format_bytes(memory)} are free",
            "use --set data.pack=disk or data.pack=off, or smaller images: --set data.size=64",
        )
    if pack == "memory" or (pack == "auto" and _fits_memory(size)):
        return "memory"
    if pack == "auto":
        notes.append(
            f"images are decoded on the fly by {plural(thread_count(), 'thread')}: their pixels "
            f"need {format_bytes(size)}, more than half of the {format_bytes(memory)} of memory"
        )
    return "off"


def _free_disk_bytes(folder: Path) -> int | None:
    """Free bytes on the disk of `folder`, which need not exist; None if unknown."""
    for place in (folder, *folder.parents):
        try:
            return shutil.disk_usage(place).free
        except FileNotFoundError:
            continue
        except OSError:
            break
    return None


def _fits_memory(size_bytes: int) -> bool:
    return size_bytes <= MEMORY_SHARE * available_memory_bytes()
