"""Freed memory that is kept, in processes of their own: the setting holds until a process ends."""

import os
import subprocess
import sys

import pytest

from torchloupe.system import heap

glibc = pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")

# Page faults of ten blocks of 64 MB that are filled and freed one after another. Before, some more
# are: small blocks that land between large ones make the heap grow for a while.
FAULTS = """
import resource, sys
import torch
from torchloupe.system.heap import give_back_freed_blocks, keep_freed_blocks
print(keep_freed_blocks())
for _ in range(30):
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
held = resident()
give_back_freed_blocks()
print(held - resident())
"""


def run_faults(**variables: str) -> tuple[bool, int, int]:
    """Whether blocks are kept, page faults of the ten, and bytes that were given back."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    kept, faults, given_back = done.stdout.split()
    return kept == "True", int(faults), int(given_back)


@glibc
def test_freed_blocks_are_kept_and_can_be_given_back() -> None:
    kept, faults, given_back = run_faults()
    assert kept
    assert faults < 2 * 16384  # a block has 16,384 pages of 4 kB
    assert given_back > 48 * 2**20


@glibc
@pytest.mark.parametrize(
    "variables",
    [
        {"MALLOC_TRIM_THRESHOLD_": "131072"},
        {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"},
    ],
)
def test_settings_of_the_environment_are_left_alone(variables: dict[str, str]) -> None:
    assert run_faults(**variables)[0] is False


def test_freed_blocks_are_not_kept_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "available_memory_bytes", lambda: 2 * heap.KEPT_BYTES - 1)
    for name in [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_TUN"))]:
        monkeypatch.delenv(name)
    asked: list[int] = []
    monkeypatch.setattr(heap, "_find", lambda _: lambda name, _value: asked.append(name) or 1)
    assert heap.keep_freed_blocks() is False
    assert not asked
    monkeypatch.setattr(heap, "available_memory_bytes", lambda: 2 * heap.KEPT_BYTES)
    assert heap.keep_freed_blocks() is True
    assert asked


# Page faults of a thread that fills and frees blocks of 80 MB, more than a heap of its own holds.
IN_THREADS = """
import resource
from concurrent.futures import ThreadPoolExecutor
from torchloupe.system.heap import keep_freed_blocks
keep_freed_blocks()
def fill(_):
    len(b"x" * (80 * 2**20))
with ThreadPoolExecutor(1) as pool:
    list(pool.map(fill, range(10)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    list(pool.map(fill, range(20)))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@glibc
def test_threads_keep_freed_blocks_too() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_THREADS],
        env={k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 5 * 20480  # a block has 20,480 pages of 4 kB
