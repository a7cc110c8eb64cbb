"""A proof of exact resume on the user's own run: killed, resumed, and compared bit for bit."""

import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torchloupe.config.schema import flatten
from torchloupe.config.settings import read_settings
from torchloupe.errors import LoupeError
from torchloupe.studies.difference import compare_runs

FRACTION_FROM_START = 0.2  # of the kills: any instant since the process began, imports included


@dataclass(frozen=True)
class KilledRun:
    """One killed and resumed run, compared with the uninterrupted one."""

    kills: int
    resumed: bool
    bit_equal: bool
    stray_files: tuple[str, ...]
    problem: str = ""

    @property
    def is_exact(self) -> bool:
        """Whether it ended as an uninterrupted run does."""
        return self.resumed and self.bit_equal and not self.stray_files


@dataclass(frozen=True)
class ResumeProof:
    """The result of `verify_resume`."""

    trials: Sequence[KilledRun]
    seconds: float

    @property
    def kills(self) -> int:
        """How many SIGKILLs were sent in all."""
        return sum(trial.kills for trial in self.trials)

    @property
    def is_exact(self) -> bool:
        """Whether runs were killed, and every one ended bit-equal, with no stray file."""
        return self.kills > 0 and all(trial.is_exact for trial in self.trials)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "kills": self.kills,
            "exact": self.is_exact,
            "seconds": self.seconds,
            "trials": [asdict(trial) for trial in self.trials],
        }


def verify_resume(
    arguments: Sequence[str],
    folder: Path,
    *,
    kills: int = 20,
    kills_per_run: int = 4,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _: None,
) -> ResumeProof:
    """Kill real runs with SIGKILL at random instants, resume them, and compare every bit.

    `arguments` are those of `loupe train`, DATA first. One run is undisturbed; others are killed
    `kills_per_run` times each until `kills` were sent: one in five at any time after the start of
    the process, the rest while training, saving or validating. Everything is kept in `folder`,
    which must be new or empty.
    """
    start = time.perf_counter()
    chance = random.Random(seed)
    if not any(word.startswith("train.report=") for word in arguments):
        arguments = [*arguments, "--set", "train.report=false"]  # seconds in which nothing is lost
    reference = folder / "uninterrupted"
    tell("an uninterrupted run")
    whole_seconds, busy_seconds = _time_reference(_train_command(arguments, reference), reference)
    arguments = [*_repeat_measured(reference), *arguments]
    trials: list[KilledRun] = []
    sent = 0
    while sent < kills:
        run = folder / f"killed-{len(trials) + 1:03d}"
        wanted = min(kills - sent, kills_per_run)
        instants = [
            (False, chance.uniform(0, whole_seconds))
            if chance.random() < FRACTION_FROM_START
            else (True, chance.uniform(0, busy_seconds))
            for _ in range(wanted)
        ]
        trial = _kill_and_compare(arguments, run, reference, instants)
        trials.append(trial)
        sent += trial.kills
        word = "bit-equal" if trial.is_exact else trial.problem or "different"
        tell(f"{sent} of {kills} kills: {word}")
        if not trial.resumed or (trial.kills == 0 and len(trials) > kills):
            break  # it goes on failing, or ends before it can be killed
    return ResumeProof(trials, time.perf_counter() - start)


def _repeat_measured(run: Path) -> list[str]:
    """Options that pin what `run` measured: another run might measure otherwise."""
    settings = read_settings(run / "config.json")
    return [
        word
        for name, value in flatten(settings.config).items()
        if settings.origin(name) == "measured" and name.startswith("hardware.")
        for word in ("--set", f"{name}={value}")
    ]


def _time_reference(command: Sequence[str], run: Path) -> tuple[float, float]:
    """Seconds of a whole run, and of the part after its settings were written."""
    began, start = time.time(), time.perf_counter()
    _finish(command)
    whole = time.perf_counter() - start
    return whole, max(whole - ((run / "config.json").stat().st_mtime - began), 0.1)


def _kill_and_compare(
    arguments: Sequence[str],
    run: Path,
    reference: Path,
    instants: Sequence[tuple[bool, float]],
) -> KilledRun:
    sent = 0
    try:
        for is_busy, seconds in instants:
            if not _kill_after(_next_command(arguments, run), seconds, run if is_busy else None):
                break  # it finished before it could be killed
            sent += 1
        _finish(_next_command(arguments, run))
        difference = compare_runs(reference, run)
    except LoupeError as error:
        return KilledRun(
            sent, resumed=False, bit_equal=False, stray_files=(), problem=error.message
        )
    stray = tuple(str(path.relative_to(run)) for path in run.rglob(".*"))
    return KilledRun(sent, resumed=True, bit_equal=difference.is_none, stray_files=stray)


def _next_command(arguments: Sequence[str], run: Path) -> list[str]:
    """The command that continues `run`: a resume, or the start if it was killed before that."""
    if not (run / "config.json").is_file():
        return _train_command(arguments, run)
    return [sys.executable, "-m", "torchloupe", "resume", "--trust-code", "--quiet", str(run)]


def _train_command(arguments: Sequence[str], run: Path) -> list[str]:
    return [sys.executable, "-m", "torchloupe", "train", "--quiet", "--out", str(run), *arguments]


def _finish(command: Sequence[str]) -> None:
    """Run a command to its end; raises its error, with its exit code, if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
    if done.returncode:
        raise _error_of(done)


def _error_of(done: subprocess.CompletedProcess[str]) -> LoupeError:
    """The error that a command printed, to be raised again."""
    said = {
        label: text
        for label, _, text in (line.partition(": ") for line in done.stderr.splitlines())
        if label in ("error", "hint")
    }
    kinds = {kind.exit_code: kind for kind in LoupeError.__subclasses__()}
    return kinds.get(done.returncode, LoupeError)(
        said.get("error") or f"a run ended with exit code {done.returncode}",
        said.get("hint") or f"run it yourself: {shlex.join(done.args)}",
    )


def _kill_after(command: Sequence[str], seconds: float, run: Path | None) -> bool:
    """SIGKILL a command and all it started after `seconds`; False if it had ended before.

    With `run` the time counts from when the command has begun to work on that run folder.
    """
    before = _stamp(run)
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        while run is not None and _stamp(run) == before and process.poll() is None:
            time.sleep(0.005)
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return True
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return False


def _stamp(run: Path | None) -> tuple[int, int] | None:
    """Changes when a process starts or goes on with the run: it writes config.json anew."""
    try:
        stat = (run / "config.json").stat() if run else None
    except FileNotFoundError:
        return None
    return (stat.st_mtime_ns, stat.st_ino) if stat else None
