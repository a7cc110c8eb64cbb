"""What the ledger of training samples costs: its share of the time of `train`, by a profile.

    python benchmarks/ledger.py [DATA] [--model cnn] [--epochs 10]

A share of one run doesn't suffer from what else the machine does meanwhile, as two timed runs do.
"""

import argparse
import cProfile
import pstats
import tempfile
from pathlib import Path

from torchloupe.train.start import train


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", nargs="?", default="digits")
    parser.add_argument("--model", default="cnn")
    parser.add_argument("--epochs", type=float, default=10)
    parser.add_argument("--detail", action="store_true", help="also each function")
    chosen = parser.parse_args()
    profile = cProfile.Profile()
    with tempfile.TemporaryDirectory() as place:
        settings = {"model.name": chosen.model, "train.epochs": chosen.epochs}
        profile.runcall(train, chosen.data, settings, out=Path(place) / "run")
    seconds = {}
    for (file, _, name), facts in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        if file.endswith("run/ledger.py") and name in ("add", "flush"):
            seconds[name] = facts[3]
        if file.endswith("train/loop.py") and name == "train":
            seconds["loop"] = facts[3]
    if chosen.detail:
        pstats.Stats(profile).sort_stats("cumtime").print_stats("ledger.py")
    ledger = seconds["add"] + seconds["flush"]
    print(f"loop {seconds['loop']:.2f} s, of it the ledger {ledger:.3f} s: ", end="")
    print(f"{ledger / seconds['loop']:.2%}")


if __name__ == "__main__":
    main()
