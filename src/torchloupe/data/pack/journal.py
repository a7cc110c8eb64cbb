"""The journal of a pack that is being built: which chunks are finished, with their digests.

A line is added when a chunk is written, so that a build that was killed continues there. A line
counts only if the pixels still have the digests in it.
"""

import hashlib
import json
import threading
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from torchloupe.data.pack.decoding import BadImage, Chunk

_CHECK_LETTERS = 16


class Journal:
    """The file `path`, which grows by a line a chunk; `add` may be called by several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def add(self, chunk: Chunk, digests: bytes) -> None:
        """Add a chunk whose pixels are written."""
        entry = {
            "start": chunk.start,
            "content": chunk.content.astype("<u8").tobytes().hex(),
            "digests": digests.hex(),
            "bad": [[b.row, b.id, b.reason, b.is_unread] for b in chunk.bad],
        }
        text = json.dumps(entry)
        with self._lock, self.path.open("ab", buffering=0) as file:
            file.write(f"{_check(text)} {text}\n".encode("ascii"))

    def read(self) -> list[tuple[Chunk, bytes]]:
        """The chunks noted so far, with their digests; a line that was cut short is removed."""
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        found = list(takewhile(lambda entry: entry is not None, map(_parse, lines[:-1])))
        with self.path.open("r+b") as file:
            file.truncate(sum(len(line) + 1 for line in lines[: len(found)]))
        return [entry for entry in found if entry is not None]


def _parse(line: bytes) -> tuple[Chunk, bytes] | None:
    check, _, text = line.decode("ascii", "replace").partition(" ")
    if check != _check(text):
        return None
    entry: dict[str, Any] = json.loads(text)
    content = np.frombuffer(bytes.fromhex(entry["content"]), dtype="<u8").astype(np.uint64)
    bad = tuple(BadImage(*image) for image in entry["bad"])
    return Chunk(entry["start"], content, bad), bytes.fromhex(entry["digests"])


def _check(text: str) -> str:
    return hashlib.sha256(text.encode("ascii", "replace")).hexdigest()[:_CHECK_LETTERS]
