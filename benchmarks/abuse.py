"""A server of `loupe serve` under abuse, and what honest clients notice of it.

    python benchmarks/abuse.py [RUN] [--seconds 6] [--only idle,slow,headers,bodies,flood]

The server has its usual limits. Two honest clients send photographs of 500x375 pixels one after
the other, first alone (the baseline), then during each attack, which runs in a process of its
own. A row holds if their 99th percentile stays below twice the baseline, if the attack is refused
as it should be, and if the server is ready again within five seconds. Memory is that of the
server's process after the attack, beside that after the baseline.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
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
IDLE, SLOW, HEADERS, FLOOD = 10_000, 500, 64_000, 700
BODY_BYTES = 10 * 10**9
MOST_READ = 40 * 2**20  # bytes of a body that the server may take before it refuses
READY_SECONDS, MEMORY_GROWTH = 5.0, 1.1
LEFT_SECONDS = 10.0  # of a client for its last answer
LATE = "without an answer at the end"
HEAD = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\n"
Told = Counter[str]


async def read_status(reader: asyncio.StreamReader) -> str:
    """The status of an answer, or that the connection was closed."""
    with contextlib.suppress(ConnectionError):
        line = await reader.readline()
        return line.split(b" ")[1].decode() if line else "closed"
    return "closed"


async def stay_idle(port: int, _number: int, until: float, told: Told) -> None:
    """A connection that says nothing."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
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
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
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
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
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
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
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
    request = make_request(IMAGES[number % len(IMAGES)], is_raw=True)
    while time.monotonic() < until:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            told[await read_status(reader)] += 1
            writer.close()
        except OSError:
            told["closed"] += 1


IMAGES: list[bytes] = []
Attack = Callable[[int, int, float, Told], Awaitable[None]]
ATTACKS: dict[str, tuple[str, int, Attack]] = {
    "idle": (f"{IDLE:,} idle connections", IDLE, stay_idle),
    "slow": (f"{SLOW} slow clients", SLOW, be_slow),
    "headers": (f"{HEADERS:,} headers", 4, send_headers),
    "bodies": ("bodies of 10 GB, announced and in chunks", 8, send_body),
    "flood": (f"{FLOOD} clients beyond capacity", FLOOD, flood),
}


def attack(name: str, port: int, seconds: float, images: list[bytes], told: object) -> None:
    """All of an attack, in this process; what was seen goes into the queue `told`."""
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
    requests = [make_request(image, is_raw=True) for image in images]
    failed = 0
    with tempfile.TemporaryDirectory(prefix="loupe-abuse-") as folder:
        run = asked.run or make_run(photographs, Path(folder) / "run")
        port = find_port()
        server = start_server("loupe", run, port)
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
    requests = [make_request(image, is_raw=True) for image in images]
    load = asyncio.run(be_honest(port, requests, seconds))
    seen = told.get(timeout=120)
    ready = wait_until_ready(port)
    attacker.join()
    after = memory_of(pid)
    p99 = load.quantile(0.99)
    is_kept = name == "flood" or p99 < 2 * alone.quantile(0.99)
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
