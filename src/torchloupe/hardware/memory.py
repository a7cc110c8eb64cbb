"""Running out of memory: recognised, described in numbers, answered with smaller micro-batches.

A batch that doesn't fit is split into micro-batches whose losses, weighted by their fraction, add
up to that of the batch. It is the same step except for BatchNorm, which averages over a
micro-batch, and the random numbers of dropout.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import torch

from torchloupe.errors import ResourceError, printable
from torchloupe.system.heap import give_back_freed_blocks
from torchloupe.system.limits import available_memory_bytes, memory_limit_bytes
from torchloupe.units import format_bytes, plural

T = TypeVar("T")

# Parts of what allocators say; torch's own class covers its CUDA allocator only.
_SIGNS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
CACHE_FRACTION = 0.1  # of a device's memory: less than this free, and cached blocks are given back


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was no memory for something, on a GPU or on the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


@dataclass
class MicroBatchLimit:
    """The size limit of micro-batches: none, until memory runs out."""

    most: int = 0  # 0: as many as there are

    def count(self, total: int, at_least: int = 1) -> int:
        """The number of micro-batches for `total` images, `at_least` that many."""
        needed = -(-total // self.most) if self.most else 1
        return max(1, min(total, max(needed, at_least)))

    def shrink(self, tried: int) -> None:
        """Halve the limit from `tried` images; raises ResourceError if it was one already."""
        if tried <= 1:
            raise ResourceError(
                "one image by itself does not fit into memory",
                "use a smaller model or smaller images (--set data.size=...)",
            )
        self.most = -(-tried // 2)


def in_micro_batches(
    total: int, micro_limit: MicroBatchLimit, run: Callable[[slice], T]
) -> Iterator[T]:
    """`run` on each micro-batch of `total` images, in order; in smaller ones when memory runs out.

    Finished micro-batches are not repeated. Raises ResourceError, with numbers, if a single image
    doesn't fit.
    """
    done = 0
    while done < total:
        count = micro_limit.count(total - done)
        edges = [done + (total - done) * part // count for part in range(count + 1)]
        for start, stop in pairwise(edges):
            try:
                made = run(slice(start, stop))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error)  # and not the error, which holds on to its tensors
            else:
                done = stop
                yield made
                continue
            shrink_micro_batches(micro_limit, stop - start, reason)
            break


def shrink_micro_batches(micro_limit: MicroBatchLimit, tried: int, reason: str) -> None:
    """Shrink `micro_limit`; raises ResourceError with `reason` if it is one image already."""
    try:
        micro_limit.shrink(tried)
    except ResourceError as error:
        raise ResourceError(f"{error.message} ({printable(reason, 300)})", error.hint) from None


def describe_shortage(device: torch.device, images: int, reason: str) -> str:
    """Which memory ran short, in numbers, on one line."""
    return f"{plural(images, 'image')} at once did not fit: {describe_memory(device)} " + (
        f"({printable(reason, 200)})"
    )


def free_bytes(device: torch.device) -> int:
    """What this process can still have on `device`, blocks that it holds in reserve included."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + held)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return available_memory_bytes()


def describe_memory(device: torch.device) -> str:
    """How much memory there is and how much of it is free."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_allocated(device)
        return (
            f"{device} has {format_bytes(total)}, {format_bytes(held)} in use here, "
            f"{format_bytes(free)} free"
        )
    if device.type == "mps":
        total, held = torch.mps.recommended_max_memory(), torch.mps.driver_allocated_memory()
        return f"{device} has {format_bytes(total)}, {format_bytes(held)} in use here"
    limit, free = memory_limit_bytes(), available_memory_bytes()
    return f"this process may use {format_bytes(limit)}, {format_bytes(free)} are free"


def release_cached(device: torch.device) -> None:
    """Release cached blocks if memory is nearly full; between phases, never in a step."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        if free < CACHE_FRACTION * total:
            torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
    elif available_memory_bytes() < CACHE_FRACTION * memory_limit_bytes():
        give_back_freed_blocks()
