"""What to do next: at most five suggestions, each from a measured fact of the run."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from torchloupe.config.schema import Config
from torchloupe.errors import printable
from torchloupe.system.user_code import PYTHON_OBJECT
from torchloupe.trained.facts.confidence import cover
from torchloupe.trained.facts.head import evaluated
from torchloupe.trained.facts.predictions import Predictions
from torchloupe.trained.history import collect_columns
from torchloupe.units import plural

MOST = 5
WANTED_ACCURACY = 0.99
_SETTINGS = re.compile(r"--set [\w.]+=[\w.]+")  # in the remedy of a verdict
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Known:
    """What the suggestions are made from."""

    folder: Path
    config: Config
    metrics: Values
    events: Sequence[Values]
    verdicts: Sequence[Values]
    found: Predictions | None
    classes: Sequence[Values]  # as classes.describe_classes gives them
    pairs: Sequence[Values]
    train_counts: Sequence[int]
    suspects: int
    unreadable: int
    threshold: float | None = None  # that the run has already

    @property
    def run(self) -> str:
        """The folder as a word of a shell."""
        return shlex.quote(str(self.folder))

    @property
    def source(self) -> str:
        """The data as a word of a shell."""
        name = self.config.data.source
        return "DATA" if name == PYTHON_OBJECT else shlex.quote(name)


def suggest(known: Known) -> list[dict[str, str]]:
    """The suggestions, the most pressing first: title, fact and command."""
    makers = (
        _mend_errors,
        _look_at_labels,
        _train_longer,
        _stop_earlier,
        _more_images,
        _merge_classes,
        _set_threshold,
        _repair_images,
        _test_more,
    )
    made = [advice for maker in makers if (advice := maker(known))]
    return [dict(zip(("title", "fact", "command"), row, strict=True)) for row in made[:MOST]]


Advice = tuple[str, str, str] | None


def _mend_errors(known: Known) -> Advice:
    grave = [verdict for verdict in known.verdicts if verdict["level"] in ("error", "warning")]
    if not grave:
        return None
    first = grave[0]
    remedy = str(first["remedy"])
    words = ["loupe train", known.source, *_SETTINGS.findall(remedy)]
    return remedy, str(first["seen"]), " ".join(words)


def _look_at_labels(known: Known) -> Advice:
    if not known.suspects:
        return None
    what = plural(known.suspects, "image")
    return (
        "Look at labels that may be wrong",
        f"{what} {'lies' if known.suspects == 1 else 'lie'} among another class; see the section "
        "Data.",
        f"loupe eval {known.run}",
    )


def _train_longer(known: Known) -> Advice:
    columns = collect_columns(known.events)
    measured = np.isfinite(columns["val_loss"])
    losses, epochs = columns["val_loss"][measured], columns["epoch"][measured]
    what = "val loss"
    if not len(losses) or not columns["best"][measured][-1] or _stop_earlier(known):
        return None
    if len(losses) < 3:  # too few evaluations to see a trend
        what = "the training loss"
        losses = columns["train_loss"][np.isfinite(columns["train_loss"])]
        if len(losses) < 8:
            return None
        half = len(losses) // 2
        losses = np.array(
            [losses[half : half + half // 2].mean(), losses[half + half // 2 :].mean()]
        )
    before = losses[max(0, len(losses) - max(2, len(losses) // 4) - 1)]
    gain = (before - losses[-1]) / max(abs(before), 1e-9)
    if gain < 0.02:
        return None
    more = max(1, round(2 * float(epochs[-1])))
    patience = " --set train.patience=0" if known.config.train.patience else ""
    return (
        "Train longer",
        f"The last evaluation was the best, and {what} still fell from {before:.4f} to "
        f"{losses[-1]:.4f} at the end.",
        f"loupe resume {known.run} --epochs {more}{patience}",
    )


def _stop_earlier(known: Known) -> Advice:
    columns = collect_columns(known.events)
    measured = np.isfinite(columns["val_loss"])
    losses, epochs = columns["val_loss"][measured], columns["epoch"][measured]
    if len(losses) < 4:
        return None
    least = int(np.argmin(losses))
    rise = (losses[-1] - losses[least]) / max(abs(losses[least]), 1e-9)
    if rise < 0.15 or epochs[least] > 0.7 * epochs[-1]:
        return None
    return (
        "Stop earlier, or augment more",
        f"Val loss was least at epoch {epochs[least]:.4g} ({losses[least]:.4f}) and rose to "
        f"{losses[-1]:.4f}: the model learned the training images by heart.",
        f"loupe train {known.source} --set augment.policy=trivialaugment --set train.patience=3",
    )


def _more_images(known: Known) -> Advice:
    rows = [
        row for row in known.classes if row["count"] >= 3 and row["recall"]["value"] is not None
    ]
    if len(rows) < 2 or len(known.train_counts) != len(known.classes):
        return None
    worst = min(rows, key=lambda row: row["recall"]["value"])
    recall, count = worst["recall"]["value"], known.train_counts[worst["number"]]
    middle = float(np.median([row["recall"]["value"] for row in rows]))
    if recall > 0.95 or recall > middle - 0.03:
        return None
    is_small = count < 0.8 * float(np.median(known.train_counts))
    return (
        f"{'Add' if is_small else 'Look at the'} images of {printable(worst['name'], 60)}",
        f"It has {plural(count, 'training image')} and a recall of {100 * recall:.1f} %; the "
        f"median of the classes is {100 * middle:.1f} %.",
        f"loupe train {known.source}" if is_small else f"loupe report {known.run} --open",
    )


def _merge_classes(known: Known) -> Advice:
    total = sum(int(row["missed"]) for row in known.classes)
    if not known.pairs or total < 10 or len(known.classes) < 3:
        return None
    first = known.pairs[0]
    back = [p for p in known.pairs if (p["row"], p["column"]) == (first["column"], first["row"])]
    both = first["count"] + (back[0]["count"] if back else 0)
    if both < 0.2 * total:
        return None
    names = [printable(first[key], 60) for key in ("name", "other")]
    return (
        f"Tell {names[0]} and {names[1]} apart better, or merge them",
        f"{both:,} of {total:,} mistakes are between these two.",
        f"loupe train {known.source}",
    )


def _set_threshold(known: Known) -> Advice:
    if known.found is None or known.found.multi_label or known.threshold is not None:
        return None
    coverage, accuracy, least = cover(known.found)
    if accuracy[-1] >= WANTED_ACCURACY:
        return None
    fine = np.flatnonzero((accuracy >= WANTED_ACCURACY) & (coverage >= 0.1))
    if not len(fine):
        return None
    place = fine[-1]
    return (
        f"Answer only above a confidence of {least[place]:.2f}",
        f"Of the evaluated images {100 * coverage[place]:.1f} % have it, and "
        f"{100 * accuracy[place]:.1f} % of these are right; of all, {100 * accuracy[-1]:.1f} %.",
        f"loupe eval {known.run} --threshold {WANTED_ACCURACY}precision",
    )


def _repair_images(known: Known) -> Advice:
    if not known.unreadable:
        return None
    return (
        "Repair or remove images that can't be read",
        f"{plural(known.unreadable, 'image')} {'was' if known.unreadable == 1 else 'were'} set "
        "aside; set-aside.csv says why.",
        f"loupe train {known.source}",
    )


def _test_more(known: Known) -> Advice:
    split, scores = evaluated(known.metrics)
    low, high = scores.get("accuracy_ci95") or (0.0, 0.0)
    if high - low < 0.04 or known.config.data.fold:
        return None
    return (
        "Test on more images before you compare models",
        f"With {plural(int(scores['count']), 'image')} of {split} the interval is "
        f"{100 * (high - low):.1f} points wide. Folds test every image once.",
        f"loupe train {known.source} --folds 5",
    )
