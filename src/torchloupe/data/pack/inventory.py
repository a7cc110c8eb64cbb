"""Which packs and indexes of folders the cache folder holds, and clearing them away.

Only folders with a name that a pack is given, and in them only files that a pack has, are ever
removed; no link is followed. An open pack stays usable: on Linux and macOS a mapped file lives on
until it is closed, on Windows it can't be removed meanwhile, and the reason is returned.
"""

import json
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from torchloupe.data.pack.format import FILES, OtherFormatError, PackError, disk_bytes, read_pack
from torchloupe.errors import printable
from torchloupe.system.cache import read_kept

_NAME = re.compile(r"([0-9a-f]{40})|\.([0-9a-f]{40})\.(building|discarded)-[-.\w]+")
_INDEX_NAME = re.compile(r"\.?([0-9a-f]{40})\.index(\.writing)?")
INDEX = "index"  # the state of one


@dataclass(frozen=True)
class Entry:
    """A pack or an index, or the remains of one, as a list shows it."""

    folder: Path  # of an index its file
    key: str  # 40 letters that stand for the images and how they are decoded
    state: str  # whole, sound (every byte was read), damaged, of another version, index, ...
    reason: str  # what is wrong with it, if anything is
    name: str  # of its data; "" if that is not known
    shape: tuple[int, ...]  # images, height, width, channels; of an index images; else ()
    size_bytes: int  # on the disk
    last_used: float  # seconds since 1970


def list_packs(cache: Path, *, check: bool = False) -> Iterator[Entry]:
    """Every pack and index in the cache folder; with `check` all their bytes are read."""
    try:
        folders = sorted((cache / "packs").iterdir())
    except FileNotFoundError:
        return
    for folder in folders:
        match = _NAME.fullmatch(folder.name)
        if match is not None and folder.is_dir() and not folder.is_symlink():
            with suppress(FileNotFoundError):  # removed by another process just now
                yield _look_at(folder, match[1] or match[2], match[3] or "", check)
        match = _INDEX_NAME.fullmatch(folder.name)
        if match is not None and folder.is_file() and not folder.is_symlink():
            with suppress(FileNotFoundError):
                yield _look_at_index(folder, match[1])


def clear_packs(cache: Path, is_wanted: Callable[[Entry], bool]) -> Iterator[tuple[Entry, str]]:
    """Remove the packs for which `is_wanted` is true: each with "", or why it was kept."""
    for entry in list(list_packs(cache)):
        if is_wanted(entry):
            yield entry, _remove(entry)


def _look_at(folder: Path, key: str, what: str, check: bool) -> Entry:
    state, reason = "whole", ""
    shape: tuple[int, ...] = ()
    if what:
        state = "left over" if what == "discarded" else "unfinished"
        state = "being built" if what == "building" and _is_locked(folder.parent, key) else state
    else:
        try:
            pack = read_pack(folder, at_once_bytes=0)
            shape = pack.pixels.shape
            if check:
                pack.check()
                state = "sound"
        except OtherFormatError as error:
            state, reason = "of another version", str(error)
        except PackError as error:
            state, reason = "damaged", str(error)
    about = folder / "about.json"
    facts = {}
    with suppress(OSError, ValueError):
        facts = dict(json.loads(about.read_bytes()))
    used = about if about.exists() else folder
    return Entry(
        folder=folder,
        key=key,
        state=state,
        reason=reason,
        name=str(facts.get("name", "")),
        shape=shape or tuple(facts.get("shape", ())),
        size_bytes=disk_bytes(folder),
        last_used=used.stat().st_mtime,
    )


def _look_at_index(file: Path, key: str) -> Entry:
    kept = read_kept(file)
    facts = file.stat()
    return Entry(
        folder=file,
        key=key,
        state="damaged" if kept is None else INDEX,
        reason="" if kept else "it is not what was written; the folder is listed again",
        name="" if kept is None else kept.facts["name"],
        shape=() if kept is None else kept.arrays["labels"].shape,
        size_bytes=facts.st_size,
        last_used=facts.st_mtime,
    )


def _is_locked(packs: Path, key: str) -> bool:
    path = packs / f".{key}.lock"
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def _remove(entry: Entry) -> str:
    """Remove the files of a pack; "" on success, else the reason why it was kept."""
    packs = entry.folder.parent
    try:
        if entry.folder.is_file():
            entry.folder.unlink()
            return ""
        with FileLock(packs / f".{entry.key}.lock", timeout=0):
            for path in entry.folder.iterdir():
                if path.name not in FILES or path.is_symlink() or not path.is_file():
                    return f"{printable(path.name)} in it is not torchloupe's"
            aside = packs / f".{entry.key}.discarded-{uuid.uuid4().hex[:8]}"
            entry.folder.rename(aside)  # in one step, so that half a pack is never opened
            for path in aside.iterdir():
                path.unlink()
            aside.rmdir()
    except Timeout:
        return "it is being built"
    except FileNotFoundError:
        return "it is gone already"
    except OSError as error:
        return f"it can't be removed: {error.strerror or error}"
    return ""
