"""Whether number formats agree: test accuracy on scikit-learn's digits in fp32, bf16 and fp16.

    python benchmarks/precision.py

`loupe train digits --folds 5` in each format that the device has instructions for, with the same
seed and so the same folds and the same weights to begin with: every image is judged once, by a
model that has not seen it. About 2 minutes.
"""

import itertools
import statistics
import tempfile
from pathlib import Path

from table import Table
from turns import Failure, Spread, run_loupe, say

from torchloupe.hardware.device import choose_device
from torchloupe.hardware.precision import formats_of

FORMATS = ("fp32", "bf16", "fp16")
SLOW = "slow"  # what `loupe info` says of a format without instructions: ten times slower, here
GOAL_POINTS = 0.5


def make_table(repeats: int = 5, *, quick: bool = False) -> Table:
    """A row a format, of as many folds as `repeats`."""
    table = Table(
        "precision",
        f"Test accuracy on digits over {repeats} folds, the same seed",
        ("", "mean (lowest..highest fold)", "away from fp32, points", "seconds of training"),
    )
    means: dict[str, float] = {}
    known = formats_of(choose_device().device)
    formats = [name for name in FORMATS if SLOW not in known.get(name, SLOW)]
    for name in formats:
        say(f"digits in {name}")
        found = train_folds(name, repeats, quick=quick)
        if isinstance(found, Failure):
            table.add(name, f"failed: {found.reason}", "", "")
            continue
        accuracy, seconds = found
        means[name] = 100 * statistics.mean(accuracy.values)
        gap = f"{means[name] - means['fp32']:+.2f}" if "fp32" in means else ""
        span = accuracy.show(2, 100).partition(" ")[2]
        table.add(name, f"{means[name]:.2f} % {span}", gap, f"{sum(seconds.values):.0f}")
    if left_out := set(FORMATS) - set(formats):
        table.notes.append(f"no instructions here for {', '.join(sorted(left_out))}")
    if len(means) == len(formats) > 1:
        worst = max(abs(a - b) for a, b in itertools.combinations(means.values(), 2))
        met = worst <= GOAL_POINTS
        table.expect("any two formats", f"within {GOAL_POINTS} points", f"{worst:.2f}", met)
    return table


def train_folds(name: str, folds: int, *, quick: bool) -> tuple[Spread, Spread] | Failure:
    """Test accuracy and seconds of each fold."""
    words = ["train", "digits", "--folds", folds, "--precision", name, "--seed", 0]
    with tempfile.TemporaryDirectory() as folder:
        words += [*(("--epochs", 1) if quick else ()), "--out", Path(folder) / "runs"]
        found = run_loupe(*words)
    if isinstance(found, Failure):
        return found
    runs = found["runs"]
    return (
        Spread(tuple(run["accuracy"] for run in runs)),
        Spread(tuple(run["seconds"] for run in runs)),
    )


if __name__ == "__main__":
    print(make_table().to_markdown())
