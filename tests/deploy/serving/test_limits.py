"""What one address may hold, so that others find room."""

import pytest

from torchloupe.deploy.serving.limits import Limits, RefusalError, Share


def fill(share: Share, address: str, piece: int = 1) -> int:
    """How much an address gets that takes what it can."""
    taken = 0
    while share.has_room(piece, address):
        share.take(piece, address)
        taken += piece
    return taken


def test_no_address_takes_the_room_of_others() -> None:
    share = Share(Limits().waiting)
    assert fill(share, "one") == 128
    with pytest.raises(RefusalError, match="busy") as refused:
        share.take(1, "one")
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "1")
    share.take(Limits().images, "two")  # the largest request of somebody else
    assert share.total == 192
    share.give_back(64, "two")
    assert [fill(share, f"n{k}") for k in range(3)] == [64, 32, 16]


def test_what_is_given_back_can_be_taken_again() -> None:
    share = Share(10)
    for _ in range(100):
        assert fill(share, "one") == 5
        for _ in range(5):
            share.give_back(1, "one")
    assert share.total == 0
    assert not share._held


def test_what_is_larger_than_the_half_is_refused() -> None:
    with pytest.raises(RefusalError):
        Share(10).take(6, "one")
