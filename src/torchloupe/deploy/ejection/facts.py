"""What an ejected file is made from: the settings, contract and images of a run.

The names and labels of the images come from the data, which have to be where they were; their
content and the split from what the run remembers of it.
"""

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
from numpy.typing import NDArray

from torchloupe.config.schema import Config
from torchloupe.config.settings import Settings, read_settings
from torchloupe.data.contract import Contract
from torchloupe.data.sources.source import Data
from torchloupe.data.split import split_samples
from torchloupe.errors import CheckpointError, LoupeError, UsageError, printable
from torchloupe.prepare.data import align_classes, open_source
from torchloupe.run.data_record import DataRecord
from torchloupe.run.events import read_events
from torchloupe.run.json_files import read_json
from torchloupe.run.places import find_run
from torchloupe.system.trust import trusted_name
from torchloupe.system.user_code import PYTHON_OBJECT, is_object_spec
from torchloupe.trained.run import read_contract


@dataclass(frozen=True, eq=False)
class Facts:
    """A run, read for ejection."""

    folder: Path
    settings: Settings
    contract: Contract
    data: Data  # opened now; its classes are those of the contract
    content: NDArray[np.uint64]  # [N] as the run remembers it; 0 for an image that it never saw
    left_out: tuple[str, ...]  # ids of images that can't be read
    parts: NDArray[np.int8]  # [N] 0, 1, 2 for train, val, test; -1 for images that are left out
    environment: dict[str, Any]
    events: list[dict[str, Any]]
    is_changed: bool  # whether the data are not those of the run any more

    @property
    def config(self) -> Config:
        """The values of the settings."""
        return self.settings.config

    @property
    def train_count(self) -> int:
        """How many images train."""
        return int((self.parts == 0).sum())

    @property
    def has_val(self) -> bool:
        """Whether there are validation images."""
        return bool((self.parts == 1).any())

    @property
    def has_test(self) -> bool:
        """Whether there are test images."""
        return bool((self.parts == 2).any())


def read_facts(folder: Path, *, trust_code: bool = False) -> Facts:
    """The facts of a run folder; refuses what no file can be written for.

    Raises UsageError where data or objects were passed from Python, DataError where the data are
    not where they were.
    """
    path = find_run(folder)
    settings, contract = read_settings(path / "config.json"), read_contract(path)
    config = settings.config
    refuse_objects(config)
    source = trusted_name(config.data.source, "data", path, trust_code)
    data = align_classes(open_source(config.data, source), contract.class_names)
    record = read_record(path)
    keys = data.samples.keys
    place = np.searchsorted(record.ids, keys).clip(max=max(len(record.ids) - 1, 0))
    known = record.ids[place] == keys if len(record.ids) else np.zeros(len(keys), dtype=np.bool_)
    left_out = read_left_out(path)
    facts = Facts(
        folder=path,
        settings=settings,
        contract=contract,
        data=data,
        content=np.where(known, record.content[place] if len(record.ids) else 0, 0),
        left_out=left_out,
        parts=np.zeros(len(keys), dtype=np.int8),
        environment=read_json(path / "environment.json"),
        events=read_events(path),
        is_changed=not known.all() or len(known) != len(record.ids),
    )
    return replace(facts, parts=_divide(facts))


def refuse_objects(config: Config) -> None:
    """UsageError for what only the script that trained the run has."""
    for what, name in (
        ("data", config.data.source),
        ("model", config.model.name),
        ("loss", config.loss.name),
        ("optimizer", config.optimizer.name),
        ("schedule", config.schedule.name),
    ):
        if name == PYTHON_OBJECT:
            raise UsageError(
                f"the {what} of this run was a Python object, which no file can name",
                "name it in a file of your own and train with it: file.py:NAME",
            )
    if config.distill.teacher:
        raise UsageError(
            "this run learned from a teacher, which is not written out",
            "eject a run without distill.teacher",
        )
    if is_object_spec(config.schedule.name):
        raise UsageError(
            f"schedule {printable(config.schedule.name)} is your own, and is not written out",
            "train with a schedule by name, or put its scheduler into the loop of the written file",
        )


def read_record(path: Path) -> DataRecord:
    """What the run remembers of its images."""
    if not (path / "data.npz").is_file():
        raise CheckpointError(
            f"{printable(path)} has no data.npz, which says what its images were",
            "eject a run that this version of torchloupe trained",
        )
    return DataRecord.read(path / "data.npz")


def read_left_out(path: Path) -> tuple[str, ...]:
    """The ids of the images that the run set aside."""
    file = path / "set-aside.csv"
    if not file.is_file():
        return ()
    with file.open(encoding="utf-8", errors="surrogateescape", newline="") as lines:
        return tuple(row["path"] for row in csv.DictReader(lines))


def _divide(facts: Facts) -> NDArray[np.int8]:
    """The part of each image, by the rules of the run."""
    data, config = facts.data, facts.config
    sound = np.flatnonzero(~np.isin(data.samples.ids.astype(object), facts.left_out))
    splits = split_samples(
        data.samples.take(sound),
        given=None if data.given is None else data.given[sound],
        content=facts.content[sound] if facts.content.any() else None,
        val_fraction=config.data.val_fraction,
        test_fraction=config.data.test_fraction,
        seed=config.train.seed,
        fold=(config.data.fold, config.data.folds) if config.data.fold else None,
        copies=config.data.copies,
    )
    parts = np.full(len(data.samples), -1, dtype=np.int8)
    for number, rows in enumerate((splits.train, splits.val, splits.test)):
        parts[sound[rows]] = number
    return parts


def tested_ids(facts: Facts) -> list[str] | None:
    """The ids of the images that the run was tested with; None where it was not."""
    file = facts.folder / "predictions.parquet"
    if not file.is_file():
        return None
    try:
        found: list[str] = pyarrow.parquet.read_table(file, columns=["id"])["id"].to_pylist()
    except (OSError, LoupeError, ValueError):
        return None
    return found
