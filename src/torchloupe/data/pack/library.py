"""The packs in the cache folder: one is found sound there, or built by one process at a time.

All packs are folders in `packs` of the cache folder, named by what they hold. `about.json` in a
pack is for people: the name of its data; its own time is when the pack was last used.
"""

import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from torchloupe.data.pack.decoding import Decoding
from torchloupe.data.pack.format import (
    AT_ONCE_BYTES,
    FORMAT,
    READER,
    Pack,
    PackError,
    PackWriter,
    disk_bytes,
    find_unfinished,
    read_pack,
    write_about,
)
from torchloupe.errors import ResourceError, printable
from torchloupe.units import format_bytes, plural

STALLED_SECONDS = 120  # without a sign of life from the process that builds the same pack


def pack_folder(work: Decoding, cache: Path) -> Path:
    """Where the pack of this work is or would be."""
    text = json.dumps([FORMAT, work.data.stamp, work.contract.decode_key(), list(work.shape)])
    key = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:40]
    return cache / "packs" / key


def missing_bytes(work: Decoding, cache: Path) -> int:
    """Bytes that this pack will still take on the disk: 0 for one that is there."""
    folder = pack_folder(work, cache)
    if folder.is_dir():
        return 0
    places = find_unfinished(folder)
    begun = max((disk_bytes(place, ["pixels.bin"]) for place in places), default=0)
    return max(0, work.total_bytes - begun)


def open_pack(work: Decoding, cache: Path, notes: list[str]) -> Pack:
    """The pack of this work from the cache, else built there; OSError if that fails.

    Notes for the user are added to `notes`.
    """
    folder = pack_folder(work, cache)
    folder.parent.mkdir(parents=True, exist_ok=True)
    found = _find_sound(folder, work, notes)
    if found is None:
        with building_alone(folder):
            found = _find_sound(folder, work, [])  # built by another process while this one waited
            if found is None:
                discard(folder)
                found = _build(folder, work, notes)
    _note_use(folder, work)
    return found


@contextmanager
def building_alone(folder: Path) -> Iterator[None]:
    """Lock for the one process that builds `folder`; others wait while it makes progress."""
    lock = FileLock(folder.parent / f".{folder.name}.lock")
    waiting_since = time.monotonic()
    last_sign = ""
    while True:
        try:
            lock.acquire(timeout=0.5)
            break
        except Timeout:
            sign = _sign_of_life(folder)
            if sign != last_sign:
                last_sign, waiting_since = sign, time.monotonic()
            if time.monotonic() - waiting_since > STALLED_SECONDS:
                raise ResourceError(
                    f"another process is building {printable(folder)} and has not moved for "
                    f"{STALLED_SECONDS} s",
                    "end that process, or train with --set data.pack=memory",
                ) from None
    try:
        yield
    finally:
        lock.release()


def discard(folder: Path) -> None:
    """Remove an unusable pack; a link is removed, not followed."""
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink(missing_ok=True)
        return
    aside = folder.parent / f".{folder.name.lstrip('.')}.discarded-{uuid.uuid4().hex[:8]}"
    folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def _find_sound(folder: Path, work: Decoding, notes: list[str]) -> Pack | None:
    """The pack in `folder`; None, with a note of the reason, if it can't be used."""
    try:
        found = read_pack(folder)
    except FileNotFoundError:
        return None
    except PackError as error:
        notes.append(f"the pack {printable(folder)} was damaged and is built again: {error}")
        return None
    if found.pixels.shape != work.shape or found.pixels.dtype != work.contract.dtype:
        notes.append(f"the pack {printable(folder)} holds something else and is built again")
        return None
    again = [image for image in found.bad if image.is_unread or found.reader < READER]
    if any(map(work.is_readable, again)):
        notes.append(
            "images that could not be read before can be read now: the pack is built again"
        )
        return None
    return found


def _build(folder: Path, work: Decoding, notes: list[str]) -> Pack:
    """Decode what is missing, write the pack and open it."""
    total, size = work.shape[0], format_bytes(work.total_bytes)
    height, width, channels = work.shape[1:]
    free = format_bytes(shutil.disk_usage(folder.parent).free)
    work.announce(
        f"decoding {plural(total, 'image')} into a pack of {channels} x {height} x {width}: "
        f"{size} in {printable(folder.parent)}, which has {free} free"
    )
    writer = PackWriter(folder, work.shape, work.contract.dtype, work.data.name)
    kept = sum(len(chunk.content) for chunk in writer.kept)
    if kept:
        work.announce(f"{kept:,} of them are there already, from a build that was stopped")
    try:
        content, bad = work.run(writer.write, writer.kept)
        writer.finish(content, bad)
    except BaseException as error:
        # A disk that is full or fails gets its room back; else what is there serves the next try.
        if isinstance(error, OSError) or writer.is_empty:
            writer.abandon()
        raise
    decoded = f"decoded {plural(total - kept, 'image')} into a pack of {size}"
    notes.append(decoded + (f" that held {kept:,} already" if kept else ""))
    pack = read_pack(folder, at_once_bytes=0)
    if work.total_bytes <= AT_ONCE_BYTES:  # a larger one comes back from the disk
        pack.blocks.trust()
    return pack


def _note_use(folder: Path, work: Decoding) -> None:
    """Set the time of about.json, which tells when the pack was last used."""
    about = folder / "about.json"
    with suppress(OSError):  # of a cache that can be read only
        if about.exists():
            about.touch()
        else:
            write_about(folder, work.data.name, work.shape)


def _sign_of_life(folder: Path) -> str:
    """A text that changes while another process writes the pack."""
    signs = []
    for place in find_unfinished(folder):
        for name in ("pixels.bin", "journal"):
            with suppress(OSError):
                signs.append(f"{place.name} {(place / name).stat().st_mtime_ns}")
    return " ".join(signs)
