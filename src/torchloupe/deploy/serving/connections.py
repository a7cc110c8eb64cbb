"""Connections of the server: slow and idle ones are closed, and those of an address that is refused
often wait unread, so that they can't hold it up."""

import asyncio
import select
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from torchloupe.deploy.serving.limits import Limits
from torchloupe.deploy.serving.pace import Pace
from torchloupe.deploy.serving.turns import address_of

REFUSALS = frozenset({401, 403, 413, 421, 503})  # statuses of requests that cost no decoding
HELD_SECONDS = 5.0  # that a connection waits at most before it is read
_TURNED_AWAY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Length: 0\r\n\r\n"
)
_LOOKED_AT = 32  # idle connections that may have sent something, before one of them is closed


class Doorkeeper:
    """The connections of one worker by address, and which have no request in progress."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.pace = Pace(limits.refusals_per_second, HELD_SECONDS)
        self.idle: dict[str, dict[Any, None]] = {}  # of each address, the oldest first
        self.counts: Counter[str] = Counter()
        self.total = 0

    def enter(self, connection: Any) -> None:
        """A new connection; where there are too many, an idle one makes room.

        That is the oldest of the address that has the most connections, so that who has few
        keeps them. Many are taken at once before any of them is read: one whose request has
        arrived is not idle, and is passed over.
        """
        address = _whose(connection)
        self.total += 1
        self.counts[address] += 1
        self.rest(connection)
        if self.total > self.limits.connections:
            most = max(self.idle, key=self.counts.__getitem__)
            chosen = _longest_silent(list(islice(self.idle[most], _LOOKED_AT)))
            self.work(chosen)
            chosen.transport.abort()

    def leave(self, connection: Any) -> None:
        """It was closed."""
        address = _whose(connection)
        self.work(connection)
        self.total -= 1
        self.counts[address] -= 1
        if not self.counts[address]:
            del self.counts[address]

    def work(self, connection: Any) -> None:
        """It has a request in progress: it is not idle."""
        address = _whose(connection)
        idle = self.idle.get(address, {})
        idle.pop(connection, None)
        if not idle:
            self.idle.pop(address, None)

    def rest(self, connection: Any) -> None:
        """It is idle from now on."""
        self.idle.setdefault(_whose(connection), {})[connection] = None


def _whose(connection: Any) -> str:
    """The address at the other end."""
    place = connection.transport.get_extra_info("peername")
    return address_of(place[0]) if isinstance(place, tuple) and place else ""


def _longest_silent(connections: Sequence[Any]) -> Any:
    """The first that nothing has arrived from that was not read yet, or the first of all."""
    for connection in connections:
        place = connection.transport.get_extra_info("socket").fileno()
        if place < 0:
            return connection  # it is closed
        poll = select.poll()
        poll.register(place, select.POLLIN | select.POLLRDHUP)
        events = dict(poll.poll(0)).get(place, 0)
        if not events & select.POLLIN or events & (select.POLLRDHUP | select.POLLHUP):
            return connection
    return connections[0]


class Connection(H11Protocol):
    """HTTP/1.1 whose headers have to arrive in time; `door` is set by `make_protocol`."""

    door: Doorkeeper
    _deadline: asyncio.TimerHandle | None = None
    _counted: Any = None  # the request whose refusal was counted

    def connection_made(self, transport: Any) -> None:
        """Read from it, at once unless its address is refused often."""
        super().connection_made(transport)
        self.door.enter(self)
        address, pace = _whose(self), self.door.pace
        if not pace.is_behind(address):
            self._await_headers()
            return
        self.flow.pause_reading()
        seconds = pace.wait_seconds(address)
        is_too_long = seconds >= HELD_SECONDS
        self.loop.call_later(seconds, self._turn_away if is_too_long else self._listen)

    def connection_lost(self, exc: Exception | None) -> None:
        """It was closed."""
        self._stop_waiting()
        self.door.leave(self)
        self._count_refusal()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request."""
        super().data_received(data)
        if self._is_busy():
            self._stop_waiting()
            self.door.work(self)
        elif self._deadline is None:
            self._await_headers()

    def on_response_complete(self) -> None:
        """Go on with the next request; where this one was refused, when its time has come."""
        seconds = self._count_refusal()
        if seconds and not self.transport.is_closing():
            self.loop.call_later(seconds, self._go_on)
        else:
            self._go_on()

    def _go_on(self) -> None:
        super().on_response_complete()
        if not self._is_busy() and not self.transport.is_closing():
            self.door.rest(self)
            self._stop_waiting()

    def _count_refusal(self) -> float:
        """Seconds until the next one is due, of an address that was refused just now."""
        if self.cycle is None or self.cycle is self._counted:
            return 0.0
        if self.cycle.scope["state"].get("status") not in REFUSALS:
            return 0.0
        self._counted = self.cycle
        return self.door.pace.wait_seconds(_whose(self))

    def _listen(self) -> None:
        """Read what has waited."""
        if not self.transport.is_closing():
            self.flow.resume_reading()
            self._await_headers()

    def _turn_away(self) -> None:
        """Refuse without reading: others of this address wait long enough already."""
        if not self.transport.is_closing():
            self.transport.write(_TURNED_AWAY)
            self.transport.close()

    def _is_busy(self) -> bool:
        """Whether a request has arrived whose response is not complete."""
        return self.cycle is not None and not self.cycle.response_complete

    def _await_headers(self) -> None:
        self._deadline = self.loop.call_later(self.door.limits.header_seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if not self._is_busy():
            self.transport.abort()


def make_protocol(limits: Limits) -> type[Connection]:
    """The class of connections within these limits, for uvicorn."""
    return type("LimitedConnection", (Connection,), {"door": Doorkeeper(limits)})
