"""Digests of blocks of images: damage to a pack is found before its pixels are used.

A small pack is verified when it is opened. A large one, for which that would take minutes, is
verified block by block when an image is first read: no damaged pixel is trained on, and the first
batch is not delayed.
"""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 64 * 2**10  # about; a larger image is a block of its own
DIGEST_BYTES = 16  # of a SHA-256
_THREAD_BYTES = 2**20  # below, threads cost more than they give

Bytes = NDArray[np.uint8]  # [N, bytes of a row], a view of pixels


def rows_per_block(row_bytes: int) -> int:
    """How many images share a digest: a power of two, like the rows of a chunk."""
    return 1 << (max(1, BLOCK_BYTES // max(1, row_bytes)).bit_length() - 1)


def digest_blocks(rows: Bytes, block_rows: int) -> bytes:
    """The digests of all blocks of these rows, one after another."""
    return b"".join(_digest(rows[k : k + block_rows]) for k in range(0, len(rows), block_rows))


class Blocks:
    """Which blocks of `rows` are known to match their digests."""

    def __init__(self, rows: Bytes, digests: bytes, block_rows: int, threads: int) -> None:
        self.block_rows = block_rows
        self._rows = rows
        self._digests = digests
        self._threads = threads
        self._all_known = False
        self._is_known = np.zeros(-(-len(rows) // block_rows), dtype=np.bool_)

    @property
    def count(self) -> int:
        """How many blocks there are."""
        return len(self._is_known)

    def find_damage(self, rows: NDArray[np.int64] | None = None) -> int | None:
        """The first row of a damaged block, among the blocks of `rows` (or all).

        Blocks that were checked before are not read again.
        """
        if self._all_known:
            return None
        if rows is None:
            unknown = np.flatnonzero(~self._is_known)
        else:
            blocks = rows // self.block_rows
            unknown = np.unique(blocks[~self._is_known[blocks]])
        if not len(unknown):
            return None
        if len(unknown) * self.block_rows * self._rows.shape[1] < _THREAD_BYTES:
            wrong = self._check(unknown)
        else:
            parts = np.array_split(unknown, min(len(unknown), 8 * self._threads))
            with ThreadPoolExecutor(self._threads, thread_name_prefix="check") as pool:
                wrong = [block for part in pool.map(self._check, parts) for block in part]
        self._all_known = bool(self._is_known.all())
        return min(wrong) * self.block_rows if wrong else None

    def trust(self) -> None:
        """Skip all checks: this process has just written the pixels and their digests."""
        self._all_known = True

    def _check(self, blocks: Iterable[np.int64]) -> list[int]:
        wrong = []
        for block in map(int, blocks):
            content = self._rows[block * self.block_rows : (block + 1) * self.block_rows]
            wanted = self._digests[block * DIGEST_BYTES : (block + 1) * DIGEST_BYTES]
            if _digest(content) == wanted:
                self._is_known[block] = True
            else:
                wrong.append(block)
        return wrong


def _digest(rows: Bytes) -> bytes:
    return hashlib.sha256(rows.data).digest()[:DIGEST_BYTES]
