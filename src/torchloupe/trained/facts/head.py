"""The head of a page: the result with its interval, what it compares with, and what was trained."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from torchloupe.config.schema import Config
from torchloupe.data.contract import Contract
from torchloupe.errors import printable
from torchloupe.evaluation.intervals import wilson_interval
from torchloupe.trained.facts.predictions import Predictions
from torchloupe.trained.history import spent_seconds
from torchloupe.units import format_count, format_seconds, plural

LEVELS = ("error", "warning", "note")
# Scores of metrics.json with their names; shares are shown in per cent, others as numbers.
SCORES = (
    ("accuracy", "accuracy", True),
    ("balanced_accuracy", "balanced accuracy", True),
    ("top5_accuracy", "top-5 accuracy", True),
    ("macro_f1", "mean F1 of the classes", True),
    ("mean_average_precision", "mean average precision", True),
    ("average_precision", "average precision", True),
    ("auroc", "area under the ROC curve", True),
    ("mcc", "Matthews' correlation", False),
    ("kappa", "Cohen's kappa", False),
    ("loss", "loss", False),
    ("nll", "negative log-likelihood", False),
    ("brier", "Brier score", False),
    ("ece", "expected calibration error", False),
    ("ece_adaptive", "expected calibration error, adaptive bins", False),
)
Values = Mapping[str, Any]


def describe_score(
    metrics: Values, found: Predictions | None, train_counts: Sequence[int]
) -> dict[str, Any] | None:
    """The accuracy of test (val where there is none), its interval and its baselines."""
    split, scores = evaluated(metrics)
    if not scores.get("count"):
        return None
    count, accuracy = int(scores["count"]), float(scores["accuracy"])
    interval = scores.get("accuracy_ci95") or wilson_interval(round(accuracy * count), count)
    remarks = []
    if split == "val":
        remarks.append("No test split was used. Val also chose the best checkpoint: expect less.")
    least = (scores.get("power") or {}).get("smallest_difference")
    if isinstance(least, float):
        remarks.append(
            f"Of two models this {split} split would show a difference of about "
            f"{100 * least:.1f} points or more."
        )
    return {
        "title": f"{split} accuracy",
        "value": accuracy,
        "interval": [float(value) for value in interval],
        "count": count,
        "marks": [] if found is None else baselines(found, train_counts),
        "remarks": remarks,
    }


def explain_no_score(metrics: Values) -> str:
    """Why there is no accuracy: the run has not ended, or has no images to measure it with."""
    if not metrics:
        return "There is no result yet."
    return "No val or test images were evaluated, so there is no accuracy."


def evaluated(metrics: Values) -> tuple[str, Values]:
    """The split whose predictions the run folder keeps, and its scores."""
    return ("test", metrics["test"]) if metrics.get("test") else ("val", metrics.get("val") or {})


def baselines(found: Predictions, train_counts: Sequence[int]) -> list[dict[str, Any]]:
    """What needs no model: always the most frequent class of training; chance."""
    if found.multi_label:
        answers, counts = np.unique(found.labels, axis=0, return_counts=True)
        share = float(counts.max() / len(found)) if len(answers) else 0.0
        return [{"name": "always the most frequent set of labels", "value": share}]
    commonest = int(np.argmax(train_counts)) if len(train_counts) else -1
    marks = []
    if commonest >= 0:
        name = printable(found.class_names[commonest], 60)
        share = float((found.labels == commonest).mean())
        marks.append({"name": f"always the largest class ({name})", "value": share})
    return [*marks, {"name": "chance", "value": 1 / len(found.class_names)}]


def list_scores(metrics: Values) -> list[dict[str, str]]:
    """All scores of the evaluated split as text, with intervals where they have one."""
    _, scores = evaluated(metrics)
    rows = []
    for key, name, is_share in SCORES:
        value = scores.get(key)
        if not isinstance(value, (int, float)):
            continue
        spelled = [_spell(end, is_share) for end in scores.get(f"{key}_ci95") or ()]
        interval = " to ".join(spelled)
        rows.append({"name": name, "value": _spell(value, is_share), "interval": interval})
    return rows


def _spell(value: float, is_share: bool) -> str:
    return f"{100 * value:.2f}\u00a0%" if is_share else f"{value:.4f}"


def list_facts(
    config: Config, contract: Contract, environment: Values, metrics: Values, parameters: int
) -> list[tuple[str, str]]:
    """What was trained, on what, where and how long, in words."""
    data, hardware = environment.get("data") or {}, environment.get("hardware") or {}
    height, width = contract.size
    sizes = f"{data.get('train', 0):,} train, {data.get('val', 0):,} val, {data.get('test', 0):,}"
    model = printable(config.model.name, 100)
    if parameters:
        model += f", {format_count(parameters)} parameters"
    facts = [
        ("model", model),
        ("data", f"{printable(config.data.source, 200)}: {sizes} test images"),
        ("classes", plural(len(contract.class_names), "class", "classes")),
        ("images", f"{height} x {width} pixels, {plural(contract.channels, 'channel')}"),
    ]
    spent = metrics.get("train") or {}
    if (seconds := spent_seconds(spent)) is not None:
        facts.append(("trained in", format_seconds(seconds)))
    device = str(hardware.get("gpu") or hardware.get("device") or "")
    facts += [
        ("device", f"{device}, {config.hardware.precision}"),
        ("seed", str(config.train.seed)),
        ("started", str(environment.get("started", ""))),
    ]
    return [(term, text) for term, text in facts if text]


def spell_command(environment: Values) -> str:
    """The command line of the run as a shell takes it; "" for a run from Python."""
    words = [str(word) for word in environment.get("command") or ()]
    if not words or not words[0].endswith(("loupe", "__main__.py")):
        return ""
    return " ".join(["loupe", *map(shlex.quote, words[1:])])


def list_verdicts(events: Sequence[Values], metrics: Values) -> list[dict[str, Any]]:
    """The verdicts of the checks, errors first, each once."""
    found = {}
    for entry in [*events, *(metrics.get("verdicts") or ())]:
        if entry.get("verdict") and entry.get("level") in LEVELS:
            found[entry["verdict"], entry.get("where", "")] = dict(entry)
    return sorted(found.values(), key=lambda verdict: LEVELS.index(verdict["level"]))


def list_environment(environment: Values) -> list[tuple[str, str]]:
    """Versions, machine, code state and data identity as text."""
    facts = [(name, str(value)) for name, value in (environment.get("versions") or {}).items()]
    for name, value in (environment.get("hardware") or {}).items():
        if value is not None:
            facts.append((name.replace("_", " "), str(value)))
    git = environment.get("git") or {}
    if git:
        changed = ", with changed files" if git.get("changed") else ""
        facts.append(("git commit", f"{git.get('commit')}{changed}"))
    data = environment.get("data") or {}
    if data.get("fingerprint"):
        facts.append(("fingerprint of the data", str(data["fingerprint"])))
    if environment.get("folder"):
        facts.append(("started in", str(environment["folder"])))
    return [(term, printable(text, 400)) for term, text in facts]
