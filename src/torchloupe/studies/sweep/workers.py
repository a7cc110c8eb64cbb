"""Several workers on this machine: the command `loupe resume OUT`, started several times."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from torchloupe.errors import ResourceError, printable
from torchloupe.studies.sweep.book import COMPLETE, Book
from torchloupe.studies.sweep.plan import Plan
from torchloupe.studies.sweep.results import RESULTS
from torchloupe.system.limits import usable_cores
from torchloupe.units import format_seconds

POLL_SECONDS = 0.5
_PARENT = "TORCHLOUPE_SWEEP_PARENT"  # the process that a worker ends with
_PR_SET_PDEATHSIG = 1  # of Linux


def run_workers(folder: Path, plan: Plan, count: int, tell: Callable[[str], None]) -> None:
    """Run `count` workers to the end of the sweep; ResourceError if all of them end before.

    Each gets its share of the cores, and a GPU of its own where there are several. A signal to
    this process is passed on to them.
    """
    processes = [start_worker(folder, number, count) for number in range(count)]
    book, told, lost = Book(plan, folder), set[int](), set[int]()
    try:
        running = True
        while running:
            time.sleep(POLL_SECONDS)
            running = any(process.poll() is None for process in processes)
            for trial in book.trials():
                if not trial.is_running and trial.number not in told:
                    told.add(trial.number)
                    result = f"{trial.value:.4f}" if trial.state == COMPLETE else trial.reason
                    seconds = format_seconds(trial.seconds)
                    tell(f"trial {trial.number + 1}: {printable(result)} ({seconds})")
            for number, process in enumerate(processes):
                if process.poll() and number not in lost:
                    lost.add(number)
                    tell(f"worker {number + 1} of {count} ended with {explain(process.returncode)}")
    except BaseException as stop:
        ask_to_end(processes, stop)
        raise
    if not (folder / RESULTS).is_file():
        raise ResourceError(
            f"all {count} workers ended before the sweep was done",
            f"see what they said above; then: loupe resume {printable(folder)}",
        )


def start_worker(folder: Path, number: int, count: int) -> subprocess.Popen[bytes]:
    """One worker in a session of its own, so that Ctrl-C reaches it through this process only."""
    environment = {**os.environ, _PARENT: str(os.getpid())}
    environment.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // count)))
    devices = torch.cuda.device_count()
    if devices > 1 and "CUDA_VISIBLE_DEVICES" not in environment:
        environment["CUDA_VISIBLE_DEVICES"] = str(number % devices)
    command = [sys.executable, "-m", "torchloupe", "resume", "--quiet", "--trust-code", str(folder)]
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def end_with_parent() -> None:
    """Have the kernel end this worker if the process that started it is killed (Linux only)."""
    parent = os.environ.get(_PARENT, "")
    if not parent or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it was gone before
        os.kill(os.getpid(), signal.SIGTERM)


def ask_to_end(processes: list[subprocess.Popen[bytes]], stop: BaseException) -> None:
    """Pass a stop on to the workers, and wait until each has written its checkpoint."""
    number = signal.SIGINT if isinstance(stop, KeyboardInterrupt) else signal.SIGTERM
    for process in processes:
        with suppress(ProcessLookupError):
            process.send_signal(number)
    for process in processes:
        process.wait()


def explain(code: int) -> str:
    """How a process ended, in words."""
    if code < 0:
        return f"signal {-code} ({signal.Signals(-code).name})"
    return f"exit code {code}"
