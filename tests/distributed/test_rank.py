"""Rank and world size from the variables that torchrun sets."""

import pytest

from torchloupe.distributed.rank import Rank, find_rank
from torchloupe.errors import UsageError

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR")


def put(monkeypatch: pytest.MonkeyPatch, *values: str | None) -> None:
    for name, value in zip(NAMES, values, strict=True):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)


def test_rank_is_what_torchrun_says(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, "5", "8", "1", "4", "host")
    assert find_rank() == Rank(rank=5, size=8, local_rank=1, local_size=4)


def test_rank_of_one_machine_is_its_local_rank_where_none_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put(monkeypatch, "1", "2", None, None, "host")
    assert find_rank() == Rank(rank=1, size=2, local_rank=1, local_size=2)


@pytest.mark.parametrize("missing", [0, 1, 4])
def test_rank_is_none_where_torchrun_did_not_start_the_process(
    monkeypatch: pytest.MonkeyPatch, missing: int
) -> None:
    values: list[str | None] = ["0", "2", "0", "2", "host"]
    values[missing] = None
    put(monkeypatch, *values)
    assert find_rank() is None


def test_rank_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, "first", "2", None, None, "host")
    with pytest.raises(UsageError, match="RANK=first"):
        find_rank()
