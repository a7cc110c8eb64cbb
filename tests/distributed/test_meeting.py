"""Ranks that meet in a store which still holds what ranks before a restart left there."""

import json
import threading
from datetime import timedelta

import pytest
from torch.distributed import HashStore

from torchloupe.distributed.meeting import meet
from torchloupe.distributed.rank import Rank
from torchloupe.errors import ResourceError


def meet_all(store, words, decide=lambda found: found):
    """What each of several ranks gets, each in a thread of its own, the last one first."""
    found = [None] * len(words)

    def take_part(rank):
        found[rank] = meet(Rank(rank, len(words), 0, 1), store, words[rank], decide)

    threads = [threading.Thread(target=take_part, args=(rank,)) for rank in range(len(words))]
    for thread in reversed(threads):
        thread.start()
    for thread in threads:
        thread.join(20)
    return found


def test_all_get_the_same_name_and_what_rank_0_decides():
    store = HashStore()
    found = meet_all(store, ["a", "b", ["c"]], lambda words: words[::-1])
    assert found[0] == found[1] == found[2]
    assert found[0][1] == [["c"], "b", "a"]


def test_keys_of_before_are_not_believed():
    store = HashStore()
    first = meet_all(store, [1, 2, 3])
    second = meet_all(store, [4, 5, 6])
    assert second[0][0] != first[0][0]
    assert [words for _, words in second] == [[4, 5, 6]] * 3
    fewer = meet_all(store, [7, 8])  # a host was lost
    assert [words for _, words in fewer] == [[7, 8]] * 2
    store.set("meeting/asked/1", json.dumps(["0123", "planted"]))
    assert [words for _, words in meet_all(store, [9, 10])] == [[9, 10]] * 2


def test_a_rank_that_does_not_come_is_named():
    store, short = HashStore(), timedelta(seconds=0.2)
    with pytest.raises(ResourceError, match="rank 1 has not come"):
        meet(Rank(0, 2, 0, 1), store, timeout=short)
    with pytest.raises(ResourceError, match="rank 0 has not come"):
        meet(Rank(1, 2, 0, 1), HashStore(), timeout=short)
