"""A sweep of six tiny trials, and what must be equal in two sweeps of the same seed."""

import json
from pathlib import Path
from typing import Any

from torchloupe.studies.sweep.book import Book
from torchloupe.studies.sweep.plan import read_plan
from torchloupe.studies.sweep.start import Wish

SETTINGS = {
    "train.epochs": 2,
    "model.name": "net",
    "hardware.threads": 1,
    "hardware.precision": "fp32",
    "train.report": False,
    "lens.samples": False,
    "lens.signals": False,
    "check.level": "off",
}
TRIES = {"optimizer.lr": "1e-4..1e-1:log", "train.batch_total": "64..256:log"}
WISH = Wish(TRIES, trials=6, repeat=2)


def told_of(folder: Path) -> tuple[list[Any], dict[str, Any]]:
    """Trials and results of a finished sweep, without the times."""
    plan, _ = read_plan(folder)
    trials = [
        (trial.number, trial.state, trial.values, trial.points, trial.value, trial.reason)
        for trial in Book(plan, folder).trials()
    ]
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return trials, {name: value for name, value in results.items() if name != "seconds"}
