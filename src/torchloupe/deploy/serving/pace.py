"""The pace of refusals: an address that is refused often waits, unread, for its next turn.

A refusal costs less than an answer and more than nothing. Who asks again at once, from hundreds of
connections, would keep the server busy with refusing.
"""

import time
from collections.abc import Callable

AT_ONCE_SECONDS = 1.0  # refusals of so many seconds may come at once
MOST_ADDRESSES = 10_000  # of more the one that was refused least lately is forgotten


class Pace:
    """Each refusal of an address is due a step after the one before it.

    Source: the generic cell rate algorithm (ITU-T I.371, annex A).
    """

    def __init__(
        self, per_second: float, longest: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """No wait is longer than `longest` seconds."""
        self._step = 1 / per_second
        self._longest = longest
        self._clock = clock
        self._due: dict[str, float] = {}

    def wait_seconds(self, address: str) -> float:
        """Seconds until one more refusal of `address` is due; it counts from now on."""
        now = self._clock()
        due = min(
            max(self._due.pop(address, now), now) + self._step,
            now + AT_ONCE_SECONDS + self._longest,
        )
        self._due[address] = due
        if len(self._due) > MOST_ADDRESSES:
            del self._due[next(iter(self._due))]
        return max(0.0, due - now - AT_ONCE_SECONDS)

    def is_behind(self, address: str) -> bool:
        """Whether refusals of `address` have to wait now."""
        return self._due.get(address, 0.0) > self._clock() + AT_ONCE_SECONDS
