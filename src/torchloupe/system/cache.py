"""The user's cache folder, and files in it whose content can be computed again.

A kept file holds the SHA-256 of all that is in it: one that was cut short or changed is treated
as missing.
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
from torchloupe.system.sealed import seal, unseal

LARGE = 50_000  # images; for fewer, computing again is as fast as reading


def find_cache(cache_folder: Path | None = None) -> Path | None:
    """The cache folder asked for or the user's own; None for a user without a home."""
    folder = cache_folder or Path(platformdirs.user_cache_dir("torchloupe"))
    return folder if cache_folder or folder.is_absolute() else None


def require_cache(purpose: str = "") -> Path:
    """The user's cache folder; ResourceError for a user without a home. `purpose`: " for X"."""
    cache = find_cache()
    if cache is None:
        raise ResourceError(
            f"there is no cache folder{purpose}: this user has no home folder",
            "set XDG_CACHE_HOME to a folder",
        )
    return cache


@dataclass(frozen=True, eq=False)
class Kept:
    """The content of a kept file: facts that JSON can write, and arrays by name."""

    facts: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def manifest(self) -> dict[str, Any]:
        """The facts, and the type, shape and SHA-256 of each array."""
        arrays = {
            name: [array.dtype.str, list(array.shape), _digest(array)]
            for name, array in sorted(self.arrays.items())
        }
        return {"facts": dict(self.facts), "arrays": arrays}


def _digest(array: NDArray[Any]) -> str:
    return hashlib.sha256(array.data if array.size else b"").hexdigest()


def write_kept(path: Path, kept: Kept) -> None:
    """Write it to `path`, whole or not at all; ResourceError if the disk refuses it."""
    arrays = {name: np.ascontiguousarray(array) for name, array in kept.arrays.items()}
    sealed = seal(Kept(kept.facts, arrays).manifest()).decode("ascii")
    files.replace_file(path, safetensors.numpy.save(arrays, metadata={"manifest": sealed}))


def read_kept(path: Path) -> Kept | None:
    """The content of the kept file `path`; None for a missing or damaged one."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            text = file.metadata()
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        manifest, is_whole = unseal(text["manifest"])
        kept = Kept(manifest["facts"], arrays)
        is_sound = is_whole and json.loads(json.dumps(kept.manifest())) == manifest
    except (OSError, safetensors.SafetensorError, ValueError, KeyError, TypeError):
        return None
    return kept if is_sound else None


def remember(path: Path | None, key: str, make: Callable[[], Kept]) -> Kept:
    """The content of the kept file `path` if it was made for `key`; else made and kept there.

    `key` stands for all inputs of `make`. With None for `path` nothing is kept. Where the disk
    refuses the file, the content is returned and computed again the next time.
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
