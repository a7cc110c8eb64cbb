"""Whether `loupe train --minutes M` ends on time: the command on Fashion-MNIST, by the clock.

    python benchmarks/minutes.py

Counted twice: what the run itself calls its training, and the whole command from its start to its
end, with imports, reading, the final test and writing. About 33 minutes for 5 repeats.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fashion import FOLDER
from table import Table
from turns import Answer, Failure, Spread, in_turns, spread_of

BUDGETS = (0.5, 1.0, 5.0)  # minutes
WITHIN = 0.05


def make_table(
    repeats: int = 5, *, quick: bool = False, budgets: tuple[float, ...] = BUDGETS
) -> Table:
    """A row a budget; repeat k has seed k."""
    table = Table(
        "minutes",
        "Ending on time: `loupe train fashion-mnist --minutes M`",
        ("M", "whole command, s", "off", "training, s", "off", "test accuracy", "epochs"),
    )
    budgets = (0.1,) if quick else budgets
    seeds = dict.fromkeys(map(str, budgets), -1)

    def run_next(name: str) -> Answer | Failure:
        seeds[name] += 1
        return measure(float(name), seeds[name])

    answers = in_turns({name: lambda name=name: run_next(name) for name in seeds}, repeats)
    for name, given in answers.items():
        if isinstance(given, Failure):
            table.add(name, f"failed: {given.reason}", *[""] * 5)
            continue
        whole, training = spread_of(given, "whole"), spread_of(given, "training")
        budget = 60 * float(name)
        table.add(
            name,
            *(whole.show(1), off(whole, budget), training.show(1), off(training, budget)),
            spread_of(given, "accuracy").show(2, 100),
            spread_of(given, "epochs").show(2),
        )
        worst = max(abs(seconds / budget - 1) for seconds in whole.values)
        table.expect(
            f"--minutes {name}, the whole command, worst of {len(given)}",
            f"within {WITHIN:.0%}",
            f"{worst:.1%}",
            worst <= WITHIN,
        )
    table.notes.append(f"n = {repeats}, seeds 0 and up, in turns; median (range)")
    return table


def off(seconds: Spread, budget: float) -> str:
    """By how much the median misses the budget."""
    return f"{seconds.median / budget - 1:+.1%}"


def measure(minutes: float, seed: int) -> Answer | Failure:
    """Seconds of the command and of its training, test accuracy, epochs."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        begin = time.perf_counter()
        done = subprocess.run(
            [
                *(sys.executable, "-m", "torchloupe", "train", str(FOLDER), "--quiet"),
                *("--minutes", str(minutes), "--seed", str(seed), "--out", str(out)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        whole = time.perf_counter() - begin
        if done.returncode:
            return Failure((done.stderr.strip().splitlines() or ["no reason given"])[0][:200])
        metrics = json.loads((out / "metrics.json").read_text())
        lines = (out / "events.jsonl").read_text().splitlines()
    return {
        "whole": whole,
        "training": metrics["train"]["seconds"],
        "accuracy": metrics["test"]["accuracy"],
        "epochs": max(json.loads(line).get("epoch", 0.0) for line in lines),
    }


if __name__ == "__main__":
    print(make_table().to_markdown())
