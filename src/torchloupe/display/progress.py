"""The progress of a run as numbers and text, computed from its events.

It knows the format of events.jsonl and nothing of terminals; the displays draw it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torchloupe.errors import printable
from torchloupe.units import format_count, format_seconds, plural

_PHASES = {
    "pack": "reading images",
    "features": "computing features",
    "shard": "writing shards",
    "predict": "predicting shards",
    "teacher": "asking the teacher",
}


@dataclass(frozen=True)
class Row:
    """One line of the table: an evaluation, or an epoch without one."""

    epoch: float
    train_loss: float | None
    val_loss: float | None
    val_accuracy: float | None
    images_per_second: float | None
    is_best: bool


@dataclass
class Progress:
    """The current state of a run."""

    facts: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    step: int = 0
    epoch: float = 0.0
    train_loss: float | None = None
    images_per_second: float | None = None
    seconds: float = 0.0
    phase: tuple[str, int, int] | None = None  # description, done, total
    _first: tuple[int, float] | None = None  # step and seconds at which this session started
    _window: list[tuple[int, float | None, float | None]] = field(default_factory=list)

    def start(self, facts: Mapping[str, Any]) -> None:
        """Set the facts known before the first step."""
        self.facts = dict(facts)
        self.phase = None
        self.step = int(facts.get("start_step") or 0)

    def record(self, event: Mapping[str, Any]) -> list[Row]:
        """Process an event; returns the rows that it completed."""
        if "phase" in event:
            name = str(event["phase"])
            done, total = int(event.get("done") or 0), int(event.get("total") or 0)
            self.phase = (_PHASES.get(name, printable(name)), done, total)
            return []
        if "step" not in event or "seconds" not in event:
            return []
        self.phase = None
        finished: list[Row] = []
        epoch = float(event.get("epoch") or 0.0)
        if _number(epoch) > _number(self.epoch) > 0:
            finished += self.finish_epoch()
        step, seconds = int(event["step"]), float(event["seconds"])
        if event.get("total_steps"):  # a budget of time moves the end
            self.facts["total_steps"] = int(event["total_steps"])
            self.facts["epochs"] = round(
                self.facts["total_steps"] / self.facts["steps_per_epoch"], 1
            )
        if "train_loss" in event:
            self.train_loss = _float(event["train_loss"])
            self.images_per_second = _float(event.get("images_per_second"))
            self._window.append((step - self.step, self.train_loss, self.images_per_second))
        if self._first is None:
            self._first = (0, 0.0) if self.step == 0 else (step, seconds)  # else: resumed
        self.step, self.epoch, self.seconds = step, epoch, seconds
        if any(name.startswith("val_") for name in event):
            finished.append(self._close_row(event))
        return finished

    def finish_epoch(self) -> list[Row]:
        """The row of an epoch that ended without evaluation; none if it has a row already."""
        return [self._close_row({})] if self._window else []

    @property
    def best(self) -> Row | None:
        """The row of the best checkpoint."""
        return next((row for row in reversed(self.rows) if row.is_best), None)

    @property
    def fraction(self) -> float:
        """The fraction of the run that is done, from 0 to 1."""
        total = self.facts.get("total_steps") or 0
        return min(1.0, self.step / total) if total else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the last step at the speed of this session, evaluations included."""
        total = self.facts.get("total_steps") or 0
        if self._first is None or self.step <= self._first[0]:
            return None
        pace = (self.seconds - self._first[1]) / (self.step - self._first[0])
        return max(0.0, pace * (total - self.step))

    def _close_row(self, event: Mapping[str, Any]) -> Row:
        losses = [(steps, loss) for steps, loss, _ in self._window if loss is not None]
        rates = [(steps, rate) for steps, _, rate in self._window if rate]
        weight = sum(steps for steps, _ in losses)
        time = sum(steps / rate for steps, rate in rates)
        row = Row(
            epoch=self.epoch,
            train_loss=sum(s * loss for s, loss in losses) / weight if weight else self.train_loss,
            val_loss=_float(event.get("val_loss")),
            val_accuracy=_float(event.get("val_accuracy")),
            images_per_second=sum(s for s, _ in rates) / time if time else self.images_per_second,
            is_best=bool(event.get("best")),
        )
        self._window.clear()
        self.rows.append(row)
        return row


def describe_facts(facts: Mapping[str, Any]) -> list[str]:
    """The head of a run in up to four lines: data, model, plan, augmentation."""
    if not facts:
        return []
    sizes = [
        f"{format_count(facts[f'{split}_count'])} {split}"
        for split in ("train", "val", "test")
        if facts.get(f"{split}_count")
    ]
    data = f"{printable(facts.get('data'), 60)}: {', '.join(sizes)} images"
    if facts.get("image_size"):
        data += f" of {' x '.join(str(side) for side in facts['image_size'])}"
    if facts.get("class_count"):
        data += f" in {plural(facts['class_count'], 'class', 'classes')}"
    model = f"{printable(facts.get('model'), 60)}: "
    if facts.get("parameters"):
        model += f"{format_count(facts['parameters'])} parameters, "
    model += f"on {printable(facts.get('device'))} in {printable(facts.get('precision'))}"
    plan = f"{format_epochs(facts.get('epochs'))}, {plural(facts.get('total_steps') or 0, 'step')}"
    if facts.get("total_steps") == 0:
        return [data, model, f"its last layer alone, in {printable(facts.get('run'))}"]
    if facts.get("minutes"):
        plan = f"{facts['minutes']:.4g} minutes, about {plan}"
    if facts.get("batch_total"):
        plan += f" of {plural(facts['batch_total'], 'image')}"
    lines = [data, model, f"{plan}, in {printable(facts.get('run'))}"]
    return lines + [printable(facts[name]) for name in ("augmentation",) if facts.get(name)]


def describe_row(row: Row, progress: Progress) -> str:
    """A row in one line: `epoch 3/24  loss 0.4210  val accuracy 93.33 % (best)  ...`."""
    epochs = progress.facts.get("epochs")
    words = [f"epoch {row.epoch:.4g}" + (f"/{epochs:.4g}" if epochs else "")]
    if row.train_loss is not None:
        words.append(f"loss {format_loss(row.train_loss)}")
    if row.val_loss is not None:
        words.append(f"val loss {format_loss(row.val_loss)}")
    if row.val_accuracy is not None:
        words.append(f"val accuracy {format_fraction(row.val_accuracy)}")
    if row.is_best:
        words[-1] += " (best)"
    if row.images_per_second:
        words.append(f"{format_count(row.images_per_second)} images/s")
    left = progress.seconds_left
    if left:
        words.append(f"{format_seconds(left)} left")
    return "  ".join(words)


def describe_trouble(event: Mapping[str, Any]) -> str:
    """A note, a verdict or a skipped step as text with its label; empty for other events."""
    if "note" in event:
        return f"note: {printable(event['note'], limit=1000)}"
    if "verdict" in event:
        return describe_verdict(event)
    if event.get("overflow"):
        scale = f"{event.get('scale'):g}"
        step = event.get("step")
        return f"note: step {step} overflowed fp16 and was not applied; scale now {scale}"
    if event.get("bad_step"):
        rows = ", ".join(str(row) for row in event.get("rows") or ())
        loss = printable(event.get("loss"))
        step = event.get("step")
        return f"note: step {step} was not applied: its loss was {loss} (sample rows {rows})"
    return ""


def describe_verdict(verdict: Mapping[str, Any]) -> str:
    """A verdict in two lines: its level, name and what was seen; what to do."""
    where = f" ({printable(verdict['where'], 80)})" if verdict.get("where") else ""
    seen, remedy = printable(verdict["seen"], 1000), printable(verdict["remedy"], 1000)
    return f"{verdict['level']}: {verdict['verdict']}{where}: {seen}\n  to do: {remedy}"


def format_epochs(epochs: Any) -> str:
    """`24 epochs`, `1 epoch`, `0.5 epochs`."""
    epochs = epochs and round(epochs, 2)
    return f"{epochs:.4g} {'epoch' if epochs == 1 else 'epochs'}" if epochs else "by the clock"


def format_loss(loss: float | None) -> str:
    """Four significant digits or decimals; a dash for None."""
    if loss is None:
        return "-"
    return f"{loss:.4f}" if abs(loss) < 10 else f"{loss:.4g}"


def format_fraction(share: float | None) -> str:
    """`98.67 %` from 0.9867."""
    return "-" if share is None else f"{100 * share:.2f} %"


def _number(epoch: float) -> int:
    """The number, from 1, of the epoch that is in progress or has just ended."""
    return math.ceil(epoch - 1e-9)


def _float(value: Any) -> float | None:
    """A finite number, or None (events.jsonl writes NaN as null)."""
    if isinstance(value, (int, float)) and math.isfinite(value):
        return float(value)
    return None
