"""What can be made again, kept in the user's cache folder in files that vouch for themselves.

A kept file holds the SHA-256 of all that is in it: one that was cut short or changed is as good
as not there.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from torchloupe.errors import ResourceError
from torchloupe.system import files

LARGE = 50_000  # images from which on it pays to keep what was worked out; below it is quick


def find_cache(cache_folder: Path | None = None) -> Path | None:
    """The cache folder asked for or the user's own; None for a user without a home."""
    folder = cache_folder or Path(platformdirs.user_cache_dir("torchloupe"))
    return folder if cache_folder or folder.is_absolute() else None


@dataclass(frozen=True, eq=False)
class Kept:
    """What one kept file holds: facts that JSON can write, and arrays by name."""

    facts: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def digest(self) -> str:
        """SHA-256 of all of it."""
        hashed = hashlib.sha256(json.dumps(self.facts).encode("ascii"))
        for name, array in sorted(self.arrays.items()):
            hashed.update(f"\0{name} {array.dtype.str} {array.shape}\0".encode())
            hashed.update(array.data if array.size else b"")
        return hashed.hexdigest()


def write_kept(path: Path, kept: Kept) -> None:
    """Keep it at `path`, whole or not at all; ResourceError where the disk refuses it."""
    arrays = {name: np.ascontiguousarray(array) for name, array in kept.arrays.items()}
    digest = Kept(kept.facts, arrays).digest()
    text = {"facts": json.dumps(kept.facts), "sha256": digest}
    files.replace_file(path, safetensors.numpy.save(arrays, metadata=text))


def read_kept(path: Path) -> Kept | None:
    """What is kept at `path`; None where nothing is, or not what was written."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            text = file.metadata()
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        kept = Kept(json.loads(text["facts"]), arrays)
        is_sound = kept.digest() == text["sha256"]
    except (OSError, safetensors.SafetensorError, ValueError, KeyError, TypeError):
        return None
    return kept if is_sound else None


def remember(path: Path | None, key: str, make: Callable[[], Kept]) -> Kept:
    """What is kept at `path` under `key`; else it is made, and kept in place of what was there.

    `key` says all that it follows from. With None for `path` nothing is kept. A disk that refuses
    to keep it costs nothing but the work the next time.
    """
    if path is None:
        return make()
    found = read_kept(path)
    if found is not None and found.facts.get("key") == key:
        return found
    made = make()
    with suppress(ResourceError):
        write_kept(path, Kept({**made.facts, "key": key}, made.arrays))
    return made
