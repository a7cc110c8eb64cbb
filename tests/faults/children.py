"""Processes for tests: `loupe` and Python programs in children of a server that has torch loaded.

A real process, a real SIGKILL, and no five seconds of imports for each. What is about starting
itself (imports, memory, threads of the interpreter) needs an interpreter of its own instead.
`warm_starts` does the same for the runs that `verify-resume` starts.
"""

import contextlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["pytest", "torchloupe.train.start", "torchloupe.studies.resume_proof", "torchloupe.cli.main"]
)


class Child:
    """A running command, in a process group of its own; what it says lands in a file."""

    def __init__(
        self,
        arguments: Sequence[str],
        said: Path,
        before: Callable[[], Any] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.said = said
        given = (list(arguments), said, before, dict(variables or {}))
        self._process = _SERVER.Process(target=_be_loupe, args=given)
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

    def join(self, timeout: float | None = None) -> bool:
        """Wait for its end for as long as `timeout`; whether it came."""
        self._process.join(timeout)
        return not self._process.is_alive()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.is_alive()


def _become_a_program(out: Path, err: Path) -> None:
    """As in a program that is started: the fork server ignores Ctrl-C, and hands itself down."""
    import torch

    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    multiprocessing.set_start_method(None, force=True)
    for path, stream in ((out, sys.stdout), (err, sys.stderr)):
        with path.open("ab", buffering=0) as file:
            os.dup2(file.fileno(), stream.fileno())
    torch.set_num_threads(1)


def _be_loupe(
    arguments: list[str],
    said: Path,
    before: Callable[[], Any] | None,
    variables: Mapping[str, str],
) -> None:
    from torchloupe.cli.main import run

    os.environ.update(variables)
    _become_a_program(said, said)
    if before is not None:
        before()
    code = run(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class Program:
    """`subprocess.Popen` of `python -m torchloupe ARGUMENTS`, as a Child."""

    def __init__(self, command: Sequence[str], **_: Any) -> None:
        self.args = list(command)
        self._folder = tempfile.TemporaryDirectory(prefix="loupe-program-")
        self._child = Child(self.args[3:], Path(self._folder.name, "said"))
        self.pid = self._child.pid
        with contextlib.suppress(ProcessLookupError):
            while self._child.is_running and os.getpgid(self.pid) != self.pid:
                time.sleep(0.001)  # it isn't in its own process group yet

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return None if self._child.is_running else self._child.end()

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has one."""
        if not self._child.join(timeout):
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        code = self._child.end()
        self._folder.cleanup()
        return code


def run_program(command: Sequence[str], **_: Any) -> subprocess.CompletedProcess[str]:
    """`subprocess.run` of `python -m torchloupe ARGUMENTS`, in a child."""
    return run_python(["-m", "torchloupe", *command[3:]])


def warm_starts() -> SimpleNamespace:
    """A stand-in for `subprocess` in `studies.resume_proof`, whose runs have torch loaded."""
    return SimpleNamespace(
        **{**vars(subprocess), "Popen": Program, "run": run_program},
    )


def run_loupe(
    arguments: Sequence[str], said: Path, before: Callable[[], Any] | None = None
) -> tuple[int, str]:
    """Run a command to its end: exit code, and all it said."""
    said.unlink(missing_ok=True)
    code = Child(arguments, said, before).end()
    return code, said.read_text(errors="replace")


def run_python(
    arguments: Sequence[str],
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float = 300,
) -> subprocess.CompletedProcess[str]:
    """What `python ARGUMENTS` does and says, with torch loaded already: a script, -c or -m.

    With one thread, in `folder`, with the variables of `environment` in place of this process's.
    """
    place = (str(folder or Path.cwd()), dict(os.environ if environment is None else environment))
    with tempfile.TemporaryDirectory(prefix="loupe-tests-") as kept:
        out, err = Path(kept, "out"), Path(kept, "err")
        process = _SERVER.Process(target=_be_python, args=(list(arguments), *place, out, err))
        process.start()
        process.join(timeout)
        if process.is_alive():
            os.killpg(process.pid or 0, signal.SIGKILL)
            process.join()
            raise TimeoutError(f"still running after {timeout} s: {err.read_text()}")
        assert process.exitcode is not None
        said = [path.read_text(errors="replace") for path in (out, err)]
    return subprocess.CompletedProcess(list(arguments), process.exitcode, *said)


def _move(folder: str, environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)


def _be_python(
    arguments: list[str], folder: str, environment: dict[str, str], out: Path, err: Path
) -> None:
    _become_a_program(out, err)
    _move(folder, environment)
    first, *rest = arguments
    is_script = first not in ("-c", "-m")
    sys.argv = arguments if is_script else [first, *rest[1:]]
    sys.path.insert(0, str(Path(first).resolve().parent) if is_script else folder)
    code: object = 0
    try:
        if first == "-m" and rest[:2] == ["torchloupe", "verify-resume"]:
            from torchloupe.studies import resume_proof

            resume_proof.subprocess = warm_starts()  # type: ignore[assignment]
        if is_script:
            runpy.run_path(first, run_name="__main__")
        elif first == "-m":
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        else:
            exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as error:
        code = error.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code if isinstance(code, int) else 0)


class Interpreter:
    """A child that runs pieces of code one after another, in one namespace."""

    def __init__(self, folder: Path, environment: Mapping[str, str], out: Path, err: Path) -> None:
        self._pipe, there = _SERVER.Pipe()
        place = (str(folder), dict(environment))
        self._process = _SERVER.Process(target=_be_interpreter, args=(there, *place, out, err))
        self._process.start()
        there.close()

    def run(self, code: str, file: str, line: int, timeout: float = 300) -> int:
        """Run code that stands in a file from `line` on; 0, or the exit code where it failed."""
        self._pipe.send((code, file, line))
        if not self._pipe.poll(timeout):
            os.killpg(self._process.pid or 0, signal.SIGKILL)
            raise TimeoutError(f"{file}:{line}: still running after {timeout} s")
        with contextlib.suppress(EOFError):
            self._pipe.recv()
            return 0
        self._process.join()
        return self._process.exitcode or 1

    def end(self) -> None:
        """Let it come to its end."""
        with contextlib.suppress(BrokenPipeError):
            self._pipe.send(None)
        self._process.join()
        self._pipe.close()


def _be_interpreter(
    pipe: Any, folder: str, environment: dict[str, str], out: Path, err: Path
) -> None:
    _become_a_program(out, err)
    _move(folder, environment)
    sys.path.insert(0, folder)
    space = {"__name__": "__main__"}
    while (piece := pipe.recv()) is not None:
        code, file, line = piece
        try:
            exec(compile("\n" * (line - 1) + code, file, "exec"), space)
        except BaseException:
            traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            sys.exit(1)
        pipe.send(True)


def run_function(target: Callable[..., Any], *arguments: Any) -> int:
    """Call a function in a child; its exit code, negative for the signal that ended it."""
    return run_functions([partial(target, *arguments)])[0]


def run_functions(targets: Sequence[Callable[[], Any]]) -> list[int]:
    """Call functions in children at the same time; their exit codes."""
    processes = [_SERVER.Process(target=target) for target in targets]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert None not in codes, codes
    return [int(code or 0) for code in codes]


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
