"""Memory: errors told apart, and images taken in micro_limit."""

import os
import subprocess
import sys

import pytest
import torch

from torchloupe.errors import ResourceError
from torchloupe.hardware.memory import (
    MicroBatchLimit,
    describe_memory,
    in_micro_batches,
    is_out_of_memory,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 4 bytes"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_out_of_memory_is_told_from_other_errors(error: Exception, is_it: bool) -> None:
    assert is_out_of_memory(error) is is_it


def test_out_of_memory_is_what_a_real_allocation_raises() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_portions_give_everything_once_and_in_order() -> None:
    micro_limit, tried = MicroBatchLimit(), []

    def run(span: slice) -> list[int]:
        tried.append(span.stop - span.start)
        if span.stop - span.start > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return list(range(span.start, span.stop))

    assert [n for piece in in_micro_batches(10, micro_limit, run) for n in piece] == list(range(10))
    assert tried == [10, 5, 2, 3, 2, 3]
    assert list(in_micro_batches(4, micro_limit, run)) == [[0, 1], [2, 3]]  # it is remembered


def test_portions_say_so_where_one_does_not_fit() -> None:
    def run(span: slice) -> None:
        raise MemoryError("no room for 7 bytes")

    with pytest.raises(ResourceError, match=r"one image by itself does not fit .*7 bytes"):
        list(in_micro_batches(3, MicroBatchLimit(), run))


def test_portions_leave_other_errors_alone() -> None:
    def run(span: slice) -> None:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        list(in_micro_batches(3, MicroBatchLimit(), run))


def test_memory_is_described_in_numbers() -> None:
    assert describe_memory(CPU).startswith("this process may use ")
    assert describe_memory(CPU).endswith(" are free")


REAL = """
import resource, torch
from torch import nn
from torchloupe.hardware.memory import MicroBatchLimit, in_micro_batches
from torchloupe.system.limits import available_memory_bytes

model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU()).eval()
images = torch.zeros(64, 3, 128, 128)
with torch.inference_mode():
    model(images[:1])
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000,) * 2)  # all need over 500 MB
    assert available_memory_bytes() <= 200_000_000, available_memory_bytes()
    micro_limit = MicroBatchLimit()
    run = lambda span: model(images[span]).mean(dim=(1, 2, 3))
    means = list(in_micro_batches(64, micro_limit, run))
assert 1 <= micro_limit.most < 64, micro_limit
assert torch.cat(means).shape == (64,)
print("done", micro_limit.most)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs ulimit and /proc")
def test_real_shortage_of_memory_is_survived() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(
        [sys.executable, "-c", REAL], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("done")
