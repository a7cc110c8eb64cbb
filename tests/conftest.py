"""Fixtures that several modules ask for, and what the processes of pytest-xdist need."""

import compileall
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from torchloupe.system.limits import usable_cores

# Workers of pytest-xdist share the cores, and so do the processes that tests start: threads of
# several of them on one core wait for each other. torch reads this when it is first imported.
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if _WORKERS > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // _WORKERS)))


# Rooms whose files take longest: first, so that no process is left with one of them at the end.
_LONGEST = ("studies", "deploy", "train", "trained", "faults", "laws", "prepare", "checks", "cli")


def pytest_xdist_auto_num_workers() -> int:
    """One process more than cores, since tests also wait; each takes 2 GB, so at most six."""
    return min(usable_cores() + 1, 6)


def pytest_configure(config: pytest.Config) -> None:
    """Compile the package once: where Python keeps no bytecode, each process of a test would."""
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(Path(__file__).parents[1] / "src", quiet=2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests by the time that their rooms take."""

    def place(item: pytest.Item) -> int:
        room = item.path.parent.relative_to(Path(__file__).parent).parts[:1]
        return _LONGEST.index(room[0]) if room and room[0] in _LONGEST else len(_LONGEST)

    items.sort(key=place)


def _seed() -> None:
    """Each test begins with the same random numbers, whichever tests ran before it."""
    random.seed(0)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.default_generator.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _session_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache folder for this process alone: no test depends on what other runs left in one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("session-cache")))
        yield


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`make_once(name, make)`: a folder filled by `make(folder)` in the first process that asks.

    All others of this run of pytest use it too, so tests must leave it as it is.
    """
    own = tmp_path_factory.getbasetemp()
    place = own.parent if _WORKERS > 1 else own

    def once(name: str, make: Callable[[Path], object]) -> Path:
        with FileLock(place / f"{name}.lock"):
            if not (place / f"{name}.made").exists():
                shutil.rmtree(place / name, ignore_errors=True)
                (place / name).mkdir()
                make(place / name)
                (place / f"{name}.made").touch()
        return place / name

    return once


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty cache folder for all tests of a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Runs of tests write no report.html, which takes seconds; those marked `reports` do."""
    _seed()
    execution = sys.modules.get("torchloupe.train.execution")
    if execution is None:
        return
    kept = getattr(execution, "leave_page_of_tests", execution.leave_page)
    execution.leave_page_of_tests = kept  # type: ignore[attr-defined]
    is_wanted = item.get_closest_marker("reports") is not None
    execution.leave_page = kept if is_wanted else lambda *_: None  # type: ignore[attr-defined]
