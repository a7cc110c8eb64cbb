"""Processes to kill: `loupe` commands in children forked from a server that has torch loaded.

A real process, a real SIGKILL, and no five seconds of imports for each.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["pytest", "torchloupe.train.start", "torchloupe.studies.resume_proof", "torchloupe.cli.main"]
)


class Child:
    """A running command, in a process group of its own; what it says lands in a file."""

    def __init__(
        self, arguments: Sequence[str], said: Path, before: Callable[[], Any] | None = None
    ) -> None:
        self.said = said
        self._process = _SERVER.Process(target=_be_loupe, args=(list(arguments), said, before))
        self._process.start()
        self.pid: int = self._process.pid or 0

    def send(self, number: int) -> None:
        """Send a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> bool:
        """SIGKILL; False where it had ended before."""
        was_running = self._process.is_alive()
        if was_running:
            os.kill(self.pid, signal.SIGKILL)
        self.end()
        return was_running

    def end(self, timeout: float = 120) -> int:
        """Wait for its end; the exit code, negative for the signal that ended it."""
        self._process.join(timeout)
        if self._process.is_alive():
            os.kill(self.pid, signal.SIGKILL)
            self._process.join()
            raise TimeoutError(f"still running after {timeout} s: {self.said.read_text()}")
        code = self._process.exitcode
        assert code is not None
        return code

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.is_alive()


def _be_loupe(arguments: list[str], said: Path, before: Callable[[], Any] | None) -> None:
    os.setsid()
    # As in a program that is started: the fork server ignores Ctrl-C, and hands itself down.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    multiprocessing.set_start_method(None, force=True)
    with said.open("ab", buffering=0) as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    import torch

    from torchloupe.cli.main import run

    torch.set_num_threads(1)
    if before is not None:
        before()
    code = run(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run_loupe(
    arguments: Sequence[str], said: Path, before: Callable[[], Any] | None = None
) -> tuple[int, str]:
    """Run a command to its end: exit code, and all it said."""
    said.unlink(missing_ok=True)
    code = Child(arguments, said, before).end()
    return code, said.read_text(errors="replace")


def run_function(target: Callable[..., Any], *arguments: Any) -> int:
    """Call a function in a child; its exit code, negative for the signal that ended it."""
    process = _SERVER.Process(target=target, args=arguments)
    process.start()
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode


def wait_until(is_so: Callable[[], bool], child: Child, seconds: float = 60) -> bool:
    """Wait until something is so; False where the child ended first."""
    end = time.monotonic() + seconds
    while not is_so():
        if not child.is_running:
            return is_so()
        if time.monotonic() > end:
            raise TimeoutError("it never became so")
        time.sleep(0.001)
    return True


def processes_of_group(group: int) -> list[int]:
    """Processes that are still there of a group (a child and what it started)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            state, _, pgrp = path.read_text().rpartition(")")[2].split()[:3]
            if int(pgrp) == group and state != "Z":
                found.append(int(path.parent.name))
    return found
