"""Connections of the server: slow and idle ones are closed, so that they can't hold it up."""

import asyncio
import select
from itertools import islice
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from torchloupe.deploy.serving.limits import Limits

_LOOKED_AT = 32  # idle connections that may have sent something, before one of them is closed


class Doorkeeper:
    """The connections of one worker that have no request in progress, the oldest first."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.idle: dict[Any, None] = {}
        self.count = 0

    def enter(self, connection: Any) -> None:
        """A new connection; where there are too many the one that is idle longest is closed.

        Many are taken at once before any of them is read: one whose request has arrived is not
        idle, and is passed over.
        """
        self.count += 1
        self.idle[connection] = None
        if self.count > self.limits.connections:
            oldest = list(islice(self.idle, _LOOKED_AT))
            chosen = next((one for one in oldest if not _has_sent(one)), oldest[0])
            del self.idle[chosen]
            chosen.transport.abort()

    def leave(self, connection: Any) -> None:
        """It was closed."""
        self.count -= 1
        self.idle.pop(connection, None)


def _has_sent(connection: Any) -> bool:
    """Whether something has arrived that was not read yet."""
    place = connection.transport.get_extra_info("socket").fileno()
    if place < 0:
        return False  # it is closed
    poll = select.poll()
    poll.register(place, select.POLLIN | select.POLLRDHUP)
    found = dict(poll.poll(0)).get(place, 0)
    return bool(found & select.POLLIN) and not found & (select.POLLRDHUP | select.POLLHUP)


def make_protocol(limits: Limits) -> type[H11Protocol]:
    """The class of connections within these limits, for uvicorn."""
    door = Doorkeeper(limits)

    class Connection(H11Protocol):
        """HTTP/1.1 whose headers have to arrive in time."""

        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            door.enter(self)
            self._await_headers()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            door.leave(self)
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._is_busy():
                self._stop_waiting()
                door.idle.pop(self, None)
            elif self._deadline is None:
                self._await_headers()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if not self._is_busy() and not self.transport.is_closing():
                door.idle[self] = None
                self._stop_waiting()

        def _is_busy(self) -> bool:
            """Whether a request has arrived whose response is not complete."""
            return self.cycle is not None and not self.cycle.response_complete

        def _await_headers(self) -> None:
            self._deadline = self.loop.call_later(limits.header_seconds, self._give_up)

        def _stop_waiting(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _give_up(self) -> None:
            self._deadline = None
            if not self._is_busy():
                self.transport.abort()

    return Connection
