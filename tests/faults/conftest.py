"""What the fault tests share."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import runs


@pytest.fixture
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is one: for tests that flush files thousands of times."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="loupe-faults-", dir=memory) as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def compared_runs(record_property: Callable[[str, object], None]) -> Iterator[None]:
    """Report how many runs a test compared bit by bit, and how many were equal."""
    before = len(runs.COMPARED)
    yield
    if len(runs.COMPARED) > before:
        record_property("compared", len(runs.COMPARED) - before)
        record_property("bit_equal", sum(runs.COMPARED[before:]))
