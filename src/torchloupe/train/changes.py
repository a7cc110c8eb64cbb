"""What changed between the start of a run and its resume: settings, data, versions and machine.

A run remembers each image it was started with by two 64-bit keys, of its id and of its content,
in data.npz; so a resume can say how many images were added, removed or edited.
"""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torchloupe.config.schema import Config, differing
from torchloupe.data.contract import Contract
from torchloupe.data.pack.set_aside import UnreadableError, write_set_aside
from torchloupe.data.sources import Data
from torchloupe.data.sources.source import name_some
from torchloupe.errors import CheckpointError, DataError, UsageError, printable
from torchloupe.prepare.data import prepare_data, streams
from torchloupe.prepare.objects import UserObjects
from torchloupe.prepare.plan import Plan
from torchloupe.prepare.run_data import RunData, ShardedData
from torchloupe.recipes.choice import PRETRAINED
from torchloupe.run.data_record import DataChange, DataRecord
from torchloupe.run.places import SET_ASIDE, create_run
from torchloupe.run.state import State
from torchloupe.system.trust import is_own_code, trusted_name
from torchloupe.system.user_code import PYTHON_OBJECT
from torchloupe.units import plural

# Settings that the checkpoint, the split or the contract depend on.
_FIXED = (
    *("data.mode", "data.size", "data.fit", "data.kernel", "data.layout", "data.class_names"),
    *("data.image_column", "data.label_column", "data.val_fraction", "data.test_fraction"),
    *("data.split_seed", "data.folds", "data.fold", "data.label_separator", "data.copies"),
    *("data.lanes", "data.mixed_shards", "train.seed", "optimizer.name"),
    *("distill.weight", "distill.temperature", "distill.views"),
)


def refuse_fixed_settings(before: Config, after: Config) -> None:
    """Raises UsageError that lists changed settings which a started run can't change."""
    changed = differing(before, after)
    wrong = [name for name in _FIXED if name in changed]
    was = before.optimizer.name
    if "optimizer.name" in wrong and (was == PYTHON_OBJECT or is_own_code(was)):
        wrong.remove("optimizer.name")  # it was given again
    if "data.pack" in changed and streams(before.data) != streams(after.data):
        wrong.append("data.pack")  # a stream has another order
    if bool(before.train.average) != bool(after.train.average):
        wrong.append("train.average")
    if bool(before.distill.teacher) != bool(after.distill.teacher):
        wrong.append("distill.teacher")
    if wrong:
        raise UsageError(
            "a started run can't change "
            + ", ".join(
                f"{name} (was {printable(changed[name][0])}, now {printable(changed[name][1])})"
                for name in wrong
            ),
            "leave them as they were, or start a new run with `loupe train`",
        )


def refuse_other_order(before: Mapping[str, Any], run_data: RunData) -> None:
    """UsageError if this version would visit streamed shards in another order than the run did.

    `before` is the run's environment.json. Samples of the epoch would be doubled and left out.
    """
    if not isinstance(run_data, ShardedData):
        return
    known, now = (before.get("data") or {}).get("order", 1), run_data.facts()["order"]
    if known != now:
        raise UsageError(
            f"the run visits its shards in order {printable(known)}, and this version of "
            f"torchloupe knows {now}",
            "go on with the version that began it, or start a new run with `loupe train`",
        )


def describe_settings(before: Config, after: Config) -> list[str]:
    """A note on each setting that differs."""
    return [
        f"from here on {name} is {printable(new)}; it was {printable(old)}"
        for name, (old, new) in differing(before, after).items()
    ]


def settle_end(
    state: State, plan: Plan, before: Config, after: Config, *, has_budget: bool = False
) -> list[str]:
    """Whether a resumed run still stops early; notes on why there is no step left to train.

    UsageError for `train.epochs` that end before the steps that are done. A budget in minutes ends
    when it is spent. `before` and `after` are the settings of the run and those it goes on with.
    """
    epoch = f"{state.step / plan.steps_per_epoch:.4g}"
    patience = plan.patience
    if patience != before.train.patience:
        state.stopped_early = 0 < patience <= state.evaluations_without_gain
    is_past = plan.total_steps < state.step and not has_budget
    if is_past and after.train.epochs != before.train.epochs:
        raise UsageError(
            f"the run is already at epoch {epoch} of {before.train.epochs:g}, and "
            f"{after.train.epochs:g} were asked for",
            f"ask for more than {epoch} epochs in all, or leave --epochs out",
        )
    if state.stopped_early:
        return [
            f"the run stopped early at epoch {epoch} (train.patience={patience}), so no step is "
            "trained; --set train.patience=0 goes on to its last epoch"
        ]
    if has_budget or plan.total_steps > state.step:
        return []
    if not plan.total_steps:
        return ["train.strategy=head solves the last layer and trains no steps: none is left"]
    return [
        f"the run is finished, at epoch {epoch}, so no step is trained; --epochs "
        f"{2 * float(epoch):.4g} trains as long again"
    ]


def describe_machine(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A note if versions or hardware that affect the last bits differ from the start."""
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
    """Write data.npz and set-aside.csv: the images of the run, and those that can't be read."""
    record_data(run_data).write(folder / "data.npz")
    write_set_aside(folder / SET_ASIDE, run_data.pixels.bad if run_data.pixels else ())


def list_unreadable(error: UnreadableError, out: str | Path | None, source: Any) -> None:
    """List all images that can't be read in the run folder of a run that can't begin."""
    named = isinstance(source, (str, Path))
    folder = create_run(None if out is None else Path(out), Path(source).name if named else "data")
    write_set_aside(folder / SET_ASIDE, error.bad)
    error.listed_in(folder / SET_ASIDE)


def record_data(run_data: RunData) -> DataRecord:
    """The images of `run_data` by name and content."""
    content = None if run_data.pixels is None else run_data.pixels.content
    return DataRecord.of(run_data.samples, content)


def refuse_new_names(
    folder: Path, config: Config, data: Data, contract: Contract, *, accept: bool = False
) -> None:
    """DataError if images or classes were added, removed or renamed.

    With `accept`, only if the classes are not those of the model: no resume can change them.
    Called before the classes are matched with the model's; costs nothing if none changed.
    """
    if accept:
        _refuse_other_classes(folder, config, data, contract)
        return
    known = DataRecord.read(folder / "data.npz")
    if not known.compare(DataRecord.of(data.samples)):
        return
    own = replace(contract, class_names=data.samples.class_names)
    run_data = prepare_data(data, config.data, seed=config.train.seed, contract=own)
    changes = known.compare(record_data(run_data))
    if changes:
        raise _refusal(folder, changes, config)


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
        raise _refusal(folder, changes)
    return changes


def _refuse_other_classes(folder: Path, config: Config, data: Data, contract: Contract) -> None:
    if data.kind == "stream":
        return  # its classes are not counted
    counts = dict(zip(data.samples.class_names, data.samples.class_counts(), strict=True))
    new = [name for name, count in counts.items() if count and name not in contract.class_names]
    lost = [name for name in contract.class_names if not counts.get(name)]
    problems = [
        f"{plural(len(names), 'class', 'classes')} {what} ({name_some(names)})"
        for what, names in (("new", new), ("missing", lost))
        if names
    ]
    if problems:
        raise DataError(
            f"the data of {printable(folder)} have other classes than its model, which no resume "
            f"can change: {', '.join(problems)}",
            f"put the classes back as they were, or {describe_new_run(folder, config)}",
        )


def _refusal(folder: Path, changes: DataChange, config: Config | None = None) -> DataError:
    """The error for changed data; its hint says only what then works."""
    hint = "restore the data, or say --accept-new-data"
    has_other_classes = changes.renamed or changes.new_classes or changes.lost_classes
    if config is not None and has_other_classes:
        hint = f"restore the data, or {describe_new_run(folder, config)}"
    return DataError(
        f"the data of {printable(folder)} changed since the run was started: {changes}", hint
    )


def describe_new_run(folder: Path, config: Config) -> str:
    """The command that trains on other classes: from the weights of this run, if it can."""
    source, name = config.data.source, config.model.name
    command = ["loupe", "train", "DATA" if source == PYTHON_OBJECT else source]
    command += ["--model", name] if name != PYTHON_OBJECT else []
    if config.train.strategy not in PRETRAINED:
        return f"train a new run: {shlex.join(map(printable, command))}"
    command += ["--weights", str(folder / "best" / "model.safetensors")]
    return f"train a new run from these weights: {shlex.join(map(printable, command))}"


def refuse_untrusted(
    config: Config, run: Path, objects: UserObjects, trust_code: bool, asked: set[str]
) -> None:
    """UsageError if the run folder names code that was neither given again nor trusted."""
    named = {"model": config.model.name, "data": config.data.source}
    named |= {"loss": config.loss.name, "optimizer": config.optimizer.name}
    named |= {"schedule": config.schedule.name, "hook": config.lens.hook}
    given = {"model": objects.model, "data": objects.source, "loss": objects.loss}
    given |= {"optimizer": objects.optimizer, "schedule": objects.schedule}
    settings = {"data": "data.source", "hook": "lens.hook"}
    for what, name in named.items():
        if given.get(what) is None and settings.get(what, f"{what}.name") not in asked and name:
            option = "--set data.source=" if what == "data" else ""
            trusted_name(name, what, run, trust_code, option)
