"""Measurements in processes of their own, taken in turns.

A script asks itself: `ask` starts it again with one case as JSON, `answer` measures that case
there and prints numbers. Each measurement has a fresh interpreter, so that no library's threads,
hooks or imports touch another's figures; turns make a busy moment of the machine hit all alike.
"""

import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Case = Mapping[str, Any]  # keyword arguments of a script's `measure`
Answer = dict[str, Any]
MARK = "answer: "
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Spread:
    """Several measurements of one thing."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one: what tables show."""
        return statistics.median(self.values)

    def show(self, digits: int = 0, factor: float = 1.0) -> str:
        """`12.3 (11.9..13.0)`: the median, and the range from the lowest to the highest."""
        low, middle, high = (
            f"{factor * value:,.{digits}f}"
            for value in (min(self.values), self.median, max(self.values))
        )
        return f"{middle} ({low}..{high})"


@dataclass(frozen=True)
class Failure:
    """A case that could not be measured, and the last line of what it said."""

    reason: str


def answer(measure: Callable[..., Answer]) -> bool:
    """Measure the case that this process was started for; False where it was started by a person.

    The answer is a line of its own on stdout, whatever libraries print before and after.
    """
    if len(sys.argv) != 2 or not sys.argv[1].startswith("{"):
        return False
    found = measure(**json.loads(sys.argv[1]))
    print(f"\n{MARK}{json.dumps(found)}", flush=True)
    return True


def ask(script: str, case: Case, *, threads: int = 0, seconds: float = 3600) -> Answer | Failure:
    """What `script` answers for one case, in a process with `threads` OpenMP threads.

    `threads` 0 leaves the number to torch, whatever the caller's environment says.
    """
    environment = {k: v for k, v in os.environ.items() if k not in THREAD_VARIABLES}
    if threads:
        environment |= dict.fromkeys(THREAD_VARIABLES, str(threads))
    done = subprocess.run(
        [sys.executable, script, json.dumps(case)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode or not lines:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return Failure(said[-1][:200])
    found: Answer = json.loads(lines[-1].removeprefix(MARK))
    return found


def in_turns(
    cases: Mapping[str, Callable[[], Answer | Failure]], repeats: int, *, until: float = math.inf
) -> dict[str, list[Answer] | Failure]:
    """The answers of each case, asked `repeats` times in turns.

    Every round begins with another case. One that fails is not asked again. After the first, no
    round begins that would end later than `until` (of time.monotonic) if it took as long as the
    one before.
    """
    names = list(cases)
    answers: dict[str, list[Answer]] = {name: [] for name in names}
    failures: dict[str, Failure] = {}
    lasted = 0.0
    for number in range(repeats):
        begin = time.monotonic()
        if number and begin + lasted > until:
            say(f"the time is up after {number} of {repeats} rounds")
            break
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            if name in failures:
                continue
            say(f"round {number + 1} of {repeats}: {name}")
            found = cases[name]()
            if isinstance(found, Failure):
                failures[name] = found
                say(f"  {name} failed: {found.reason}")
            else:
                answers[name].append(found)
        lasted = time.monotonic() - begin
    return {name: failures.get(name, answers[name]) for name in names}


def best_case(script: str, cases: Sequence[Case], key: str) -> Case:
    """The case whose answer has the largest `key`, each asked once; RuntimeError if all fail.

    The `threads` of a case are those of its process.
    """
    best, highest, reason = None, float("-inf"), ""
    for case in cases:
        say(f"choosing: {describe(case)}")
        found = ask_with_threads(script, case)
        if isinstance(found, Failure):
            reason = found.reason
        elif found[key] > highest:
            best, highest = case, found[key]
    if best is None:
        raise RuntimeError(f"{Path(script).name}: no case could be measured ({reason})")
    return best


def ask_with_threads(script: str, case: Case) -> Answer | Failure:
    """`ask`, with the case's own `threads` (0: torch's choice) taken out of it."""
    rest = {name: value for name, value in case.items() if name != "threads"}
    return ask(script, rest, threads=case.get("threads", 0))


def run_loupe(*words: object) -> Answer | Failure:
    """What `loupe WORDS --json --quiet` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "torchloupe", *map(str, words), "--json", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return Failure(done.stderr.strip() or f"exit code {done.returncode}")
    found: Answer = json.loads(done.stdout)
    return found


def rounds_of(answers: Mapping[str, Sequence[Answer] | Failure]) -> int:
    """How many rounds `in_turns` made."""
    return max(
        (len(given) for given in answers.values() if not isinstance(given, Failure)), default=0
    )


def spread_of(answers: Sequence[Answer], key: str) -> Spread:
    """The spread of one number of several answers."""
    return Spread(tuple(float(found[key]) for found in answers))


def describe(case: Case) -> str:
    """A case as `name=value` words."""
    return " ".join(f"{name}={value}" for name, value in case.items())


def say(text: str) -> None:
    """Progress, on stderr: stdout is for the tables."""
    print(text, file=sys.stderr, flush=True)
