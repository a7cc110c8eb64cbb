"""Connections that do harm: slow, idle, lying and endless ones; others are served meanwhile."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from servers import TOKEN, Served

from torchloupe.deploy.serving import connections
from torchloupe.deploy.serving.connections import Doorkeeper
from torchloupe.deploy.serving.guard import LINGER_BYTES
from torchloupe.deploy.serving.limits import Limits
from torchloupe.deploy.serving.server import AT_ONCE, BACKLOG, ServerOptions, bind, make_server

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
    assert strict.service.load.body_bytes.total == 0


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
        answer = status_of(liar.recv(65536))  # it may stay open, for another request
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
    assert strict.service.load.body_bytes.total == 0
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


def enter_all(addresses: str, most: int, *, is_first_heard: bool = False) -> list[bool]:
    """Which connections stay, of one for each letter, whose address it is."""

    async def take() -> list[bool]:
        door = Doorkeeper(Limits(connections=most))
        loop, taken, far_ends = asyncio.get_running_loop(), [], []
        for number, letter in enumerate(addresses):
            near, far = socket.socketpair()
            near.setblocking(False)
            if number == 0 and is_first_heard:
                far.sendall(b"GET / HTTP/1.1\r\n")
            transport, _ = await loop.connect_accepted_socket(Unread, near)
            taken.append(Taken(transport, f"127.0.0.{ord(letter)}"))
            far_ends.append(far)
            door.enter(taken[-1])
        stays = [not one.transport.is_closing() for one in taken]
        for one, far in zip(taken, far_ends, strict=True):
            one.transport.abort()
            far.close()
            door.leave(one)
        assert (door.total, door.idle, dict(door.counts)) == (0, {}, {})
        await asyncio.sleep(0)
        return stays

    return asyncio.run(take())


def test_a_request_that_waits_to_be_read_is_not_closed_as_idle() -> None:
    assert enter_all("aaaa", 3, is_first_heard=True) == [True, False, True, True]


def test_the_address_with_most_connections_makes_room() -> None:
    assert enter_all("habbbbb", 4) == [True, True, False, False, False, True, True]
    assert enter_all("bbbh", 3) == [False, True, True, True]


def ask_without_token(server: Served, connection: socket.socket) -> bytes:
    """The answer to a request that is refused."""
    connection.sendall(f"GET /classes HTTP/1.1\r\nHost: {server.host}\r\n\r\n".encode())
    return read_all(connection)


def test_refusals_of_an_address_come_at_a_pace_and_others_are_served(
    start: Callable[..., Served], digit: bytes
) -> None:
    server = start(Limits(refusals_per_second=5))
    begin = time.monotonic()
    for _ in range(8):
        with connect_from("127.0.0.2", server) as refused:
            assert status_of(ask_without_token(server, refused)).startswith("HTTP/1.1 401")
    # Five at once; then each connection and each refusal takes a turn of 0.2 s.
    assert time.monotonic() - begin > 0.3
    assert server.client.post("/predict", content=digit).status_code == 200


def test_who_would_wait_too_long_is_turned_away_unread(
    start: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HELD_SECONDS", 0.5)
    server = start(Limits(refusals_per_second=0.2))
    answers = []
    for _ in range(20):  # on a slow machine a turn may be due before the next one comes
        with connect_from("127.0.0.2", server) as refused:
            answers.append(ask_without_token(server, refused))
        if status_of(answers[-1]).startswith("HTTP/1.1 503"):
            break
    assert status_of(answers[0]).startswith("HTTP/1.1 401")
    assert b"Retry-After: 1\r\n" in answers[-1]


def connect_from(address: str, server: Served) -> socket.socket:
    """A connection from another address of this machine."""
    try:
        return socket.create_connection(("127.0.0.1", server.port), 60, (address, 0))
    except OSError:
        pytest.skip(f"this machine has no {address}")


def test_few_connections_are_taken_before_others_are_served(start: Callable[..., Served]) -> None:
    options = ServerOptions(".")
    with bind("127.0.0.1", 0) as listening:
        settings = make_server(options, None).config
        assert settings.backlog == AT_ONCE < BACKLOG
        server = start()
        crowd = [connect(server) for _ in range(5 * AT_ONCE)]
        assert server.client.get("/healthz").status_code == 200
        for one in (*crowd, listening):
            one.close()


class Unread(asyncio.Protocol):
    """Reads nothing, as a connection that was just taken."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.ReadTransport)
        transport.pause_reading()


class Taken:
    """A connection as the doorkeeper sees it."""

    def __init__(self, transport: asyncio.Transport, host: str) -> None:
        self.transport = transport
        transport._extra["peername"] = (host, 1)  # type: ignore[attr-defined]
