"""Verdicts on a training from its events: no forward of their own, and no cost worth naming."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torchloupe.checks.schedules import LOW, ScheduleFacts, judge_schedule
from torchloupe.checks.verdicts import sift
from torchloupe.config.schema import CheckConfig
from torchloupe.run.events import Event, Level, Verdict
from torchloupe.run.folder import RunFolder

FEWEST_STEPS = 100  # before a training is said not to learn
SURE_EPOCHS = 3.0  # after which a model that predicts one class has had its time
MOSTLY = 0.9  # share of a class that a model does well to predict always
BETTER = 0.6  # val loss over train loss, below which it is told
FEWEST_LINES = 8  # of a log, from which the learning rate is judged
FEWEST_IMAGES = 100  # of a validation split whose loss is believed


@dataclass(frozen=True)
class TrainingFacts:
    """What the events don't say."""

    class_shares: tuple[float, ...] = ()  # of the training images; empty: not known
    val_count: int = 0
    plain_loss: bool = True  # cross entropy without weights, smoothing or mixed images
    hardened: bool = False  # augmentation or dropout make training harder than evaluation

    @property
    def prior_loss(self) -> float:
        """The cross entropy of predicting the class shares; 0 where they are not known."""
        return -sum(share * math.log(share) for share in self.class_shares if share > 0)

    @property
    def chance(self) -> float:
        """The accuracy of always predicting the most frequent class, and what luck adds."""
        most = max(self.class_shares, default=0.0)
        return most + 2 * math.sqrt(most * (1 - most) / max(self.val_count, 1))


@dataclass(frozen=True)
class Epoch:
    """What lies between two evaluations."""

    step: int
    train_loss: float  # the mean of its log lines
    val_loss: float
    val_accuracy: float
    is_best: bool


def judge_events(events: Sequence[Mapping[str, Any]], facts: TrainingFacts) -> list[Verdict]:
    """The verdicts on the events of a run so far, oldest first."""
    epochs = _epochs_of(events)
    found = _judge_skipped(events)
    if epochs:
        found += _judge_learning(epochs, facts)
        found += _judge_better(epochs, facts)
    return found


def judge_end(events: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    """Notes on when the training ended: too early, or long after its best."""
    epochs = _epochs_of(events)
    if len(epochs) < 4:
        return []
    losses = [epoch.val_loss for epoch in epochs]
    best = max(place for place, epoch in enumerate(epochs) if epoch.is_best or not place)
    if best == len(epochs) - 1 and losses[-1] < 0.97 * losses[-2]:
        return [
            Verdict(
                "still-improving",
                "note",
                seen=f"the last evaluation is the best, and val loss still fell from "
                f"{losses[-2]:.4g} to {losses[-1]:.4g}",
                remedy="train for longer: loupe resume RUN --epochs N",
                where="train.epochs",
                why="more epochs would probably be better",
                numbers={"before": losses[-2], "last": losses[-1]},
            )
        ]
    if len(epochs) >= 6 and 2 * (best + 1) <= len(epochs) and losses[-1] > 1.2 * min(losses):
        return [
            Verdict(
                "best-long-past",
                "note",
                seen=f"the best evaluation was number {best + 1} of {len(epochs)}; val loss has "
                f"risen from {min(losses):.4g} to {losses[-1]:.4g} since",
                remedy="stop earlier (--set train.patience=3), augment more, or shrink the model",
                where="train.epochs",
                why="the time after it only learned the training images by heart",
                numbers={"best": best + 1, "evaluations": len(epochs)},
            )
        ]
    return []


def judge_rates(events: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    """A warning where most of a training had hardly any learning rate, by its log lines.

    For a scheduler of the user's: those of this package know the length of a run.
    """
    lines = [(int(e["step"]), float(e["lr"])) for e in events if "lr" in e and "train_loss" in e]
    if len(lines) < FEWEST_LINES:
        return []
    peak, low, before = 0.0, 0, 0
    for step, rate in lines:
        peak = max(peak, rate)
        low += (step - before) * (rate < LOW * peak)
        before = step
    return judge_schedule(ScheduleFacts(lines[-1][0], low))


def judge_scores(
    scores: Mapping[str, Any], split: str, steps: int = FEWEST_STEPS, epochs: float = SURE_EPOCHS
) -> list[Verdict]:
    """What it says that all predictions of a split are one class; `scores` as in metrics.json.

    An error after a real training. A note after few `steps` or `epochs`, when a model may just
    have begun, and a warning where that class has nearly all images.
    """
    confusion = scores.get("confusion")
    if not confusion or scores.get("count", 0) < 20 or len(confusion) < 2:
        return []
    predicted = [sum(row[k] for row in confusion) for k in range(len(confusion[0]))]
    present = sum(any(row) for row in confusion)
    if present < 2 or sum(count > 0 for count in predicted) > 1:
        return []
    names = list(scores.get("per_class") or range(len(predicted)))
    most = predicted.index(max(predicted))
    level: Level = "warning" if sum(confusion[most]) >= MOSTLY * sum(predicted) else "error"
    is_early = steps < FEWEST_STEPS or epochs < SURE_EPOCHS
    seen = (
        f"all {sum(predicted):,} images of {split} are predicted as {names[most]}, and there are "
        f"{present} classes"
    )
    after = f" (after {steps:,} steps, {epochs:.3g} epochs)"
    return [
        Verdict(
            "one-class-predicted",
            "note" if is_early else level,
            seen=seen + after if is_early else seen,
            remedy="train for longer: loupe resume RUN --epochs N"
            if is_early
            else "look at the learning rate, at what the model ends in, and at the shares of the "
            "classes (--set loss.weights=balanced)",
            where=str(names[most]),
            why="the accuracy is the share of that class",
            numbers={"images": sum(predicted), "classes": present},
        )
    ]


def _epochs_of(events: Sequence[Mapping[str, Any]]) -> list[Epoch]:
    found, losses = [], []
    for event in events:
        if isinstance(event.get("train_loss"), (int, float)):
            losses.append(float(event["train_loss"]))
        if isinstance(event.get("val_loss"), (int, float)) and losses:
            mean = sum(losses) / len(losses)
            accuracy = float(event.get("val_accuracy") or 0.0)
            found.append(
                Epoch(
                    int(event["step"]),
                    mean,
                    float(event["val_loss"]),
                    accuracy,
                    bool(event.get("best")),
                )
            )
            losses = []
    return found


def _judge_skipped(events: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    bad = [event for event in events if event.get("bad_step")]
    overflows = sum(bool(event.get("overflow")) for event in events)
    steps = max((int(event["step"]) for event in events if "step" in event), default=0)
    if not bad and overflows <= max(10, 0.05 * steps):
        return []
    first = bad[0] if bad else {}
    seen = (
        f"{len(bad)} steps with a NaN or infinite loss or gradient were not applied, the first "
        f"at step {first.get('step')} (sample rows {list(first.get('rows') or ())[:4]})"
        if bad
        else f"{overflows} of {steps:,} steps overflowed fp16 and were not applied"
    )
    return [
        Verdict(
            "skipped-steps",
            "warning",
            seen=seen,
            remedy="look at those samples, lower the learning rate, or clip gradients "
            "(--set train.clip_norm=1)"
            if bad
            else "use --precision bf16",
            why="a loss that is not finite once is near the edge always",
            numbers={"bad_steps": len(bad), "overflows": overflows},
        )
    ]


def _judge_learning(epochs: Sequence[Epoch], facts: TrainingFacts) -> list[Verdict]:
    last, prior = epochs[-1], facts.prior_loss
    if len(epochs) < 2 or not prior or not facts.plain_loss or last.step < FEWEST_STEPS:
        return []
    at_chance = all(epoch.val_accuracy <= facts.chance for epoch in epochs[-2:])
    if at_chance and last.train_loss < 0.5 * prior:
        return [
            Verdict(
                "validation-at-chance",
                "error",
                seen=f"train loss is {last.train_loss:.4g}, val accuracy {last.val_accuracy:.1%}, "
                f"which guessing gives (val loss {last.val_loss:.4g})",
                remedy="compare how training and validation images are read and normalised, and "
                "their labels; look at BatchNorm in eval mode",
                where="val",
                why="what is learned doesn't hold for the validation split at all",
                numbers={"train_loss": last.train_loss, "val_accuracy": last.val_accuracy},
            )
        ]
    near = [epoch for epoch in epochs[-2:] if abs(epoch.train_loss - prior) < 0.02 * prior]
    if len(near) == 2 and at_chance:
        return [
            Verdict(
                "loss-at-class-prior",
                "warning",
                seen=f"after {last.step:,} steps the train loss stands at {last.train_loss:.4g}; "
                f"predicting the class shares alone costs {prior:.4g}",
                remedy="try another learning rate, and run loupe check with this model and loss",
                where="train",
                why="the model has learned how frequent the classes are, and nothing of the images",
                numbers={"train_loss": last.train_loss, "prior": prior},
            )
        ]
    return []


def _judge_better(epochs: Sequence[Epoch], facts: TrainingFacts) -> list[Verdict]:
    recent = epochs[-3:]
    if len(recent) < 3 or facts.hardened or facts.val_count < FEWEST_IMAGES:
        return []
    is_flat = recent[-1].train_loss > 0.9 * recent[0].train_loss
    is_better = all(0 < e.val_loss < BETTER * e.train_loss and e.train_loss > 0.05 for e in recent)
    if not is_flat or not is_better or not facts.plain_loss:
        return []
    last = recent[-1]
    return [
        Verdict(
            "validation-better-than-training",
            "warning",
            seen=f"val loss {last.val_loss:.4g} is far below train loss {last.train_loss:.4g}, "
            "without augmentation or dropout that would explain it",
            remedy="look for training images in the validation split, and for easier ones there",
            where="val",
            why="the validation split is not like the data that the model will see",
            numbers={"val_loss": last.val_loss, "train_loss": last.train_loss},
        )
    ]


@dataclass
class TrainingChecks:
    """A listener that tells a verdict as soon as the events show it."""

    run: RunFolder
    facts: TrainingFacts
    config: CheckConfig
    events: list[Mapping[str, Any]] = field(default_factory=list)  # of the run before, if resumed

    def start(self, facts: Mapping[str, Any]) -> None:
        """Nothing is to be done."""

    def record(self, event: Event) -> None:
        """Keep the event; judge after each evaluation."""
        if "verdict" not in event and event.is_kept:
            self.events.append(event.as_json())
            if "val_loss" in event:
                self.tell(self.judge())

    def judge(self) -> list[Verdict]:
        """The verdicts on the events so far."""
        return judge_events(self.events, self.facts)

    def close(self) -> None:
        """Nothing is open."""

    def tell(self, verdicts: list[Verdict]) -> None:
        """Record those that the run has not told before."""
        told = {event["verdict"] for event in self.events if "verdict" in event}
        for verdict in sift(verdicts, self.config):
            if verdict.verdict not in told:
                self.events.append(verdict.as_json())
                self.run.record(verdict)
