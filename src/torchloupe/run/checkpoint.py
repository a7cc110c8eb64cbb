"""Checkpoints on disk: directories of safetensors and JSON, complete or absent.

A checkpoint is written beside its name, flushed, and renamed; its manifest holds the SHA-256 of
every file and is what makes it complete. There is no pickle anywhere: reading one runs no code.
This module knows trees of tensors and numbers, not what they mean (state.py does), and not which
rank writes what (parts.py does).
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch

from torchloupe.errors import CheckpointError, printable
from torchloupe.run.draft import FORMAT, FORMAT_IN_PARTS, Draft, put_back
from torchloupe.run.tensor_files import (
    MALFORMED,
    attach,
    count_bytes,
    detach,
    open_tree,
    read_whole,
)
from torchloupe.system.files import remove
from torchloupe.system.sealed import unseal
from torchloupe.units import format_bytes

_NAME = re.compile(r"step-(\d{8,})")
_UNFINISHED = re.compile(r"\.(step-\d{8,})\.(writing|replaced|removed)")


def list_checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints in `folder`, newest first; unverified."""
    found = [
        (int(match[1]), path)
        for path in (folder.iterdir() if folder.is_dir() else ())
        if (match := _NAME.fullmatch(path.name)) and (path / "manifest.json").is_file()
    ]
    return [path for _, path in sorted(found, reverse=True)]


def write_checkpoint(folder: Path, step: int, trees: Mapping[str, Any]) -> Path:
    """Write `trees` as `folder/step-N/` and return that path; the old ones stay as they are.

    Each tree is nested dicts and lists of tensors, numbers, texts and None. A tree with tensors
    becomes NAME.safetensors (its other values in the header), one without becomes NAME.json.
    Raises ResourceError if the disk is full or broken; nothing partial is left under the name.
    """
    draft = Draft(folder, step)
    draft.begin(count_bytes(trees))
    return draft.finish([draft.add(trees)])


def clear_unfinished(folder: Path) -> None:
    """Remove what an interrupted save left in `folder`, and nothing else.

    Only the owner of the run folder's lock may call this: no save may be in progress.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = _UNFINISHED.fullmatch(path.name)
        if match is None:
            is_own = _NAME.fullmatch(path.name) and not path.is_symlink()
            for unfinished in path.glob(".*.writing") if is_own else ():
                remove(unfinished)  # of parts that were being merged
            continue
        if match[2] == "replaced":
            put_back(path, folder / match[1])
        remove(path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The trees of one checkpoint, each file's hash verified first; parts are put together.

    Raises CheckpointError with the name of a file that is missing or damaged.
    """
    manifest = read_manifest(path)
    trees: dict[str, Any] = {}
    for file in manifest.whole_files:
        trees[Path(file).stem] = _parse(path / file, _read_verified(path, manifest, file))
    for name, files in manifest.parts.items():
        verify_files(path, manifest, files)
        trees[name] = read_whole(_open_tree(path, files))
    return trees


def open_checkpoint(path: Path, manifest: "Manifest") -> dict[str, Any]:
    """The trees of one checkpoint whose files were verified; their tensors are still Stored.

    Raises CheckpointError for a file that can't be read, and where rows of a tensor are not there.
    """
    trees: dict[str, Any] = {}
    for file in manifest.whole_files:
        if file.endswith(".safetensors"):
            trees[Path(file).stem] = _open_tree(path, [file])
        else:
            trees[Path(file).stem] = _parse(path / file, _read_verified(path, manifest, file))
    for name, files in manifest.parts.items():
        trees[name] = _open_tree(path, files)
    return trees


def read_newest(folder: Path, start: Path | None = None) -> tuple[dict[str, Any], Path, list[str]]:
    """The newest sound checkpoint in `folder` (or `start`, tried first), its path, and what
    was passed over, one line each. Raises CheckpointError if none is sound.
    """
    candidates = list_checkpoints(folder)
    if start is not None:
        candidates = [start, *(path for path in candidates if path != start)]
    passed_over: list[str] = []
    for path in candidates:
        try:
            return read_checkpoint(path), path, passed_over
        except CheckpointError as error:
            passed_over.append(error.message)
    raise no_sound_one(folder, passed_over)


def no_sound_one(folder: Path, passed_over: Sequence[str]) -> CheckpointError:
    """The error where there is no sound checkpoint, with what was passed over."""
    return CheckpointError(
        f"no sound checkpoint in {printable(folder)}"
        + (": " + "; ".join(passed_over) if passed_over else ""),
        "train again, or copy the run folder again if it came from elsewhere",
    )


def prune_checkpoints(folder: Path, keep: int, spare: set[str]) -> None:
    """Remove all but the newest `keep` checkpoints and those named in `spare`.

    One that can't be removed stays, and is tried again the next time.
    """
    for path in list_checkpoints(folder)[keep:]:
        if path.name in spare:
            continue
        aside = folder / f".{path.name}.removed"  # which `clear_unfinished` knows
        with suppress(OSError):
            remove(aside)
            path.rename(aside)
            remove(aside)


def _read_tree(blob: bytes) -> Any:
    # The header is 8 bytes of length, then JSON; safetensors has no reader of metadata from bytes.
    header_bytes = int.from_bytes(blob[:8], "little")
    metadata = json.loads(blob[8 : 8 + header_bytes])["__metadata__"]
    return attach(json.loads(metadata["tree"]), safetensors.torch.load(blob))


class Manifest(NamedTuple):
    """What a checkpoint consists of."""

    step: int
    files: dict[str, str]  # and the SHA-256 of each
    sizes_bytes: dict[str, int]  # of each, for a checkpoint in parts
    parts: dict[str, list[str]]  # the files of each tree that is in several

    @property
    def whole_files(self) -> list[str]:
        """The files that are a tree by themselves."""
        in_parts = {file for files in self.parts.values() for file in files}
        return [file for file in self.files if file not in in_parts]


def read_manifest(path: Path) -> Manifest:
    """The manifest of the checkpoint at `path`; one with a single changed bit is refused."""
    place = path / "manifest.json"
    try:
        content, is_sealed = unseal(place.read_bytes(), indent=1)
        version = content["format"]
        is_known = version in (FORMAT, FORMAT_IN_PARTS)
        is_whole = not is_known or is_sealed
        manifest = _parse_manifest(content) if is_known else None
    except (OSError, *MALFORMED) as error:
        raise _damaged(place, f"can't be read ({printable(error)})") from None
    if not is_whole:
        raise _damaged(place, "is damaged (its SHA-256 is not its own)")
    if manifest is None:
        raise CheckpointError(
            f"{printable(path)} has checkpoint format {printable(version)}; "
            f"this version reads {FORMAT} and {FORMAT_IN_PARTS}",
            "use the torchloupe version that wrote it",
        )
    for name in manifest.files:
        if Path(name).name != name:
            raise _damaged(place, f"names a file outside ({printable(name)})")
    return manifest


def _parse_manifest(content: Mapping[str, Any]) -> Manifest:
    files = {str(name): str(sha256) for name, sha256 in content["files"].items()}
    is_in_parts = content["format"] == FORMAT_IN_PARTS
    sizes = {str(n): int(size) for n, size in content["bytes"].items()} if is_in_parts else {}
    parts: dict[str, list[str]] = {}
    for name, own in content["parts"].items() if is_in_parts else ():
        parts[str(name)] = [str(file) for file in own]
        if not own or not sizes.keys() & files.keys() >= set(parts[name]):
            raise ValueError(f"the parts of {name} are not among its files")
    return Manifest(int(content["step"]), files, sizes, parts)


def verify_files(path: Path, manifest: Manifest, files: Iterable[str]) -> None:
    """CheckpointError that names the first of `files` that is not as it was written.

    A file is read a chunk at a time.
    """
    for name in files:
        try:
            size = (path / name).stat().st_size
            wanted = manifest.sizes_bytes.get(name, size)
            if size != wanted:
                seen = f"{format_bytes(size)} instead of {format_bytes(wanted)}"
                raise _damaged(path / name, f"is damaged (it has {seen})")
            with (path / name).open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise _damaged(path / name, f"can't be read ({error.strerror})") from None
        if sha256 != manifest.files[name]:
            raise _damaged(path / name, "is damaged (its SHA-256 is not the manifest's)")


def _read_verified(path: Path, manifest: Manifest, name: str) -> bytes:
    try:
        blob = (path / name).read_bytes()
    except OSError as error:
        raise _damaged(path / name, f"can't be read ({error.strerror})") from None
    if hashlib.sha256(blob).hexdigest() != manifest.files[name]:
        raise _damaged(path / name, "is damaged (its SHA-256 is not the manifest's)")
    return blob


def _parse(path: Path, blob: bytes) -> Any:
    """The tree that a file holds."""
    try:
        return _read_tree(blob) if path.suffix == ".safetensors" else json.loads(blob)
    except (safetensors.SafetensorError, *MALFORMED) as error:
        raise _damaged(path, f"can't be read ({printable(error)})") from None


def _open_tree(path: Path, files: Sequence[str]) -> Any:
    try:
        return open_tree([path / file for file in files])
    except (OSError, safetensors.SafetensorError, *MALFORMED) as error:
        raise _damaged(path / files[0], f"can't be read ({printable(error)})") from None


def _damaged(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"checkpoint file {printable(path)} {what}",
        "use another checkpoint of the run; `loupe resume` takes the newest sound one",
    )


def hash_tensors(tree: Any) -> str:
    """SHA-256 over every tensor's name, dtype, shape and bytes in `tree`, and its plain values."""
    plain, tensors, _ = detach(tree)
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = read_whole(tensors[name])
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
