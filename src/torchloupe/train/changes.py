"""What changed between the start of a run and its resume: settings, data, versions and machine.

A run remembers each image it was started with by two 64-bit keys, of its id and of its content,
in data.npz; so a resume can say how many images were added, removed or edited.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torchloupe.config.schema import Config, flatten
from torchloupe.data.contract import Contract
from torchloupe.data.sources import Data
from torchloupe.errors import CheckpointError, DataError, UsageError, printable
from torchloupe.prepare.data import RunData, prepare
from torchloupe.run.data_record import DataChange, DataRecord

# What the checkpoint, the split or the contract already decided.
_FIXED = (
    *("data.mode", "data.size", "data.fit", "data.kernel", "data.layout", "data.class_names"),
    *("data.image_column", "data.label_column", "data.val_fraction", "data.test_fraction"),
    *("data.folds", "data.fold", "data.label_separator", "data.copies"),
    *("train.seed", "optimizer.name"),
)


def changed_settings(before: Config, after: Config) -> dict[str, tuple[Any, Any]]:
    """Settings that differ, by dotted name: (before, after)."""
    old, new = flatten(before), flatten(after)
    return {name: (old[name], new[name]) for name in new if old[name] != new[name]}


def refuse_fixed_settings(before: Config, after: Config) -> None:
    """UsageError, with a list, where a setting changed that a begun run can't change."""
    changed = changed_settings(before, after)
    wrong = [name for name in _FIXED if name in changed]
    if bool(before.train.average) != bool(after.train.average):
        wrong.append("train.average")
    if wrong:
        raise UsageError(
            "a run that has begun can't change "
            + ", ".join(
                f"{name} (was {printable(changed[name][0])}, now {printable(changed[name][1])})"
                for name in wrong
            ),
            "leave them as they were, or start a new run with `loupe train`",
        )


def describe_settings(before: Config, after: Config) -> list[str]:
    """A note on each setting that differs."""
    return [
        f"from here on {name} is {printable(new)}; it was {printable(old)}"
        for name, (old, new) in changed_settings(before, after).items()
    ]


def describe_machine(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A note where versions or hardware that decide the last bits are others than at the start."""
    names = [
        *(("versions", name) for name in ("torch", "pillow", "simplejpeg")),
        *(("hardware", name) for name in ("device", "gpu", "ranks", "cpu_capability", "threads")),
    ]
    changed = []
    for part, name in names:
        old, new = before.get(part, {}).get(name), now.get(part, {}).get(name)
        if old != new:
            changed.append(f"{name} {printable(old)} is now {printable(new)}")
    return [f"bits may differ from an uninterrupted run: {', '.join(changed)}"] if changed else []


def remember_data(folder: Path, run_data: RunData) -> None:
    """Write data.npz: which images the run is trained on."""
    record_data(run_data).write(folder / "data.npz")


def record_data(run_data: RunData) -> DataRecord:
    """The images of `run_data` by name and content."""
    content = None if run_data.pixels is None else run_data.pixels.content
    return DataRecord.of(run_data.samples, content)


def refuse_new_names(folder: Path, config: Config, data: Data, contract: Contract) -> None:
    """DataError where images or classes came, went or have other names.

    Asked before the classes are matched with the model's, and costs nothing where none did.
    """
    known = DataRecord.read(folder / "data.npz")
    if not known.compare(DataRecord.of(data.samples)):
        return
    own = replace(contract, class_names=data.samples.class_names)
    run_data = prepare(config.data, data, seed=config.train.seed, contract=own)
    note_changed_data(folder, run_data, accept=False)


def note_changed_data(folder: Path, run_data: RunData, accept: bool) -> DataChange | None:
    """What changed in the data since the run was started; DataError unless `accept`."""
    try:
        known = DataRecord.read(folder / "data.npz")
    except CheckpointError:
        if accept:
            return None
        raise
    changes = known.compare(record_data(run_data))
    if changes and not accept:
        raise DataError(
            f"the data of {printable(folder)} changed since the run was started: {changes}",
            "put the data back as they were, or say --accept-new-data",
        )
    return changes
