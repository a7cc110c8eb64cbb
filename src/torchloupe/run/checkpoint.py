"""Checkpoints on disk: directories of safetensors and JSON, complete or absent.

A checkpoint is written beside its name, flushed, and renamed; its manifest holds the SHA-256 of
every file and is what makes it complete. There is no pickle anywhere: reading one runs no code.
This module knows trees of tensors and numbers, not what they mean (state.py does).
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from torchloupe.errors import CheckpointError, printable
from torchloupe.system.files import disk_error, remove, sync, write_synced
from torchloupe.system.sealed import seal, unseal

FORMAT = 1
_NAME = re.compile(r"step-(\d{8,})")
_UNFINISHED = re.compile(r"\.(step-\d{8,})\.(writing|replaced|removed)")
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
_TENSOR = "tensor:"  # a JSON text that stands for a tensor in the safetensors file beside it


def checkpoint_name(step: int) -> str:
    """The folder name of the checkpoint after `step` steps."""
    return f"step-{step:08d}"


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
    target = folder / checkpoint_name(step)
    temporary = folder / f".{target.name}.writing"
    replaced = folder / f".{target.name}.replaced"
    blobs = {}
    for name, tree in trees.items():
        tensors: dict[str, Tensor] = {}
        plain = _detach(tree, "", tensors)
        if tensors:
            blobs[f"{name}.safetensors"] = safetensors.torch.save(
                tensors, metadata={"tree": json.dumps(plain)}
            )
        else:
            blobs[f"{name}.json"] = json.dumps(plain, indent=1).encode()
    files = {name: hashlib.sha256(blob).hexdigest() for name, blob in blobs.items()}
    blobs["manifest.json"] = seal({"format": FORMAT, "step": step, "files": files}, indent=1)
    needed_bytes = sum(map(len, blobs.values()))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove(temporary)
        temporary.mkdir()
        for name, blob in blobs.items():
            write_synced(temporary / name, blob)
        sync(temporary)
        remove(replaced)
        if target.exists() or target.is_symlink():
            # The same step written again, after a resume. It is moved aside, not removed: where
            # the next rename never happens, `clear_unfinished` moves it back.
            target.rename(replaced)
        temporary.rename(target)
        sync(folder)
        with suppress(OSError):
            remove(replaced)
    except OSError as error:
        with suppress(OSError):
            _put_back(replaced, target)
        shutil.rmtree(temporary, ignore_errors=True)
        raise disk_error(error, target, needed_bytes) from error
    return target


def clear_unfinished(folder: Path) -> None:
    """Remove what an interrupted save left in `folder`, and nothing else.

    Only the owner of the run folder's lock may call this: no save may be in progress.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = _UNFINISHED.fullmatch(path.name)
        if match is None:
            continue
        if match[2] == "replaced":
            _put_back(path, folder / match[1])
        remove(path)


def _put_back(replaced: Path, target: Path) -> None:
    if replaced.is_dir() and not replaced.is_symlink() and not target.exists():
        replaced.rename(target)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The trees of one checkpoint, each file's hash verified first.

    Raises CheckpointError with the name of a file that is missing or damaged.
    """
    trees: dict[str, Any] = {}
    for name, blob in _verified_files(path).items():
        try:
            if name.endswith(".safetensors"):
                trees[name.removesuffix(".safetensors")] = _read_tree(blob)
            else:
                trees[name.removesuffix(".json")] = json.loads(blob)
        except (safetensors.SafetensorError, *_MALFORMED) as error:
            raise _damaged(path / name, f"can't be read ({printable(error)})") from None
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
    raise CheckpointError(
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


def _detach(tree: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """`tree` with its tensors moved to `tensors` and named in their place."""
    if isinstance(tree, Tensor):
        # A copy of its own for each: safetensors refuses tensors that share memory (tied weights).
        tensors[name or "tensor"] = tree.detach().to("cpu", copy=True).contiguous()
        return _TENSOR + (name or "tensor")
    if isinstance(tree, Mapping):
        keys = [(key, key if isinstance(key, str) else f"int:{key}") for key in tree]
        return {
            text: _detach(tree[key], f"{name}.{text}".lstrip("."), tensors) for key, text in keys
        }
    if isinstance(tree, (list, tuple)):
        return [_detach(item, f"{name}.{i}".lstrip("."), tensors) for i, item in enumerate(tree)]
    if isinstance(tree, str) and tree.startswith(_TENSOR):
        raise ValueError(f"a state may not hold the text {tree!r}")
    return tree


def _attach(plain: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(plain, dict):
        return {
            int(key[4:]) if key.startswith("int:") else key: _attach(value, tensors)
            for key, value in plain.items()
        }
    if isinstance(plain, list):
        return [_attach(item, tensors) for item in plain]
    if isinstance(plain, str) and plain.startswith(_TENSOR):
        return tensors[plain.removeprefix(_TENSOR)]
    return plain


def _read_tree(blob: bytes) -> Any:
    # The header is 8 bytes of length, then JSON; safetensors has no reader of metadata from bytes.
    header_bytes = int.from_bytes(blob[:8], "little")
    metadata = json.loads(blob[8 : 8 + header_bytes])["__metadata__"]
    return _attach(json.loads(metadata["tree"]), safetensors.torch.load(blob))


def _read_manifest(path: Path) -> dict[str, str]:
    """Files and their SHA-256; a manifest with a single changed bit is refused."""
    try:
        blob = path.read_bytes()
        content, is_sealed = unseal(blob, indent=1)
        version, files = content["format"], content["files"]
        is_whole = version != FORMAT or is_sealed
    except (OSError, *_MALFORMED) as error:
        raise _damaged(path, f"can't be read ({printable(error)})") from None
    if not is_whole:
        raise _damaged(path, "is damaged (its SHA-256 is not its own)")
    if version != FORMAT:
        raise CheckpointError(
            f"{printable(path.parent)} has checkpoint format {printable(version)}; "
            f"this version reads {FORMAT}",
            "use the torchloupe version that wrote it",
        )
    return {str(name): str(sha256) for name, sha256 in files.items()}


def _verified_files(path: Path) -> dict[str, bytes]:
    expected = _read_manifest(path / "manifest.json")
    blobs = {}
    for name, sha256 in expected.items():
        if Path(name).name != name:
            raise _damaged(path / "manifest.json", f"names a file outside ({printable(name)})")
        try:
            blobs[name] = (path / name).read_bytes()
        except OSError as error:
            raise _damaged(path / name, f"can't be read ({error.strerror})") from None
        if hashlib.sha256(blobs[name]).hexdigest() != sha256:
            raise _damaged(path / name, "is damaged (its SHA-256 is not the manifest's)")
    return blobs


def _damaged(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"checkpoint file {printable(path)} {what}",
        "use another checkpoint of the run; `loupe resume` takes the newest sound one",
    )


def hash_tensors(tree: Any) -> str:
    """SHA-256 over every tensor's name, dtype, shape and bytes in `tree`, and its plain values."""
    tensors: dict[str, Tensor] = {}
    plain = _detach(tree, "", tensors)
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
