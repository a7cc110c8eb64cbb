"""What a server accepts: sizes, counts and times; and how it refuses what is beyond them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

MEBIBYTE = 2**20


@dataclass(frozen=True)
class Limits:
    """Bounds of one worker; memory stays below about `held_bytes` and a few decoded images."""

    body_bytes: int = 32 * MEBIBYTE  # of a request
    images: int = 64  # in a request
    pixels: int = 50 * 10**6  # of an image, before it is resized
    waiting: int = 256  # images that are decoded, wait or are classified
    held_bytes: int = 256 * MEBIBYTE  # of all bodies that are being received
    body_seconds: float = 20.0  # for a whole body to arrive
    header_seconds: float = 10.0  # for the headers of a request to arrive
    decode_seconds: float = 10.0  # for an image to be decoded, its wait for a thread included
    drain_seconds: float = 25.0  # for requests in flight, after SIGTERM
    connections: int = 1000  # open at a time; of more the one that is idle longest is closed
    header_bytes: int = 32 * 1024  # of all headers of a request
    batch: int = 64  # images classified at once
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


@dataclass
class Load:
    """What a worker is working on now."""

    limits: Limits
    images: int = 0
    body_bytes: int = 0
    connections: int = 0
    is_draining: bool = False
    started: float = field(default=0.0)

    def add_images(self, count: int) -> None:
        """Take in images, or refuse them."""
        if self.images + count > self.limits.waiting:
            raise too_busy()
        self.images += count

    def add_bytes(self, count: int) -> None:
        """Take in a piece of a body, or refuse it."""
        if self.body_bytes + count > self.limits.held_bytes:
            raise too_busy()
        self.body_bytes += count
