"""What the checks cost: of `loupe train`, with them over without, and of `loupe check` alone.

    python benchmarks/checks.py [--data digits] [--model cnn] [--repeats 5]

Each command is a process of its own, taken in turns. The share is that of the checks in the time of
one run, by a profile, which doesn't suffer from what else the machine does meanwhile.
"""

import argparse
import cProfile
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from table import Table, ratio
from turns import Answer, Failure, answer, ask, in_turns, spread_of

from torchloupe.train.start import train

GOAL, SECONDS = 1.01, 12.0  # of a run with checks over one without; of `loupe check`
# The functions through which a run calls its checks, by the end of their file.
ENTRIES = (
    ("prepare/verdicts.py", ("judge_data", "judge_start")),
    ("train/verdicts.py", ("follow_training", "end_training", "judge_results")),
    ("checks/training.py", ("record",)),
    ("trained/suspects.py", ("write_suspects",)),
)


def measure(command: list[str]) -> Answer:
    """Seconds and processor seconds of one `loupe` command, from start to end."""
    with tempfile.TemporaryDirectory() as place:
        out = ["--out", f"{place}/run"] if command[0] == "train" else []
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "torchloupe", *command, *out, "--quiet"],
            check=True,
            cwd=place,  # no module of this folder takes the place of a library
            stdout=subprocess.DEVNULL,
        )
        seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime}


def make_table(data: str, model: str, repeats: int) -> Table:
    """The seconds of each command, and what the checks add."""
    commands = {
        "train, no checks": ["train", data, "--set", "check.level=off"],
        "train": ["train", data],
        "check": ["check", data, "--model", model],
    }
    cases = {name: {"command": command} for name, command in commands.items()}
    found = in_turns({name: partial(ask, __file__, case) for name, case in cases.items()}, repeats)
    table = Table("checks", f"checks of {data}", ("command", "seconds", "processor seconds"))
    for name, given in found.items():
        if isinstance(given, Failure):
            table.add(name, f"failed: {given.reason}", "")
            continue
        table.add(
            name, spread_of(given, "seconds").show(2), spread_of(given, "cpu_seconds").show(2)
        )
    one, other = found["train"], found["train, no checks"]
    if not isinstance(one, Failure) and not isinstance(other, Failure):
        for what in ("seconds", "cpu_seconds"):
            share = ratio(spread_of(one, what), spread_of(other, what))
            table.expect(
                f"{what} over those without checks", f"{GOAL}", f"{share:.3f}", share <= GOAL
            )
    alone = found["check"]
    if not isinstance(alone, Failure):
        seconds = spread_of(alone, "seconds").median
        table.expect(
            "seconds of loupe check on two cores",
            f"{SECONDS:g}",
            f"{seconds:.1f}",
            seconds <= SECONDS,
        )
    return table


def find_share(data: str) -> tuple[float, float]:
    """The seconds of a run, and those of its checks, by a profile."""
    profile = cProfile.Profile()
    with tempfile.TemporaryDirectory() as place:
        profile.runcall(train, data, {}, out=Path(place) / "run")
    whole = checks = 0.0
    for (file, _, name), facts in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        if file.endswith("train/start.py") and name == "train":
            whole = facts[3]
        if any(file.endswith(end) and name in names for end, names in ENTRIES):
            checks += facts[3]
    return whole, checks


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--model", default="cnn", help="of `loupe check`")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--share", action="store_true", help="the profile alone")
    chosen = parser.parse_args()
    if not chosen.share:
        print(make_table(chosen.data, chosen.model, chosen.repeats).to_markdown())
    whole, checks = find_share(chosen.data)
    print(f"one run takes {whole:.2f} s, its checks {checks:.3f} s: {checks / whole:.2%}")


if __name__ == "__main__" and not answer(measure):
    main()
