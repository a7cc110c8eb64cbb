"""What a sweep was asked for, in OUT/sweep.json: written once, so that any process can join."""

import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchloupe.config.settings import Settings, read_settings
from torchloupe.errors import UsageError, did_you_mean, printable
from torchloupe.run.json_files import read_json, write_json
from torchloupe.run.places import SWEEP
from torchloupe.studies.sweep.space import Space, read_dimension

FORMAT = 1
PRUNERS = ("asha", "hyperband", "none")
DEFAULT_TRIALS = 20  # where neither a number nor minutes were given
CONFIG = "config.json"  # the settings that all trials share


@dataclass(frozen=True)
class Plan:
    """How many trials of what, how they are chosen and cut short, and where they are recorded."""

    name: str  # of the study in the database
    space: Space
    seed: int
    monitor: str
    trials: int  # at most; 0: as many as the minutes allow
    minutes: float  # for the search; 0 is off
    repeat: int  # further seeds of the best settings; 0 is off
    prune: str
    storage: str  # "" for the journal in the folder; or a PostgreSQL address

    @property
    def minimises(self) -> bool:
        """Whether a lower value is better."""
        return self.monitor.endswith("loss")

    @property
    def direction(self) -> str:
        """Where Optuna looks for the best value."""
        return "minimize" if self.minimises else "maximize"

    def is_better(self, value: float, other: float) -> bool:
        """Whether one validation value is better than another."""
        return value < other if self.minimises else value > other


def make_name(folder: Path) -> str:
    """A name for a study that no other sweep has, in a database that several share."""
    return f"{folder.resolve().name[:40]}-{secrets.token_hex(4)}"


def refuse_unknown(prune: str, storage: str) -> None:
    """UsageError for a way of pruning or an address that a sweep doesn't know."""
    if prune not in PRUNERS:
        raise UsageError(f"--prune {printable(prune)} is unknown", did_you_mean(prune, PRUNERS))
    if not storage:
        return
    scheme, _, rest = storage.partition("://")
    if scheme not in ("postgresql", "postgres"):
        raise UsageError(
            f"--storage {printable(scheme)} is unknown",
            "give postgresql://USER@HOST/DATABASE, or leave it out for a journal file in OUT",
        )
    if re.match(r"[^/@]*:[^/@]*@", rest):
        raise UsageError(
            "--storage holds a password, which sweep.json would keep in clear text",
            "leave it out of the address and set PGPASSWORD, or write it to ~/.pgpass",
        )


def write_plan(folder: Path, plan: Plan, settings: Settings) -> None:
    """Write sweep.json, whole or not at all; with it the folder is a sweep."""
    content = {
        "format": FORMAT,
        **{name: value for name, value in vars(plan).items() if name != "space"},
        "space": [dimension.as_json() for dimension in plan.space],
        "config": settings.to_json(),
    }
    write_json(folder / SWEEP, content)


def read_plan(folder: Path) -> tuple[Plan, Settings]:
    """The plan in `folder`, and the settings that all trials share."""
    content: dict[str, Any] = read_json(folder / SWEEP)
    if content.get("format") != FORMAT:
        raise UsageError(
            f"{printable(folder / SWEEP)} has format {printable(content.get('format'))}; this "
            f"version reads format {FORMAT}",
            "use the torchloupe version that wrote it",
        )
    config = content.pop("config")
    if not (folder / CONFIG).is_file():  # the process that began it was killed between the two
        write_json(folder / CONFIG, config)
    del content["format"]
    content["space"] = tuple(read_dimension(each) for each in content["space"])
    return Plan(**content), read_settings(folder / CONFIG)
