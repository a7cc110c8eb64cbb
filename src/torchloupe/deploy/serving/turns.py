"""Turns between clients: each address has a line of its own, and all lines move alike.

So that who sends much waits behind himself, and who sends little hardly notices him.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(asyncio.Queue[tuple[str, T]]):
    """A queue of (address, item): the first item of each address in turn."""

    def _init(self, maxsize: int) -> None:  # noqa: ARG002
        self._queue: _Lines[T] = _Lines()

    def _put(self, item: tuple[str, T]) -> None:
        self._queue.put(*item)

    def _get(self) -> tuple[str, T]:
        return self._queue.get()


class _Lines(Generic[T]):
    """What waits, by address; its length is that of all lines together."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[T]] = {}  # the address whose turn it is comes first
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, address: str, item: T) -> None:
        self._lines.setdefault(address, deque()).append(item)
        self._count += 1

    def get(self) -> tuple[str, T]:
        address = next(iter(self._lines))
        line = self._lines.pop(address)
        item = line.popleft()
        if line:
            self._lines[address] = line
        self._count -= 1
        return address, item


class Turns:
    """Places that are taken by so many at a time; who waits for one gets it in turn."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue()

    @asynccontextmanager
    async def take(self, address: str) -> AsyncIterator[None]:
        """A context that holds a place."""
        if self._free:
            self._free -= 1
        else:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.put_nowait((address, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if not turn.cancelled():  # it had its place already
                    self._pass_on()
                raise
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        """Give a place to the next one, if anybody still waits."""
        while not self._waiting.empty():
            _, turn = self._waiting.get_nowait()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


@lru_cache(4096)
def address_of(host: str) -> str:
    """Whose address this is: of IPv6 the first 64 bits, since a client has all that begin so.

    Empty for what is no address, as the other end of a local socket.
    """
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64)
    return str(address)
