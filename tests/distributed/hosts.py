"""Hosts in network namespaces of this machine: each with an address, a cable and processes.

A host can be killed, frozen or cut off, as real ones are. Needs Linux, root and iproute2.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

PORT = 29500
RENDEZVOUS = "join_timeout=60,last_call_timeout=3,keep_alive_interval=2,keep_alive_max_attempt=3"


def call(*words: str) -> str:
    """What `ip` prints; raises CalledProcessError with what it said."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr}")
    return done.stdout


class Host:
    """One host, connected to the others by a cable to their switch."""

    def __init__(self, network: str, number: int) -> None:
        self.name, self.switch = f"{network}-{number}", f"{network}-s"
        self.address = f"10.77.0.{number + 1}"
        self.processes: list[subprocess.Popen[bytes]] = []
        call("netns", "add", self.name)
        pair = ("type", "veth", "peer", "name", f"port{number}", "netns", self.switch)
        call("link", "add", "cable", "netns", self.name, *pair)
        call("-n", self.switch, "link", "set", f"port{number}", "master", "bridge", "up")
        call("-n", self.name, "addr", "add", f"{self.address}/24", "dev", "cable")
        for device in ("cable", "lo"):
            call("-n", self.name, "link", "set", device, "up")
        self.port = f"port{number}"

    def start(
        self, words: Sequence[str], said: Path, folder: Path | None = None
    ) -> "subprocess.Popen[bytes]":
        """A program on this host, in a process group of its own; what it says lands in a file."""
        environment = {
            **os.environ,
            "GLOO_SOCKET_IFNAME": "cable",
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # else a host that returns can't join
            "OMP_NUM_THREADS": "1",
            "TORCH_CPP_LOG_LEVEL": "ERROR",
        }
        with said.open("ab") as file:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.name, *words],
                stdout=file,
                stderr=file,
                env=environment,
                cwd=folder,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def torchrun(
        self, words: Sequence[str], said: Path, *options: str, folder: Path | None = None
    ) -> "subprocess.Popen[bytes]":
        """`torchrun OPTIONS -m torchloupe WORDS` with one rank, meeting the others at host 0."""
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "1"]
        command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"10.77.0.1:{PORT}"]
        command += ["--rdzv-id", "test", "--local-addr", self.address, *options]
        # torchrun looks for the host of the store by name, and these hosts have no names.
        command += ["--rdzv-conf", f"is_host={int(self.address == '10.77.0.1')},{RENDEZVOUS}"]
        return self.start([*command, "-m", "torchloupe", *words], said, folder)

    def pids(self) -> list[int]:
        """All processes of this host."""
        return [int(word) for word in call("netns", "pids", self.name).split()]

    def send(self, number: int) -> None:
        """Send a signal to every process of this host at once."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def cut(self) -> None:
        """Pull the cable."""
        call("-n", self.switch, "link", "set", self.port, "down")

    def mend(self) -> None:
        """Plug the cable in again."""
        call("-n", self.switch, "link", "set", self.port, "up")

    def remove(self) -> None:
        """End everything on this host, and the host."""
        for number in (signal.SIGKILL, signal.SIGCONT):
            self.send(number)
        for process in self.processes:
            process.wait()
        call("netns", "del", self.name)


@contextlib.contextmanager
def connected(count: int) -> Iterator[list[Host]]:
    """So many hosts on one switch; the test is skipped where they can't be made."""
    if sys.platform != "linux" or not shutil.which("ip"):
        pytest.skip("hosts are network namespaces, which need Linux and iproute2")
    network = f"loupe{uuid.uuid4().hex[:6]}"
    switch = f"{network}-s"
    try:
        call("netns", "add", switch)
    except RuntimeError as error:
        pytest.skip(f"network namespaces can't be made here: {error}")
    hosts: list[Host] = []
    try:
        try:
            call("-n", switch, "link", "add", "bridge", "type", "bridge")
            call("-n", switch, "link", "set", "bridge", "up")
            for number in range(count):
                hosts.append(Host(network, number))  # noqa: PERF401  (removed one by one)
        except RuntimeError as error:
            pytest.skip(f"network namespaces can't be connected here: {error}")
        yield hosts
    finally:
        for host in hosts:
            host.remove()
        call("netns", "del", switch)
