"""Refusals of an address come at a pace, and never wait longer than they may."""

import pytest

from torchloupe.deploy.serving import pace as pace_module
from torchloupe.deploy.serving.pace import Pace


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_refusals_of_a_second_come_at_once_and_more_at_the_pace() -> None:
    clock = Clock()
    pace = Pace(10.0, 5.0, clock)
    waits = [pace.wait_seconds("a") for _ in range(13)]
    assert waits[:10] == [pytest.approx(0.0, abs=1e-9)] * 10
    assert waits[10:] == pytest.approx([0.1, 0.2, 0.3])
    assert pace.is_behind("a")
    assert not pace.is_behind("b")
    assert pace.wait_seconds("b") == 0.0
    clock.now += 1.5
    assert not pace.is_behind("a")
    assert pace.wait_seconds("a") == 0.0


def test_no_wait_is_longer_than_the_longest_and_all_is_forgiven_after_it() -> None:
    clock = Clock()
    pace = Pace(10.0, 2.0, clock)
    for _ in range(1000):
        longest = pace.wait_seconds("a")
    assert longest == pytest.approx(2.0)
    clock.now += 3.0
    assert not pace.is_behind("a")


def test_no_more_addresses_are_remembered_than_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pace_module, "MOST_ADDRESSES", 3)
    clock = Clock()
    pace = Pace(1.0, 9.0, clock)
    for address in "abcd":
        for _ in range(4):
            pace.wait_seconds(address)
    assert [address for address in "abcd" if pace.is_behind(address)] == ["b", "c", "d"]
