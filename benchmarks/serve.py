"""Requests per second and latency of `loupe serve`, beside FastAPI and LitServe.

    python benchmarks/serve.py [RUN] [--clients 1,8,64] [--seconds 8] [--rounds 3]

Photographs of 500x375 pixels are sent as base64 in JSON, by as many clients at once, each over a
connection that stays open; decoding is in the path. Without RUN the head of the installed backbone
is fitted to them first. `loupe` serves that run, `loupe-workers` in a process a core, `loupe-onnx`
and `loupe-openvino` its exports. Servers run one at a time, in turns, in processes of their own;
the clients are one process on the same machine. The peers are in servers/peers.py and need
`pip install fastapi litserve`; those that are not installed are left out. Where the machine has
other work, the processor time of a request says more than the requests per second.
"""

import argparse
import asyncio
import base64
import contextlib
import importlib.util
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from photographs import make_photographs
from turns import say

import torchloupe as loupe
from torchloupe.system.limits import usable_cores

COUNT = 1500
WARM_SECONDS = 2.0
EXPORTS = {"loupe-onnx": "onnx", "loupe-openvino": "openvino"}
WATCHERS: dict[int, subprocess.Popen[bytes]] = {}  # by the process group that each looks after
PEERS = {"fastapi": "fastapi", "litserve": "litserve", "litserve-same": "litserve"}


@dataclass
class Load:
    """What the clients of one level saw."""

    seconds: list[float] = field(default_factory=list)  # of each request
    refused: int = 0
    took: float = 0.0
    cpu_seconds: float = 0.0  # of the server, all its processes

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.seconds) / self.took

    def quantile(self, share: float) -> float:
        """Milliseconds within which this share of the answers came."""
        if not self.seconds:
            return float("nan")
        ranked = sorted(self.seconds)
        return 1000 * ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def make_request(image: bytes, *, is_raw: bool = False, token: str = "") -> bytes:
    """A POST of one image, as it goes over the wire."""
    body = image if is_raw else json.dumps({"image": base64.b64encode(image).decode()}).encode()
    kind = "image/jpeg" if is_raw else "application/json"
    head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
    head += f"Authorization: Bearer {token}\r\n" if token else ""
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of one answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    length = next(
        int(line.split(b":")[1])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length")
    )
    return status, await reader.readexactly(length)


async def ask_again(port: int, requests: list[bytes], first: int, until: float, load: Load) -> None:
    """One client: request after request, until the time is over."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    number = first
    while (start := time.perf_counter()) < until:
        writer.write(requests[number % len(requests)])
        number += 1
        status, _ = await read_answer(reader)
        if status == 200:
            load.seconds.append(time.perf_counter() - start)
        else:
            load.refused += 1
    writer.close()


def cpu_seconds(group: int) -> float:
    """Processor time of all processes of a group so far."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


async def press(port: int, requests: list[bytes], clients: int, seconds: float, group: int) -> Load:
    """So many clients for so long; the first two seconds are not counted."""
    load = Load()
    for is_counted, duration in ((False, WARM_SECONDS), (True, seconds)):
        found, start, before = Load(), time.perf_counter(), cpu_seconds(group)
        until = start + duration
        await asyncio.gather(
            *(ask_again(port, requests, 37 * k, until, found) for k in range(clients))
        )
        found.took = time.perf_counter() - start
        found.cpu_seconds = cpu_seconds(group) - before
        if is_counted:
            load = found
    return load


def start_server(name: str, run: Path, port: int, token: str = "none") -> subprocess.Popen[bytes]:
    """A server that is ready for requests."""
    here = Path(__file__).parent
    if name.startswith("loupe"):
        words = ["-m", "torchloupe", "serve", str(run), "--port", str(port), "--token", token]
        words += [] if name in EXPORTS else ["--device", "cpu"]
        words += ["--workers", str(usable_cores())] if name == "loupe-workers" else []
    else:
        words = [str(here / "servers" / "peers.py"), name, str(run), str(port)]
    quiet = None if os.environ.get("SHOW") else subprocess.DEVNULL
    server = subprocess.Popen(
        [sys.executable, *words], stdout=quiet, stderr=quiet, start_new_session=True
    )
    watch(server)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if server.poll() is not None:
            end(server)
            raise RuntimeError(f"{name} ended with {server.returncode}; SHOW=1 shows what it said")
        if is_ready(port, "/readyz" if name.startswith("loupe") else "/health"):
            return server
        time.sleep(0.2)
    end(server)
    raise RuntimeError(f"{name} was not ready in time")


def is_ready(port: int, path: str) -> bool:
    """Whether the server answers with 200."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            return b" 200 " in connection.recv(100)
    except OSError:
        return False


def end(server: subprocess.Popen[bytes]) -> None:
    """End a server and the processes that it started, also those that outlive it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(30)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    if watcher := WATCHERS.pop(server.pid, None):
        watcher.kill()
        watcher.wait()


def watch(server: subprocess.Popen[bytes]) -> None:
    """Have the server and its processes killed when this process ends, however it does."""
    words = f"cat > /dev/null; kill -9 -{server.pid}"  # its input ends with this process
    WATCHERS[server.pid] = subprocess.Popen(
        ["sh", "-c", words],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def find_port() -> int:
    """A free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_run(photographs: Path, out: Path) -> Path:
    """The installed backbone with a head for the photographs' folders."""
    settings = {"train.strategy": "head", "train.report": False}
    return loupe.fit(str(photographs), out=out, settings=settings, device="cpu").folder


def measure(
    name: str, run: Path, images: list[bytes], asked: argparse.Namespace
) -> dict[int, Load]:
    """The load of each number of clients on one server."""
    port = find_port()
    requests = [make_request(image) for image in images]
    if name in EXPORTS:
        run = run.with_name(f"{run.name}-{EXPORTS[name]}")
    server = start_server(name, run, port)
    try:
        return {
            clients: asyncio.run(press(port, requests, clients, asked.seconds, server.pid))
            for clients in map(int, asked.clients.split(","))
        }
    finally:
        end(server)


def show_cost(loads: list[Load]) -> str:
    """The processor time of a request, the median in milliseconds."""
    return f"{statistics.median(1000 * x.cpu_seconds / max(len(x.seconds), 1) for x in loads):.1f}"


def main() -> None:
    """Measure in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--clients", default="1,8,64")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="servers by name, with commas between")
    asked = parser.parse_args()
    photographs = make_photographs(COUNT)
    images = [path.read_bytes() for path in sorted(photographs.glob("*/*.jpg"))[:200]]
    names = ["loupe", "loupe-workers", *EXPORTS]
    names += [name for name, module in PEERS.items() if importlib.util.find_spec(module)]
    names = [name for name in names if not asked.only or name in asked.only.split(",")]
    found: dict[str, list[dict[int, Load]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="loupe-serve-") as folder:
        run = asked.run or make_run(photographs, Path(folder) / "run")
        for name in names:
            place = run.with_name(f"{run.name}-{EXPORTS.get(name, '')}")
            if name in EXPORTS and not place.is_dir():
                say(f"exporting to {place}")
                loupe.open_run(run, device="cpu").export(to=EXPORTS[name], out=place, files=50)
        for number in range(asked.rounds):
            for name in (*names[number % len(names) :], *names[: number % len(names)]):
                say(f"round {number + 1} of {asked.rounds}: {name}")
                found[name].append(measure(name, run, images, asked))
    print("server | clients | requests/s | p50 ms | p99 ms | CPU ms a request | refused")
    for name, rounds in found.items():
        for clients in rounds[0] if rounds else ():
            loads = [one[clients] for one in rounds]
            rates = [load.rate for load in loads]
            print(
                f"{name} | {clients} | {statistics.median(rates):.1f} "
                f"({min(rates):.1f}..{max(rates):.1f}) | "
                f"{statistics.median(load.quantile(0.5) for load in loads):.0f} | "
                f"{statistics.median(load.quantile(0.99) for load in loads):.0f} | "
                f"{show_cost(loads)} | {sum(load.refused for load in loads)}"
            )


if __name__ == "__main__":
    main()
