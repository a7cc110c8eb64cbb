"""Connections that do harm: slow, idle, lying and endless ones; others are served meanwhile."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from servers import TOKEN, Served

from torchloupe.deploy.serving.connections import Doorkeeper
from torchloupe.deploy.serving.guard import LINGER_BYTES
from torchloupe.deploy.serving.limits import Limits

TIMES = Limits(header_seconds=0.5, body_seconds=0.5, connections=20, body_bytes=100_000)


@pytest.fixture(scope="module")
def strict(start: Callable[..., Served]) -> Served:
    """A server that waits half a second and has twenty connections."""
    return start(TIMES)


def connect(server: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=60)


def start_of(server: Served, *headers: str) -> bytes:
    lines = ["POST /predict HTTP/1.1", f"Host: {server.host}", f"Authorization: Bearer {TOKEN}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode()


def read_all(connection: socket.socket) -> bytes:
    """What is answered until the server closes."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            found += part
    return found


def status_of(answer: bytes) -> str:
    return answer.split(b"\r\n", 1)[0].decode()


def test_headers_that_come_too_slowly_end_the_connection(strict: Served) -> None:
    with connect(strict) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: ")
        begin = time.monotonic()
        assert read_all(slow) == b""
        assert time.monotonic() - begin < 5


def test_a_body_that_comes_too_slowly_is_given_up(strict: Served) -> None:
    with connect(strict) as slow:
        slow.sendall(start_of(strict, "Content-Length: 1000") + b"x" * 10)
        assert status_of(read_all(slow)).startswith("HTTP/1.1 408")
    assert strict.service.load.body_bytes == 0


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        (("Content-Length: 10000000000",), b"x", "413"),
        (("Content-Length: -1",), b"x", "400"),
        (("Content-Length: 10", "Content-Length: 20"), b"x" * 20, "400"),
        (("Content-Length: 5", "Transfer-Encoding: chunked"), b"0\r\n\r\n", "4"),
        (("Transfer-Encoding: chunked",), b"ffffffffffffffffffff\r\nx", "4"),
        (("Transfer-Encoding: odd",), b"x", ""),
    ],
)
def test_lengths_that_lie_are_refused(
    strict: Served, headers: tuple[str, ...], body: bytes, status: str
) -> None:
    with connect(strict) as liar:
        liar.sendall(start_of(strict, *headers) + body)
        answer = status_of(read_all(liar))
        assert answer.startswith((f"HTTP/1.1 {status}" if status else "HTTP/1.1 4", "HTTP/1.1 501"))
    assert strict.client.get("/healthz").status_code == 200


def test_endless_chunks_are_cut(strict: Served) -> None:
    with connect(strict) as endless:
        endless.sendall(start_of(strict, "Transfer-Encoding: chunked"))
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 20 * LINGER_BYTES:
                endless.sendall(b"186a0\r\n" + b"x" * 100_000 + b"\r\n")
                sent += 100_000
        assert sent < 20 * LINGER_BYTES
    assert strict.service.load.body_bytes == 0
    assert strict.client.get("/healthz").status_code == 200


def test_huge_headers_are_refused(strict: Served) -> None:
    with connect(strict) as large:
        lines = b"".join(b"a%d: b\r\n" % k for k in range(64_000))
        with contextlib.suppress(OSError):
            large.sendall(b"GET / HTTP/1.1\r\n" + lines)
        assert status_of(read_all(large)) in ("HTTP/1.1 400 Bad Request", "")
    assert strict.client.get("/healthz").status_code == 200


@pytest.fixture
def idle(strict: Served) -> Iterator[list[socket.socket]]:
    found = [connect(strict) for _ in range(100)]
    yield found
    for one in found:
        one.close()


def test_idle_connections_make_room_for_others(
    strict: Served, idle: list[socket.socket], digit: bytes
) -> None:
    assert len(idle) == 100
    # A new connection: the one that the client kept was idle too, and was closed with the oldest.
    headers = {"Authorization": f"Bearer {TOKEN}"}
    url = f"http://{strict.host}/predict"
    assert httpx.post(url, content=digit, headers=headers, timeout=30).status_code == 200
    for one in idle:
        assert read_all(one) == b""  # closed by then, as are those that nothing comes from


def test_a_request_that_waits_to_be_read_is_not_closed_as_idle() -> None:
    async def take_three() -> list[bool]:
        door = Doorkeeper(Limits(connections=3))
        pairs = [socket.socketpair() for _ in range(4)]
        loop, taken = asyncio.get_running_loop(), []
        for number, (near, far) in enumerate(pairs):
            near.setblocking(False)
            if number == 0:
                far.sendall(b"GET / HTTP/1.1\r\n")
            transport, _ = await loop.connect_accepted_socket(Unread, near)
            taken.append(Taken(transport))
            door.enter(taken[-1])
        open_still = [one in door.idle and not one.transport.is_closing() for one in taken]
        for one, (_, far) in zip(taken, pairs, strict=True):
            one.transport.abort()
            far.close()
        await asyncio.sleep(0)
        return open_still

    assert asyncio.run(take_three()) == [True, False, True, True]


class Unread(asyncio.Protocol):
    """Reads nothing, as a connection that was just taken."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.ReadTransport)
        transport.pause_reading()


class Taken:
    """A connection as the doorkeeper sees it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
