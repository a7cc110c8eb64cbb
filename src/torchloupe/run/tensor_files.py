"""Trees of tensors in safetensors files: written and read a tensor at a time, in one file or more.

A tree is nested dicts and lists of tensors, numbers, texts and None. Where ranks hold a tensor in
parts, each writes a file with its rows, and says in its header which rows they are. This module
knows nothing of hashes that files should have (checkpoint.py does).
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from torchloupe.distributed.parallel import Part, read_like, shard_like

MALFORMED = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
_TENSOR = "tensor:"  # a JSON text that stands for a tensor in the safetensors file beside it
_CHUNK_BYTES = 16 * 2**20


class Stored:
    """A tensor in files, read when it is wanted and as far as it is wanted."""

    def __init__(self, name: str, pieces: Sequence[tuple[int, Any]]) -> None:
        self._pieces = sorted(pieces, key=lambda piece: piece[0])  # (first row, safetensors slice)
        first = self._pieces[0][1]
        shapes = [list(piece.get_shape()) for _, piece in self._pieces]
        if any(shape[1:] != shapes[0][1:] for shape in shapes):
            raise ValueError(f"parts of {name} have different shapes")
        if len({piece.get_dtype() for _, piece in self._pieces}) > 1:
            raise ValueError(f"parts of {name} have different types")
        self.dtype: str = first.get_dtype()
        self.shape = torch.Size(shapes[0])
        if len(shapes) > 1:
            self.shape = torch.Size([sum(shape[0] for shape in shapes), *shapes[0][1:]])

    def read(self, start: int, stop: int) -> Tensor:
        """The rows from `start` to before `stop`."""
        found = []
        for first, piece in self._pieces:
            begin, end = max(start - first, 0), min(stop - first, piece.get_shape()[0])
            if begin < end:
                found.append(piece[begin:end])
        return _copied(found or [self._pieces[0][1][0:0]])

    def pieces(self) -> Iterator[Tensor]:
        """The tensor in pieces of whole rows, mapped from the files: valid while they are."""
        for _, piece in self._pieces:
            yield piece[...]

    def whole(self) -> Tensor:
        """The whole tensor."""
        return _copied(list(self.pieces()))


def _copied(pieces: list[Tensor]) -> Tensor:
    return torch.cat(pieces) if len(pieces) > 1 else pieces[0].clone()


def read_whole(tree: Any) -> Any:
    """`tree` with every stored tensor read."""
    if isinstance(tree, Stored):
        return tree.whole()
    if isinstance(tree, Mapping):
        return {key: read_whole(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [read_whole(item) for item in tree]
    return tree


def fit_like(value: Any, like: Tensor) -> Any:
    """`value`, its tensors of the shape of `like` sharded like it; of stored ones no more is read.

    Every rank must call this if `like` is sharded.
    """
    if isinstance(value, Stored):
        found = read_like(like, value.read) if value.shape == like.shape else None
        return shard_like(value.whole(), like) if found is None else found
    if isinstance(value, Tensor):
        return shard_like(value, like)
    if isinstance(value, Mapping):
        return {key: fit_like(item, like) for key, item in value.items()}
    return [fit_like(item, like) for item in value] if isinstance(value, list) else value


class Detached(NamedTuple):
    """A tree without its tensors, and those by name."""

    plain: Any
    tensors: dict[str, Tensor | Stored]
    starts: dict[str, list[int]]  # for a part of a tensor: its first row, and all rows there are


def detach(tree: Any) -> Detached:
    """`tree` in plain values that JSON has, a text in the place of each tensor."""
    found = Detached(None, {}, {})
    return found._replace(plain=_detach(tree, "", found))


def _detach(tree: Any, name: str, found: Detached) -> Any:
    if isinstance(tree, (Tensor, Part, Stored)):
        name = name or "tensor"
        if isinstance(tree, Part):
            found.starts[name] = [tree.start, tree.total]
        tensor = tree.rows if isinstance(tree, Part) else tree
        if isinstance(tensor, Tensor):
            tensor = tensor.detach().to("cpu").contiguous()
        found.tensors[name] = tensor
        return _TENSOR + name
    if isinstance(tree, Mapping):
        keys = [(key, key if isinstance(key, str) else f"int:{key}") for key in tree]
        return {text: _detach(tree[key], f"{name}.{text}".lstrip("."), found) for key, text in keys}
    if isinstance(tree, (list, tuple)):
        return [_detach(item, f"{name}.{i}".lstrip("."), found) for i, item in enumerate(tree)]
    if isinstance(tree, str) and tree.startswith(_TENSOR):
        raise ValueError(f"a state may not hold the text {tree!r}")
    return tree


def count_bytes(trees: Mapping[str, Any]) -> int:
    """The bytes of all tensors in `trees`, of parts their own; not those that are Stored."""
    tensors = (tensor for tree in trees.values() for tensor in detach(tree).tensors.values())
    return sum(tensor.nbytes for tensor in tensors if isinstance(tensor, Tensor))


def attach(plain: Any, tensors: Mapping[str, Any]) -> Any:
    """The tree that `detach` took apart."""
    if isinstance(plain, dict):
        return {
            int(key[4:]) if key.startswith("int:") else key: attach(value, tensors)
            for key, value in plain.items()
        }
    if isinstance(plain, list):
        return [attach(item, tensors) for item in plain]
    if isinstance(plain, str) and plain.startswith(_TENSOR):
        return tensors[plain.removeprefix(_TENSOR)]
    return plain


class Written(NamedTuple):
    """A file that lies on the disk."""

    sha256: str
    size_bytes: int


def write_blob(path: Path, blob: bytes) -> Written:
    """Write a new file and flush it to the disk; FileExistsError where the name is taken."""
    return _write(path, iter((blob,)))


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor | Stored], facts: Mapping[str, str]
) -> Written:
    """Write a new safetensors file with `facts` in its header, and flush it to the disk.

    Its bytes are never in memory as a whole, and of a stored tensor no more than one piece is.
    """
    names = sorted(tensors, key=lambda name: (-_width(tensors[name]), name))  # as they are aligned
    header: dict[str, Any] = {"__metadata__": dict(facts)}
    end = 0
    for name in names:
        tensor = tensors[name]
        start, end = end, end + _width(tensor) * tensor.shape.numel()
        header[name] = {
            "dtype": _type_name(tensor),
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)

    def blobs() -> Iterator[bytes | memoryview]:
        yield len(text).to_bytes(8, "little") + text
        for name in names:
            tensor = tensors[name]
            for piece in tensor.pieces() if isinstance(tensor, Stored) else (tensor,):
                flat = piece.contiguous().reshape(-1).view(torch.uint8).numpy()
                for at in range(0, len(flat), _CHUNK_BYTES):
                    yield flat[at : at + _CHUNK_BYTES].data

    return _write(path, blobs())


def _write(path: Path, blobs: Iterator[bytes | memoryview]) -> Written:
    digest, size_bytes = hashlib.sha256(), 0
    with path.open("xb") as file:
        for blob in blobs:
            file.write(blob)
            digest.update(blob)
            size_bytes += len(blob)
        file.flush()
        os.fsync(file.fileno())
    return Written(digest.hexdigest(), size_bytes)


def open_tree(files: Sequence[Path]) -> Any:
    """The tree in `files`, the first of which has its plain values; tensors are Stored.

    Raises SafetensorError, OSError, or one of MALFORMED for files that don't hold a whole tree.
    """
    plain: Any = None
    parts: dict[str, list[tuple[int, Any]]] = {}
    totals: dict[str, int] = {}
    for number, path in enumerate(files):
        file: Any = safetensors.safe_open(path, framework="pt")
        facts = file.metadata() or {}
        starts = json.loads(facts.get("starts", "{}"))
        if not number:
            plain = json.loads(facts["tree"])
        for name in file.keys():  # noqa: SIM118  (no mapping)
            piece = file.get_slice(name)
            if (name in starts) != (name in totals) and name in parts:
                raise ValueError(f"{name} is whole in one file and in parts in another")
            if name in starts:
                start, total = (int(number) for number in starts[name])
                if totals.setdefault(name, total) != total:
                    raise ValueError(f"parts of {name} are of tensors with different rows")
                parts.setdefault(name, []).append((start, piece))
            elif name in parts:
                raise ValueError(f"{name} is in two files")
            else:
                parts[name] = [(0, piece)]
    for name, pieces in parts.items():
        if name in totals:
            _require_all_rows(name, pieces, totals[name])
    return attach(plain, {name: Stored(name, pieces) for name, pieces in parts.items()})


def _require_all_rows(name: str, pieces: Sequence[tuple[int, Any]], total: int) -> None:
    end = 0
    for start, piece in sorted(pieces, key=lambda piece: piece[0]):
        if start != end:
            break
        end += piece.get_shape()[0]
    if end != total:
        raise ValueError(f"of {total} rows of {name} those from {end} on are not there")


@cache
def _name_of_type(dtype: torch.dtype) -> str:
    """What safetensors calls a type."""
    blob = safetensors.torch.save({"x": torch.empty(0, dtype=dtype)})
    return str(json.loads(blob[8:])["x"]["dtype"])


def _type_name(tensor: Tensor | Stored) -> str:
    return tensor.dtype if isinstance(tensor, Stored) else _name_of_type(tensor.dtype)


def _width(tensor: Tensor | Stored) -> int:
    """Bytes of one number."""
    return (next(tensor.pieces()) if isinstance(tensor, Stored) else tensor).element_size()
