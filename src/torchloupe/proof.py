"""Proofs on runs of one's own: what differs between two, and whether a killed one resumes."""

import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torchloupe import checkpoint
from torchloupe.config import flatten
from torchloupe.errors import CheckpointError, LoupeError
from torchloupe.run import find_run, read_events
from torchloupe.settings import from_json

SHARE_FROM_START = 0.2  # of the kills: any instant since the process began, imports included


@dataclass(frozen=True)
class Difference:
    """How two runs differ; a step is None where nothing differs."""

    settings: Mapping[str, tuple[Any, Any]]
    first_loss_step: int | None
    first_weights_step: int | None
    compared_steps: int
    lone_steps: int  # steps that only one of the two logged
    last_steps: tuple[int | None, int | None]  # of the newest sound checkpoints
    final: Mapping[str, bool] = field(default_factory=dict)  # part of the last state: equal?

    @property
    def is_none(self) -> bool:
        """Whether the same steps were done with the same losses and weights to the last bit."""
        return (
            self.first_loss_step is None
            and self.first_weights_step is None
            and self.compared_steps > 0
            and self.lone_steps == 0
            and bool(self.final)
            and all(self.final.values())
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"equal": self.is_none, **asdict(self)}


def compare_runs(one: str | Path, other: str | Path) -> Difference:
    """Settings that differ, the first step where losses or weights part, and the last states.

    Only steps that both runs logged are compared; the last states only where both are of the
    same step.
    """
    first, second = find_run(Path(one)), find_run(Path(other))
    settings = [flatten(from_json(path / "config.json")[0]) for path in (first, second)]
    differing = {
        name: (settings[0][name], settings[1][name])
        for name in settings[0]
        if settings[0][name] != settings[1][name]
    }
    logs = [
        {event["step"]: event for event in read_events(path) if "train_loss" in event}
        for path in (first, second)
    ]
    shared = sorted(set(logs[0]) & set(logs[1]))

    def first_parting(key: str) -> int | None:
        return next((s for s in shared if logs[0][s].get(key) != logs[1][s].get(key)), None)

    last = [_hash_last_state(path) for path in (first, second)]
    is_same_step = last[0][0] is not None and last[0][0] == last[1][0]
    return Difference(
        settings=differing,
        first_loss_step=first_parting("train_loss"),
        first_weights_step=first_parting("weights"),
        compared_steps=len(shared),
        lone_steps=len(set(logs[0]) ^ set(logs[1])),
        last_steps=(last[0][0], last[1][0]),
        final={
            name: last[0][1].get(name) == last[1][1].get(name)
            for name in {**last[0][1], **last[1][1]}
            if is_same_step
        },
    )


def _hash_last_state(run: Path) -> tuple[int | None, dict[str, str]]:
    """The step of the newest sound checkpoint and the SHA-256 of its parts."""
    try:
        trees = checkpoint.read_newest(run / "checkpoints")[0]
    except CheckpointError:
        return None, {}
    parts = ("model", "average", "optimizer")
    hashes = {name: checkpoint.hash_tensors(trees[name]) for name in parts if name in trees}
    return int(trees["state"]["step"]), hashes


@dataclass(frozen=True)
class Trial:
    """One killed and resumed run, compared with the uninterrupted one."""

    kills: int
    resumed: bool
    bit_equal: bool
    stray_files: tuple[str, ...]
    problem: str = ""

    @property
    def is_exact(self) -> bool:
        """Whether it ended as if nobody had killed it."""
        return self.resumed and self.bit_equal and not self.stray_files


@dataclass(frozen=True)
class Verdict:
    """What `verify_resume` found."""

    trials: Sequence[Trial]
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
) -> Verdict:
    """Kill real runs with SIGKILL at random instants, resume them, and compare every bit.

    `arguments` are those of `loupe train`, DATA first. One run is left alone; others are killed
    `kills_per_run` times each until `kills` were sent: one in five at any instant from the start
    of the process on, the rest while training, saving or judging. Everything is kept in `folder`,
    which has to be new or empty.
    """
    start = time.perf_counter()
    chance = random.Random(seed)
    reference = folder / "uninterrupted"
    tell("a run that is left alone")
    whole_seconds, busy_seconds = _time_reference(_train_command(arguments, reference), reference)
    arguments = [*_repeat_measured(reference), *arguments]
    trials: list[Trial] = []
    sent = 0
    while sent < kills:
        run = folder / f"killed-{len(trials) + 1:03d}"
        wanted = min(kills - sent, kills_per_run)
        instants = [
            (False, chance.uniform(0, whole_seconds))
            if chance.random() < SHARE_FROM_START
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
    return Verdict(trials, time.perf_counter() - start)


def _repeat_measured(run: Path) -> list[str]:
    """Options for the ways of computing that `run` measured: another run might choose others."""
    config, sources = from_json(run / "config.json")
    return [
        word
        for name, value in flatten(config).items()
        if sources[name] == "measured" and name.startswith("hardware.")
        for word in ("--set", f"{name}={value}")
    ]


def _time_reference(command: Sequence[str], run: Path) -> tuple[float, float]:
    """Seconds that a whole run takes, and those of them after its settings were written."""
    began, start = time.time(), time.perf_counter()
    _finish(command)
    whole = time.perf_counter() - start
    return whole, max(whole - ((run / "config.json").stat().st_mtime - began), 0.1)


def _kill_and_compare(
    arguments: Sequence[str],
    run: Path,
    reference: Path,
    instants: Sequence[tuple[bool, float]],
) -> Trial:
    sent = 0
    try:
        for is_busy, seconds in instants:
            if not _kill_after(_next_command(arguments, run), seconds, run if is_busy else None):
                break  # it finished before it could be killed
            sent += 1
        _finish(_next_command(arguments, run))
        difference = compare_runs(reference, run)
    except LoupeError as error:
        return Trial(sent, resumed=False, bit_equal=False, stray_files=(), problem=error.message)
    stray = tuple(str(path.relative_to(run)) for path in run.rglob(".*"))
    return Trial(sent, resumed=True, bit_equal=difference.is_none, stray_files=stray)


def _next_command(arguments: Sequence[str], run: Path) -> list[str]:
    """What goes on with `run`: a resume, or, where it was killed before it began, the start."""
    if not (run / "config.json").is_file():
        return _train_command(arguments, run)
    return [sys.executable, "-m", "torchloupe", "resume", "--trust-code", "--quiet", str(run)]


def _train_command(arguments: Sequence[str], run: Path) -> list[str]:
    return [sys.executable, "-m", "torchloupe", "train", "--quiet", "--out", str(run), *arguments]


def _finish(command: Sequence[str]) -> None:
    """Run a command to its end; its own error, with its exit code, where it fails."""
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
    """SIGKILL a command and all it started after `seconds`; False where it had ended before.

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
