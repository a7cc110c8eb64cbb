"""The profile of this machine: measured once, kept, and renewed."""

import json
from pathlib import Path

import pytest
import torch

from torchloupe.speed import machine
from torchloupe.speed.machine import (
    describe_processor,
    known_profile,
    measure_profile,
    profile_path,
    read_profile,
    thread_numbers,
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_measuring_changes_neither_threads_nor_random_numbers() -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    found = measure_profile()
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert (found.steps[0].threads, found.steps[0].channels_last) == (1, True)
    assert all(0 < step.seconds < 10 for step in found.steps)
    assert found.muon_seconds > found.adamw_seconds > 0


def test_a_profile_is_measured_once_and_renewed_on_request(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = known_profile()
    path = profile_path()
    assert first is not None and path is not None and path.is_relative_to(cache)
    assert read_profile(path) == first
    renewed = known_profile(refresh=True)
    assert renewed != first and read_profile(path) == renewed
    monkeypatch.setattr(machine, "measure_profile", lambda: pytest.fail("measured twice"))
    assert known_profile() == renewed


def test_a_damaged_or_foreign_profile_is_measured_anew(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_profile()
    path = profile_path()
    assert path is not None
    blob = path.read_bytes()
    for damaged in (b"", b"{}", blob[:-1], blob.replace(b"muon", b"moun"), b"\xff" + blob):
        path.write_bytes(damaged)
        assert read_profile(path) is None
    path.write_bytes(blob)
    assert read_profile(path) is not None
    monkeypatch.setenv("OMP_NUM_THREADS", "7")  # another machine, as far as times go
    assert read_profile(path) is None
    assert profile_path() != path


def test_without_a_place_to_keep_it_there_is_no_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "find_cache", lambda: None)
    assert known_profile() is None
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(machine, "find_cache", lambda: tmp_path / "file")
    assert known_profile() is None


def test_the_key_holds_processor_instructions_cores_and_versions() -> None:
    found = describe_processor()
    assert json.loads(json.dumps(found)) == found
    assert found["torch"] == str(torch.__version__)
    assert found["capability"] == torch.backends.cpu.get_cpu_capability()
    assert found["processor"] and found["cores"] >= 1


@pytest.mark.parametrize(
    ("asked", "cores", "expected"),
    [("", 8, [1, 4, 8]), ("", 1, [1]), ("", 2, [1, 2]), ("3", 8, [1, 3]), ("x", 2, [1, 2])],
)
def test_one_half_and_all_cores_are_tried(
    asked: str, cores: int, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: cores)
    assert thread_numbers({"OMP_NUM_THREADS": asked}) == expected
