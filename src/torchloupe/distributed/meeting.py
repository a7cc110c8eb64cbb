"""All ranks meet in the store of torch's rendezvous, and agree on something before they are joined.

torchrun restarts ranks beside a store that still holds the keys of those before. Nothing here
trusts a key that could be older than this process: each rank asks with a random word of its own,
and rank 0 answers to that word.
"""

import json
import os
import secrets
import time
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any

from torch.distributed import PrefixStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from torchloupe.distributed.rank import Rank
from torchloupe.errors import ResourceError

START = timedelta(minutes=10)  # for all ranks to be there
_POLL_SECONDS = 0.02
_ASKED, _ANSWER, _HEARD = "asked", "answer", "heard"

Decide = Callable[[list[Any]], Any]


def open_store() -> Any:
    """The store that the ranks were started with, kept open as long as this process lives.

    Without torchrun rank 0 itself holds it: closed and opened again, it would be lost to others.
    """
    names = ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE")
    return _open_store(*(os.environ.get(name) for name in names))


@cache
def _open_store(*_: str | None) -> Any:
    store, _, _ = next(rendezvous("env://", timeout=START))
    return store


def meet(
    launched: Rank,
    store: Any,
    mine: Any = None,
    decide: Decide = lambda _: None,
    timeout: timedelta = START,
) -> tuple[str, Any]:
    """A name that no meeting before had, and what rank 0 decides from the words of all ranks.

    Every rank must call this with plain values as `mine`; `decide` is called on rank 0 with those
    of all, in the order of ranks. Raises ResourceError when a rank does not come in time.
    """
    there = PrefixStore("meeting", store)
    end = time.monotonic() + timeout.total_seconds()
    own = secrets.token_hex(8)
    if launched.rank == 0:
        return _lead(there, launched.size, own, mine, decide, end)
    there.set(f"{_ASKED}/{launched.rank}", json.dumps([own, mine]))
    for question in (f"{_ANSWER}/{own}", f"{_ANSWER}/{own}/last"):
        while not there.check([question]):
            _wait(end, "rank 0 has not come")
        name, decision = json.loads(there.get(question))
        there.set(f"{_HEARD}/{name}/{launched.rank}/{question.count('/')}", "")
    return name, decision


def _lead(
    there: Any, size: int, name: str, mine: Any, decide: Decide, end: float
) -> tuple[str, Any]:
    """Rank 0: hear every rank that is alive now, decide, and tell all of them."""
    words: dict[int, tuple[str, Any]] = {}
    for rank in range(1, size):
        words[rank] = _hear(there, name, rank, end)
    decision = decide([mine, *(words[rank][1] for rank in range(1, size))])
    for own, _ in words.values():
        there.set(f"{_ANSWER}/{own}/last", json.dumps([name, decision]))
    return name, decision


def _hear(there: Any, name: str, rank: int, end: float) -> tuple[str, Any]:
    """The random word and the values of a rank, once it has answered to that word."""
    answered = ""
    while True:
        if there.check([f"{_ASKED}/{rank}"]):
            own, value = json.loads(there.get(f"{_ASKED}/{rank}"))
            if own != answered:  # a word of before is answered too, and nobody hears it
                there.set(f"{_ANSWER}/{own}", json.dumps([name, None]))
                answered = own
            if there.check([f"{_HEARD}/{name}/{rank}/1"]):
                return own, value
        _wait(end, f"rank {rank} has not come")


def _wait(end: float, who: str) -> None:
    if time.monotonic() > end:
        raise ResourceError(
            f"{who} within {START.total_seconds() / 60:.0f} minutes",
            "see what its own machine says; all ranks must run the same command",
        )
    time.sleep(_POLL_SECONDS)
