"""The C library's heap: what a step frees is kept for the next one.

A training step frees and allocates the same large blocks again and again. glibc returns each
freed block above 32 MB to the system, and the free end of its heap too; each 4 kB of a fresh block
costs a page fault. That was a third of a small net's step on the CPU (benchmarks/heap.py), and a
quarter of decoding progressive JPEGs of 24 megapixels in threads (benchmarks/camera.py), each of
which has a heap of its own that is given back as a whole. Keeping the blocks, in one heap for all
threads, changes no result.
"""

import ctypes
import os
import sys
from collections.abc import Callable

from torchloupe.system.limits import available_memory_bytes

KEPT_BYTES = 2**30  # freed blocks up to this size are kept, and as much at the end of the heap
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # malloc.h


def keep_freed_blocks() -> bool:
    """Let this process keep the memory it frees for later use; returns whether it does.

    Does nothing if less than twice KEPT_BYTES is available, since the heap then grows by several
    batches; if MALLOC_* variables or GLIBC_TUNABLES are set; or with another C library than
    glibc. It holds until the process ends; threads that have a heap already stay with it.
    """
    is_told = any(name.startswith("MALLOC_") for name in os.environ)
    if is_told or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    if available_memory_bytes() < 2 * KEPT_BYTES:
        return False
    mallopt = _find("mallopt")
    if mallopt is None:
        return False
    told = {_MMAP_THRESHOLD: KEPT_BYTES, _TRIM_THRESHOLD: KEPT_BYTES, _ARENA_MAX: 1}
    return all(mallopt(name, value) == 1 for name, value in told.items())


def give_back_freed_blocks() -> None:
    """Give all free memory of the heap back to the system."""
    trim = _find("malloc_trim")
    if trim is not None:
        trim(0)


def _find(name: str) -> Callable[..., int] | None:
    """A function of glibc, where this process has it."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
