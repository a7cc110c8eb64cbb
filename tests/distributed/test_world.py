"""A world of ranks: what they agree on, what one of them tells, and how they end together."""

import json
import os
from pathlib import Path

import pytest
import torch
from ranks import run_on_ranks

from torchloupe.distributed.world import ALONE, LostRank, World, join
from torchloupe.errors import DataError, LoupeError

CPU = torch.device("cpu")
gloo = pytest.mark.skipif(os.name == "nt", reason="gloo between processes")


def test_world_of_one_has_nobody_to_ask() -> None:
    assert (ALONE.rank, ALONE.size, ALONE.leads, ALONE.is_joined) == (0, 1, True, False)
    assert ALONE.highest([3, 1]) == ALONE.total([3, 1]) == [3, 1]
    assert ALONE.gather("x") == ["x"]
    assert ALONE.first("x") == "x"
    assert ALONE.wait() is None


def test_join_without_torchrun_is_a_world_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with join(CPU) as world:
        assert world is ALONE


def test_error_of_the_group_is_a_lost_rank() -> None:
    with pytest.raises(LostRank) as caught, World().talking():
        raise RuntimeError("Connection closed by peer")
    assert caught.value.message == "rank 0 of 1 lost the others: Connection closed by peer"
    assert caught.value.exit_code == 6


def tell(folder: Path, found: object) -> None:
    """Leave what a rank found in a file of its own."""
    (folder / f"rank-{os.environ['RANK']}.json").write_text(json.dumps(found))


def told(folder: Path) -> list[object]:
    """What the ranks found."""
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(2)]


def post_and_read(world: World) -> list[object]:
    """What is there before a rank says it, and after."""
    before = world.posted(f"word/{world.rank}")
    world.wait()
    world.post(f"word/{world.rank}", {"of": [world.rank]})
    world.wait()
    return [before, *(world.posted(f"word/{rank}") for rank in range(world.size))]


def talk(folder: Path) -> None:
    with join(CPU) as world:
        rank = world.rank
        tell(
            folder,
            {
                "leads": world.leads,
                "highest": world.highest([rank, 5 - rank]),
                "total": world.total([rank + 1, 2**53]),
                "fractions": world.total([0.25 * rank, 0.5]),
                "gather": world.gather(["a", "b"][rank]),
                "first": world.first("of rank 0" if world.leads else None),
                "posted": post_and_read(world),
            },
        )


@gloo
def test_ranks_agree_on_numbers_and_things(tmp_path: Path) -> None:
    assert run_on_ranks(talk, tmp_path) == [0, 0]
    both = {
        "highest": [1, 5],
        "total": [3, 2**54],
        "fractions": [0.25, 1.0],
        "gather": ["a", "b"],
        "first": "of rank 0",
        "posted": [None, {"of": [0]}, {"of": [1]}],
    }
    assert told(tmp_path) == [{"leads": True, **both}, {"leads": False, **both}]


def fail(folder: Path) -> None:
    try:
        with join(CPU, timeout_seconds=30) as world:
            if world.rank == 1:
                raise DataError("this image is damaged", "look at it")
            world.wait()
    except LoupeError as error:
        tell(folder, [type(error).__name__, error.exit_code, error.message])


@gloo
def test_error_of_one_rank_ends_the_others_with_its_exit_code(tmp_path: Path) -> None:
    assert run_on_ranks(fail, tmp_path) == [0, 0]
    first, second = told(tmp_path)
    assert second == ["DataError", 3, "this image is damaged"]
    assert first[:2] == ["RankFailed", 3]
