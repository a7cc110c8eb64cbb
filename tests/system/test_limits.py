"""What this process may use: memory under limits, and cores."""

import os
import sys
from pathlib import Path

import pytest
from children import run_python

from torchloupe.system.limits import available_memory_bytes, memory_limit_bytes, usable_cores

linux = pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")


def test_available_memory_is_part_of_what_there_is() -> None:
    assert 2**20 < available_memory_bytes() <= memory_limit_bytes() < 2**60


@linux
def test_limit_is_never_more_than_the_machine_has() -> None:
    lines = Path("/proc/meminfo").read_text().splitlines()
    total = next(int(line.split()[1]) for line in lines if line.startswith("MemTotal:"))
    assert memory_limit_bytes() <= total * 1024


LIMITED = """
import resource
from torchloupe.system.limits import available_memory_bytes, memory_limit_bytes
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
most = used + 300 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (most, most))
print(memory_limit_bytes() - most, 2**20 * 200 < available_memory_bytes() <= 300 * 2**20)
"""


@linux
def test_limit_of_the_shell_counts() -> None:
    done = run_python(["-c", LIMITED])
    assert done.stdout == "0 True\n", done.stderr


@linux
def test_cores_are_those_that_the_process_may_run_on() -> None:
    code = (
        "import os; from torchloupe.system.limits import usable_cores\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(usable_cores())"
    )
    done = run_python(["-c", code])
    assert done.stdout == "1\n", done.stderr
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
