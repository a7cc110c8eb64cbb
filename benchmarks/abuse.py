"""A server of `loupe serve` under abuse, and what honest clients notice of it.

    python benchmarks/abuse.py [RUN] [--seconds 6] [--only paths,hosts,origins,tokens,idle,...]

The server has its usual limits. Two honest clients at 127.0.0.1 send photographs of 500x375 pixels
one after the other, first alone (the baseline), then during each attack. Attackers know the token,
where they are not to try without. They are at 127.0.0.2, in a process of the lowest priority: what
they compute is not the server's cost. A row holds if the 99th percentile of the honest ones stays
below twice the baseline (under the flood, which takes all there is: if they lose no request and
keep a third of their requests/s, where half would be a fair share between two addresses), if the
attack is refused as it should be, if the server is ready again within five seconds, and if its
memory is within a tenth of that before.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from photographs import make_photographs
from serve import (
    COUNT,
    Load,
    ask_again,
    end,
    find_port,
    is_ready,
    make_request,
    make_run,
    start_server,
)
from turns import say

HONEST = 2
ATTACKER = ("127.0.0.2", 0)
TOKEN = "a-token-of-the-benchmark"
PACE_SECONDS = 0.02  # between two requests of one that tries names, sites or tokens
IDLE, SLOW, HEADERS, FLOOD, WRONG = 10_000, 500, 64_000, 700, 4
BODY_BYTES = 10 * 10**9
MOST_READ = 48 * 2**20  # of a body that may be sent: 32 MiB, and what the system holds between
READY_SECONDS, MEMORY_GROWTH = 5.0, 1.1
FAIR_SHARE = 1 / 3  # of the requests/s alone
LEFT_SECONDS = 10.0  # of a client for its last answer
LATE = "without an answer at the end"
BEARER = f"Authorization: Bearer {TOKEN}"
HEAD = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\n{BEARER}\r\n".encode()
HEAD += b"Content-Type: image/jpeg\r\n"
ROUTES = ("", "/page.js", "/page.css", "/predict", "/look", "/classes", "/healthz", "/metrics")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
FILES = (
    *("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc/passwd", "//etc/passwd"),
    *("/%2e%2e%5c%2e%2e%5cetc/passwd", "/..%c0%af..%c0%afetc/passwd", "/....//....//etc/passwd"),
    *("/etc/passwd", "/file:///etc/passwd", "/.git/config", "/etc/passwd%00.png", "/~root/x"),
)
HOSTS = (
    *([], ["evil.example"], ["127.0.0.1.evil.example"], ["10.0.0.1"], ["127.0.0.1:80@evil"]),
    *(["127.0.0.1", "127.0.0.1"], ["127.0.0.1", "evil.example"], ["2130706433"], ["[::2]"]),
)
ORIGINS = ("Origin: http://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site")
TOKENS = ("", "Authorization: Bearer x", f"Authorization: Basic {TOKEN}", f"Cookie: token={TOKEN}")
Told = Counter[str]


def wrong_requests(name: str) -> list[str]:
    """The heads of requests that have to be refused."""
    host, end = "Host: 127.0.0.1", "Connection: close"
    if name == "paths":
        targets = [f"{route}{file}" for route in ROUTES for file in FILES]
        return ["\r\n".join((f"GET {t} HTTP/1.1", host, BEARER, end)) for t in targets]
    if name == "hosts":
        lines = ["\r\n".join((*(f"Host: {one}" for one in some), BEARER)) for some in HOSTS]
    elif name == "origins":
        lines = [f"{host}\r\n{BEARER}\r\n{one}" for one in ORIGINS]
    else:
        lines = [f"{host}\r\n{one or 'Accept: */*'}" for one in TOKENS]
    query = f"?token={TOKEN}" if name == "tokens" else ""
    closed = [r for r in ROUTES if name != "tokens" or r not in ("", "/page.js", "/page.css")]
    return [
        f"{method} {route or '/'}{query} HTTP/1.1\r\n{some}\r\n{end}"
        for some in lines
        for route in closed
        for method in METHODS
        if (name, route) != ("tokens", "/healthz")
    ]


async def ask_wrongly(name: str, port: int, number: int, until: float, told: Told) -> None:
    """Each request in turn, from another place in the list for each client."""
    heads = wrong_requests(name)
    at = number * len(heads) // WRONG
    while time.monotonic() < until:
        try:
            reader, writer = await connect(port)
            writer.write(f"{heads[at % len(heads)]}\r\n\r\n".encode())
            answer = await asyncio.wait_for(reader.read(), LEFT_SECONDS)
            told[answer.split(b" ")[1].decode() if answer else "closed"] += 1
            told["a file"] += b"root:" in answer
            writer.close()
        except (OSError, TimeoutError):
            told["closed"] += 1
        at += 1
        await asyncio.sleep(PACE_SECONDS)


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection from the attackers' address."""
    return await asyncio.open_connection("127.0.0.1", port, local_addr=ATTACKER)


async def read_status(reader: asyncio.StreamReader) -> str:
    """The status of an answer, or that the connection was closed."""
    with contextlib.suppress(ConnectionError):
        line = await reader.readline()
        return line.split(b" ")[1].decode() if line else "closed"
    return "closed"


async def stay_idle(port: int, _number: int, until: float, told: Told) -> None:
    """A connection that says nothing."""
    try:
        reader, writer = await connect(port)
        left = max(0.1, until - time.monotonic())
        try:
            said = await asyncio.wait_for(reader.read(1), left)
            told["closed" if not said else "answered"] += 1
        except TimeoutError:
            told["open to the end"] += 1
        writer.close()
    except OSError:
        told["closed"] += 1


async def be_slow(port: int, number: int, until: float, told: Told) -> None:
    """Half of them send headers byte by byte, half a body; a new connection after each end."""
    start = HEAD if number % 2 else HEAD + b"Content-Length: 100000\r\n\r\n"
    while time.monotonic() < until:
        try:
            reader, writer = await connect(port)
            writer.write(start)
            answer = asyncio.ensure_future(read_status(reader))
            while not answer.done() and time.monotonic() < until:
                writer.write(b"x")
                await asyncio.wait([answer], timeout=0.5)
            told[answer.result() if answer.done() else "open to the end"] += 1
            answer.cancel()
            writer.close()
        except OSError:
            told["closed"] += 1


async def send_headers(port: int, _number: int, until: float, told: Told) -> None:
    """A request of 64,000 headers, again and again."""
    while time.monotonic() < until:
        try:
            reader, writer = await connect(port)
            writer.write(HEAD)
            for start in range(0, HEADERS, 1000):
                lines = (f"X-{k}: y\r\n" for k in range(start, start + 1000))
                writer.write("".join(lines).encode())
                await writer.drain()
            writer.write(b"Content-Length: 0\r\n\r\n")
            told[await read_status(reader)] += 1
            writer.close()
        except OSError:
            told["closed"] += 1
        await asyncio.sleep(0.1)


async def send_body(port: int, number: int, until: float, told: Told) -> None:
    """10 GB, announced or in chunks without end; the bytes that were taken are counted."""
    piece = b"x" * 65536
    while time.monotonic() < until:
        sent = 0
        try:
            reader, writer = await connect(port)
            is_chunked = number % 2
            length = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {BODY_BYTES}"
            writer.write(HEAD + f"{length}\r\n\r\n".encode())
            answer = asyncio.ensure_future(read_status(reader))
            while not answer.done() and sent < BODY_BYTES and time.monotonic() < until:
                writer.write(b"10000\r\n" + piece + b"\r\n" if is_chunked else piece)
                sent += len(piece)
                await writer.drain()
                await asyncio.sleep(0)
            told[await answer if answer.done() else "open to the end"] += 1
            answer.cancel()
            writer.close()
        except OSError:
            told["closed"] += 1
        told["too much"] += sent > MOST_READ
        await asyncio.sleep(0.1)


async def flood(port: int, number: int, until: float, told: Told) -> None:
    """An image at once after each answer, from more clients than the server lets wait."""
    request = make_request(IMAGES[number % len(IMAGES)], is_raw=True, token=TOKEN)
    while time.monotonic() < until:
        try:
            reader, writer = await connect(port)
            writer.write(request)
            told[await read_status(reader)] += 1
            writer.close()
        except OSError:
            told["closed"] += 1


IMAGES: list[bytes] = []
REFUSALS = {
    "paths": {"400", "404", "405"},
    "hosts": {"400", "421"},
    "origins": {"403"},
    "tokens": {"401"},
}
Attack = Callable[[int, int, float, Told], Awaitable[None]]
ATTACKS: dict[str, tuple[str, int, Attack]] = {
    "paths": ("paths of files on every route", WRONG, partial(ask_wrongly, "paths")),
    "hosts": ("foreign, missing and doubled hosts", WRONG, partial(ask_wrongly, "hosts")),
    "origins": ("other sites, every method", WRONG, partial(ask_wrongly, "origins")),
    "tokens": ("tokens missing, wrong, in the query", WRONG, partial(ask_wrongly, "tokens")),
    "idle": (f"{IDLE:,} idle connections", IDLE, stay_idle),
    "slow": (f"{SLOW} slow clients", SLOW, be_slow),
    "headers": (f"{HEADERS:,} headers", 4, send_headers),
    "bodies": ("bodies of 10 GB, announced and in chunks", 8, send_body),
    "flood": (f"{FLOOD} clients beyond capacity", FLOOD, flood),
}


def attack(name: str, port: int, seconds: float, images: list[bytes], told: object) -> None:
    """All of an attack, in this process; what was seen goes into the queue `told`."""
    os.nice(19)
    IMAGES.extend(images)
    _, count, function = ATTACKS[name]
    seen: Told = Counter()
    until = time.monotonic() + seconds

    async def run() -> None:
        clients = [asyncio.create_task(function(port, k, until, seen)) for k in range(count)]
        _, left = await asyncio.wait(clients, timeout=seconds + LEFT_SECONDS)
        seen[LATE] += len(left)  # asyncio.run cancels them

    asyncio.run(run())
    told.put(seen)  # type: ignore[attr-defined]


async def be_honest(port: int, requests: list[bytes], seconds: float) -> Load:
    """Two clients, one request after the other, each with a new connection where one is lost."""
    load, start = Load(), time.perf_counter()
    until = start + seconds

    async def go_on(first: int) -> None:
        while time.perf_counter() < until:
            try:
                await ask_again(port, requests, first, until, load)
            except (OSError, asyncio.IncompleteReadError):
                load.refused += 1
                await asyncio.sleep(0.05)

    await asyncio.gather(*(go_on(50 * k) for k in range(HONEST)))
    load.took = time.perf_counter() - start
    return load


def memory_of(pid: int) -> float:
    """Megabytes that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def wait_until_ready(port: int) -> float:
    """Seconds until the server takes images again."""
    start = time.monotonic()
    while not is_ready(port, "/readyz") and time.monotonic() - start < 60:
        time.sleep(0.05)
    return time.monotonic() - start


def is_refused(name: str, told: Told) -> bool:
    """Whether the server did with an attack what it should."""
    answers = {key for key, count in told.items() if count and key != LATE}
    if name in REFUSALS:
        return bool(answers) and answers <= REFUSALS[name]
    if name == "headers":
        return not answers & {"200"}
    if name == "bodies":
        return not answers & {"200", "too much"} and "413" in answers
    if name == "flood":
        return answers <= {"200", "503"} and "503" in answers
    return "200" not in answers


def main() -> int:
    """Print a row for each attack; 1 if one of them does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--only", default=",".join(ATTACKS))
    asked = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * IDLE), hard))
    photographs = make_photographs(COUNT)
    images = [path.read_bytes() for path in sorted(photographs.glob("*/*.jpg"))[:100]]
    requests = [make_request(image, is_raw=True, token=TOKEN) for image in images]
    failed = 0
    with tempfile.TemporaryDirectory(prefix="loupe-abuse-") as folder:
        run = asked.run or make_run(photographs, Path(folder) / "run")
        port = find_port()
        server = start_server("loupe", run, port, TOKEN)
        try:
            asyncio.run(be_honest(port, requests, 2))
            alone = asyncio.run(be_honest(port, requests, asked.seconds))
            say(f"baseline: {alone.rate:.0f} requests/s, p99 {alone.quantile(0.99):.0f} ms")
            print(
                "attack | what came | honest requests/s | p99 ms | lost | ready in s | MB | verdict"
            )
            print(
                f"none | - | {alone.rate:.1f} | {alone.quantile(0.99):.0f} | {alone.refused} | 0 | "
                f"{memory_of(server.pid):.0f}"
            )
            for name in asked.only.split(","):
                failed += not show_attack(name, port, server.pid, images, alone, asked.seconds)
        finally:
            end(server)
    return min(failed, 1)


def show_attack(
    name: str, port: int, pid: int, images: list[bytes], alone: Load, seconds: float
) -> bool:
    """Attack, print a row, and say whether it holds."""
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    before = memory_of(pid)
    attacker = context.Process(target=attack, args=(name, port, seconds + 2, images, told))
    attacker.start()
    time.sleep(2)
    requests = [make_request(image, is_raw=True, token=TOKEN) for image in images]
    load = asyncio.run(be_honest(port, requests, seconds))
    seen = told.get(timeout=120)
    ready = wait_until_ready(port)
    attacker.join()
    after = memory_of(pid)
    p99 = load.quantile(0.99)
    is_quick = p99 < 2 * alone.quantile(0.99)
    is_fair = load.rate >= FAIR_SHARE * alone.rate
    is_kept = load.refused == 0 and (is_fair if name == "flood" else is_quick)
    is_fine = (
        is_refused(name, seen)
        and is_kept
        and ready < READY_SECONDS
        and after < MEMORY_GROWTH * max(before, 1)
    )
    words = ", ".join(f"{count:,} {key}" for key, count in sorted(seen.items()) if count)
    print(
        f"{ATTACKS[name][0]} | {words} | {load.rate:.1f} | {p99:.0f} | {load.refused} | "
        f"{ready:.1f} | {after:.0f} | {'holds' if is_fine else 'FAILS'}",
        flush=True,
    )
    return is_fine


if __name__ == "__main__":
    sys.exit(main())
