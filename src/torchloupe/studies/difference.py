"""Two runs compared: settings, the first step at which they differ, and their last states."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torchloupe.config.schema import differing
from torchloupe.config.settings import read_settings
from torchloupe.errors import CheckpointError
from torchloupe.run import checkpoint
from torchloupe.run.events import read_events
from torchloupe.run.places import find_run


@dataclass(frozen=True)
class Difference:
    """How two runs differ; a step is None if nothing differs."""

    settings: Mapping[str, tuple[Any, Any]]
    first_loss_step: int | None
    first_weights_step: int | None
    compared_steps: int
    lone_steps: int  # steps that only one of the two logged
    last_steps: tuple[int | None, int | None]  # of the newest sound checkpoints
    final: Mapping[str, bool] = field(default_factory=dict)  # part of the last state: equal?

    @property
    def is_none(self) -> bool:
        """Whether both did the same steps, with bit-equal losses and weights."""
        return (
            self.first_loss_step is None
            and self.first_weights_step is None
            and self.compared_steps > 0
            and self.lone_steps == 0
            and bool(self.final)
            and all(self.final.values())
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"equal": self.is_none, **asdict(self)}


def compare_runs(one: str | Path, other: str | Path) -> Difference:
    """Settings that differ, the first step with different losses or weights, and the last states.

    Compares steps that both runs logged, and the last states where both are of the same step.
    """
    first, second = find_run(Path(one)), find_run(Path(other))
    one_config, other_config = (
        read_settings(path / "config.json").config for path in (first, second)
    )
    logs = [
        {event["step"]: event for event in read_events(path) if "train_loss" in event}
        for path in (first, second)
    ]
    shared = sorted(set(logs[0]) & set(logs[1]))

    def first_parting(key: str) -> int | None:
        return next((s for s in shared if logs[0][s].get(key) != logs[1][s].get(key)), None)

    last = [_hash_last_state(path) for path in (first, second)]
    is_same_step = last[0][0] is not None and last[0][0] == last[1][0]
    return Difference(
        settings=differing(one_config, other_config),
        first_loss_step=first_parting("train_loss"),
        first_weights_step=first_parting("weights"),
        compared_steps=len(shared),
        lone_steps=len(set(logs[0]) ^ set(logs[1])),
        last_steps=(last[0][0], last[1][0]),
        final={
            name: last[0][1].get(name) == last[1][1].get(name)
            for name in {**last[0][1], **last[1][1]}
            if is_same_step
        },
    )


def _hash_last_state(run: Path) -> tuple[int | None, dict[str, str]]:
    """The step of the newest sound checkpoint and the SHA-256 of its parts."""
    try:
        trees = checkpoint.read_newest(run / "checkpoints")[0]
    except CheckpointError:
        return None, {}
    parts = ("model", "average", "optimizer")
    hashes = {name: checkpoint.hash_tensors(trees[name]) for name in parts if name in trees}
    return int(trees["state"]["step"]), hashes
