"""What a server accepts: sizes, counts and times; and how it refuses what is beyond them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

MEBIBYTE = 2**20


@dataclass(frozen=True)
class Limits:
    """Bounds of one worker; memory stays below about `held_bytes` and a few decoded images."""

    body_bytes: int = 32 * MEBIBYTE  # of a request
    body_at_once: int = MEBIBYTE  # of a body, read as fast as it comes; the rest ...
    body_bytes_per_second: int = 16 * MEBIBYTE  # ... no faster than this
    images: int = 64  # in a request
    pixels: int = 50 * 10**6  # of an image, before it is resized
    waiting: int = 256  # images that are decoded, wait or are classified
    held_bytes: int = 256 * MEBIBYTE  # of all bodies that are being received
    body_seconds: float = 20.0  # for a whole body to arrive
    header_seconds: float = 10.0  # for the headers of a request to arrive
    decode_seconds: float = 10.0  # for an image to be decoded, its wait for a thread included
    drain_seconds: float = 25.0  # for requests in flight, after SIGTERM
    connections: int = 1000  # open at a time; of more the one that is idle longest is closed
    refusals_per_second: float = 50.0  # of an address; beyond them it waits unread for its turn
    header_bytes: int = 32 * 1024  # of all headers of a request
    batch: int = 64  # images classified at once on a GPU
    batch_on_cpu: int = 16  # and on a CPU, where more gain nothing and others wait for them
    batch_seconds: float = 0.005  # a batch waits so long for images that are being decoded


class RefusalError(Exception):
    """A request that is not answered; becomes a JSON object with `error` and `hint`."""

    def __init__(
        self, status: int, error: str, hint: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.hint = hint
        self.headers = dict(headers or {})


def too_busy() -> RefusalError:
    """The refusal of what would have to wait too long."""
    return RefusalError(503, "the server is busy", "try again in a second", {"Retry-After": "1"})


class Share:
    """A quantity of which one address never holds more than is free.

    So there is always room for others: alone it has half, beside another a third (Choudhury and
    Hahne, Dynamic queue length thresholds, IEEE/ACM Transactions on Networking 6, 1998).
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.total = 0
        self._held: Counter[str] = Counter()

    @property
    def addresses(self) -> int:
        """How many hold some of it."""
        return len(self._held)

    def has_room(self, count: int, address: str) -> bool:
        """Whether this address may have `count` more."""
        return self._held[address] + count <= self.most - self.total - count

    def take(self, count: int, address: str) -> None:
        """Take it; RefusalError where there is no room."""
        if not self.has_room(count, address):
            raise too_busy()
        self.total += count
        self._held[address] += count

    def give_back(self, count: int, address: str) -> None:
        """Give back what was taken."""
        self.total -= count
        self._held[address] -= count
        if not self._held[address]:
            del self._held[address]


class Load:
    """What a worker is working on now."""

    def __init__(self, limits: Limits, started: float = 0.0) -> None:
        self.limits = limits
        self.images = Share(limits.waiting)
        self.body_bytes = Share(limits.held_bytes)
        self.is_draining = False
        self.started = started
