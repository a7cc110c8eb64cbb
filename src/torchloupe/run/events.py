"""The events of a run: what displays, trackers and checks receive, and what events.jsonl keeps.

Each event is a read-only mapping of its JSON fields.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal


class Event(Mapping[str, Any]):
    """Something that happened in a run. `is_kept`: it becomes a line of events.jsonl."""

    is_kept: ClassVar[bool] = True

    def as_json(self) -> dict[str, Any]:
        """The fields of the line in events.jsonl."""
        return {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]

    def __getitem__(self, name: str) -> Any:
        return self.as_json()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.as_json())

    def __len__(self) -> int:
        return len(self.as_json())


@dataclass(frozen=True, eq=False)
class Note(Event):
    """A remark for the user: on the data, a choice, or something that went wrong."""

    note: str


@dataclass(frozen=True, eq=False)
class Choice(Note):
    """A note on what was chosen and why; `--quiet` leaves it out."""


class Chosen(str):
    """The text of a note that is a Choice."""


Level = Literal["error", "warning", "note"]


@dataclass(frozen=True, eq=False)
class Verdict(Event):
    """What a check found in the data, the model or the training.

    error: the results are wrong or will be; warning: probably; note: worth knowing.
    """

    verdict: str  # a stable name, such as "softmax-before-cross-entropy"; a page of docs/checks
    level: Level
    seen: str  # one sentence, with the numbers
    remedy: str  # one thing to do
    where: str = ""  # the layer, class, split or setting
    why: str = ""  # what goes wrong because of it
    samples: tuple[str, ...] = ()  # ids of the images it is about, the clearest first
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Announcement(Event):
    """Work that is about to begin and may take a while."""

    is_kept = False
    about: str


@dataclass(frozen=True, eq=False)
class Progress(Event):
    """How far a phase before training ("pack", "features", "teacher", "shard") has come."""

    is_kept = False
    phase: str
    done: int
    total: int


@dataclass(frozen=True, eq=False)
class Step(Event):
    """A log line of training, on the steps since the last one."""

    step: int
    epoch: float
    seconds: float  # of training, over all resumes
    train_loss: float
    lr: float
    grad_norm: float
    signals: Mapping[str, Any] | None  # by layer; see lens/signals
    weights: str  # a checksum
    images_per_second: float
    total_steps: int | None = None  # where a budget in minutes moves it

    def as_json(self) -> dict[str, Any]:
        return {name: value for name, value in super().as_json().items() if value is not None}


@dataclass(frozen=True, eq=False)
class Evaluation(Event):
    """The values on the validation split, by name, such as `val_accuracy`."""

    step: int
    epoch: float
    seconds: float
    values_by_name: Mapping[str, float]
    best: bool

    def as_json(self) -> dict[str, Any]:
        found = super().as_json()
        values = found.pop("values_by_name")
        best = found.pop("best")
        return {**found, **values, "best": best}


@dataclass(frozen=True, eq=False)
class BadStep(Event):
    """A step that was not applied, since its loss or gradient was not finite."""

    step: int
    loss: str
    rows: list[int]  # of its first samples
    bad_step: bool = True


@dataclass(frozen=True, eq=False)
class Overflow(Event):
    """A step of fp16 that was not applied; the scale went down."""

    step: int
    scale: float
    overflow: bool = True


@dataclass(frozen=True, eq=False)
class OutOfMemory(Event):
    """A step that did not fit into memory and is repeated in smaller micro-batches."""

    step: int
    images_at_once: int  # from now on, at most
    note: str


@dataclass(frozen=True, eq=False)
class Told(Event):
    """A message of `loupe tell`, and what was done."""

    step: int
    told: str
    note: str


@dataclass(frozen=True, eq=False)
class HeadStage(Event):
    """The head of a pretrained network was fitted."""

    stage_seconds: float
    feature_seconds: float
    views: int
    penalty: float
    left_out_accuracy: float | None
    stage: str = "head"


@dataclass(frozen=True, eq=False)
class Results(Event):
    """The content of metrics.json, and pictures [H, W, 3] of it by name, for trackers."""

    is_kept = False
    results: Mapping[str, Any]
    images: Mapping[str, Any]


def read_events(run: Path) -> list[dict[str, Any]]:
    """The events of RUN/events.jsonl; an incomplete last line is skipped."""
    try:
        text = (run / "events.jsonl").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return [event for line in text.splitlines() if (event := parse_event(line)) is not None]


def parse_event(line: str | bytes) -> dict[str, Any] | None:
    """The event in a line of events.jsonl; None for a line that holds none."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None
