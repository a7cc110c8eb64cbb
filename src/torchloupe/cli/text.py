"""Results as text for people and as JSON for programs: what goes to stdout.

Text is never cut or wrapped to a terminal's width, so that a pipe gets all of it.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from torchloupe.display.progress import format_fraction, format_loss
from torchloupe.errors import printable
from torchloupe.evaluation.folds import within_shares
from torchloupe.run.json_files import finite
from torchloupe.trained.history import spent_seconds
from torchloupe.units import format_bytes, format_count, format_seconds, plural

_MOST_CLASSES = 40
_MOST_PAIRS = 10
_NUMBERS = {
    "macro_f1": "mean class f1",
    "balanced_accuracy": "mean recall",
    "mcc": "matthews",
    "kappa": "cohen's kappa",
    "auroc": "auroc",
    "average_precision": "avg precision",
    "nll": "log loss",
    "brier": "brier score",
}


def print_text(text: Text) -> None:
    """Print `text` on stdout, styled if that is a terminal."""
    console = Console(highlight=False, emoji=False, markup=False, soft_wrap=True)
    with console.capture() as page:  # rich itself would end the program on a closed pipe
        console.print(text, end="")
    print(page.get(), end="", flush=True)


def to_json(value: Any) -> str:
    """JSON for programs: NaN and infinities are null, unknown objects their text."""
    return json.dumps(finite(value), indent=1, default=str)


def describe_result(
    folder: Path, metrics: Mapping[str, Any], source: str = "", *, takes_files: bool = True
) -> Text:
    """The summary of a finished run: accuracy, time, folder, and the next commands."""
    text = Text()
    test, val = metrics.get("test") or {}, metrics.get("val") or {}
    if test.get("count"):
        text.append_text(describe_scores(test, "test"))
    elif val.get("count"):
        text.append_text(describe_scores(val, "val"))
        text.append(
            "no test split was used; val also chose the best checkpoint, so expect a lower "
            "accuracy on new images\n"
        )
    else:
        text.append("no val or test images were evaluated, so there is no accuracy\n")
    spent = metrics.get("train") or {}
    words = []
    if (seconds := spent_seconds(spent)) is not None:
        words.append(format_seconds(seconds))
    if spent.get("steps"):
        words.append(plural(int(spent["steps"]), "step"))
    if spent.get("images_per_second"):
        words.append(f"{format_count(spent['images_per_second'])} images/s")
    if spent.get("skipped_steps"):
        words.append(f"{spent['skipped_steps']:,} not applied")
    if spent.get("peak_memory_bytes"):
        words.append(f"{format_bytes(spent['peak_memory_bytes'])} of memory at most")
    if spent.get("save_pause_seconds") is not None:
        words.append(f"{format_seconds(spent['save_pause_seconds'])} waiting for checkpoints")
    if words:
        text.append(_fact("trained in", ", ".join(words)))
    text.append(_fact("run folder", printable(folder, limit=4000)))
    return text.append_text(
        list_next(_next_commands(folder, source, takes_files, bool(test or val)))
    )


def list_next(commands: Sequence[Sequence[str]]) -> Text:
    """What to run next: each command with what it is for."""
    text = Text("\n").append("next:\n", "bold")
    return text.append_text(align(commands, indent=2, dim_last=True))


def describe_page(folder: Path) -> Text:
    """The last line of a training: where its page is; nothing where there is none."""
    page = folder / "report.html"
    if not page.is_file():
        return Text()
    return Text(f"\n{_fact('report', printable(page, limit=4000))}")


def describe_folds(folder: Path, metrics: Mapping[str, Any], command: str) -> Text:
    """The summary of a cross-validation: each fold, mean and standard deviation, and the total.

    `command` trains one run with the same options.
    """
    rows = [["fold", "test accuracy", "mean class f1", "images", "trained in"]]
    rows += [
        [
            run["folder"].removeprefix("fold-"),
            format_fraction(run["accuracy"]),
            f"{run['macro_f1']:.4f}",
            f"{run['count']:,}",
            format_seconds(run["seconds"]),
        ]
        for run in metrics["runs"]
    ]
    text = align(rows, right=(0, 1, 2, 3, 4), header=True)
    text.append("\n")
    text.append(f"{'test accuracy':<16}")
    text.append(format_fraction(metrics["accuracy_mean"]), "bold green")
    deviation, interval = 100 * metrics["accuracy_std"], ""
    if metrics.get("accuracy_ci95"):
        low, high = (100 * end for end in within_shares(metrics["accuracy_ci95"]))
        interval = f", corrected 95 % interval {low:.2f} to {high:.2f} %"
    text.append(
        f"  (mean of {metrics['folds']} folds, standard deviation {deviation:.2f} points"
        f"{interval})\n"
    )
    f1, f1_std = metrics["macro_f1_mean"], metrics["macro_f1_std"]
    text.append(_fact("mean class f1", f"{f1:.4f}  (standard deviation {f1_std:.4f})"))
    low, high = metrics["pooled"]["accuracy_ci95"]
    text.append(
        _fact(
            "all together",
            f"{format_fraction(metrics['pooled']['accuracy'])}  (95 % interval {100 * low:.2f} to "
            f"{100 * high:.2f} %, {plural(metrics['pooled']['count'], 'image')}, each tested once)",
        )
    )
    text.append(_fact("folder", printable(folder, limit=4000)))
    commands = [
        [command, "# the model to use: one run, with more images to learn from"],
        [f"loupe eval {quote(folder / 'fold-1')}", "# each class in one fold"],
    ]
    return text.append_text(list_next(commands))


def describe_scores(scores: Mapping[str, Any], split: str) -> Text:
    """Accuracy with its interval, and the loss, in one line each."""
    text = Text()
    count = plural(int(scores.get("count") or 0), "image")
    label = f"{split} accuracy"
    low, high = scores.get("accuracy_ci95") or (None, None)
    interval = ""
    if low is not None and high is not None:
        interval = f"95 % interval {100 * low:.2f} to {100 * high:.2f} %, "
    text.append(f"{label:<16}")
    text.append(f"{format_fraction(scores.get('accuracy'))}", "bold green")
    text.append(f"  ({interval}{count})\n")
    if scores.get("distinct_accuracy") is not None:
        text.append(
            _fact(
                "distinct images",
                f"{format_fraction(scores['distinct_accuracy'])}  (copies of one image counted "
                f"once: {plural(scores['distinct_count'], 'image')})",
            )
        )
    if scores.get("mean_average_precision") is not None:
        text.append(_fact("avg precision", format_fraction(scores["mean_average_precision"])))
    if scores.get("loss") is not None:
        text.append(_fact(f"{split} loss", format_loss(scores["loss"])))
    return text


def describe_evaluation(scores: Mapping[str, Any], split: str) -> Text:
    """All scores: accuracy and loss, a table of classes, and the most confused pairs."""
    text = describe_scores(scores, split)
    if scores.get("top5_accuracy") is not None:
        text.append(_fact("top-5 accuracy", format_fraction(scores["top5_accuracy"])))
    for key, label in _NUMBERS.items():
        if scores.get(key) is not None:
            low, high = scores.get(f"{key}_ci95") or (None, None)
            remark = "" if low is None else f"  (95 % interval {low:.4f} to {high:.4f})"
            text.append(_fact(label, f"{scores[key]:.4f}{remark}"))
    if scores.get("ece") is not None:
        text.append(_fact("calibration", describe_calibration(scores)))
    classes = list((scores.get("per_class") or {}).items())
    if classes:
        shown = classes
        if len(classes) > _MOST_CLASSES:
            shown = sorted(classes, key=lambda item: item[1].get("f1") or 0.0)[:_MOST_CLASSES]
            text.append(
                f"\nthe {_MOST_CLASSES} classes with the lowest f1, of {len(classes):,}; "
                "--json has all\n"
            )
        rows = [["class", "precision", "recall", "f1", "images"]]
        rows += [
            [
                printable(name, limit=60),
                *(format_fraction(values.get(key)) for key in ("precision", "recall", "f1")),
                f"{values.get('count') or 0:,}",
            ]
            for name, values in shown
        ]
        text.append("\n")
        text.append_text(align(rows, right=(1, 2, 3, 4), header=True))
    pairs = confused_pairs(scores.get("confusion"), [name for name, _ in classes])
    if pairs:
        rows = [["confused most", "taken for", "images", "of the class"]]
        rows += [
            [printable(name, 60), printable(other, 60), f"{count:,}", format_fraction(share)]
            for name, other, count, share in pairs
        ]
        text.append("\n")
        text.append_text(align(rows, right=(2, 3), header=True))
    return text


def describe_calibration(scores: Mapping[str, Any]) -> str:
    """The expected error of the confidence, and what it was before the temperature."""
    remark = "expected error of the confidence"
    found = scores.get("calibration") or {}
    if found.get("temperature", 1.0) != 1.0:
        before = found["before"]["ece"]
        remark += f"; {before:.4f} before, at temperature {found['temperature']:.3f}"
    return f"{scores['ece']:.4f} ({remark})"


def describe_audit(
    suspected_labels: Sequence[Mapping[str, Any]], near_duplicates: Sequence[Mapping[str, Any]]
) -> Text:
    """Images that may be mislabelled, and near-copies across splits, a table each; or nothing."""
    text = Text()
    if suspected_labels:
        rows = [["perhaps mislabelled", "is labelled", "looks like", "most like"]]
        rows += [
            [
                printable(stray["id"], 80),
                printable(stray["label"], 40),
                printable(stray["neighbours"], 40),
                printable(stray["nearest"], 80),
            ]
            for stray in suspected_labels
        ]
        text.append("\n")
        text.append_text(align(rows, header=True))
    if near_duplicates:
        rows = [["nearly the same", "in", "as", "in", "cosine"]]
        rows += [
            [
                printable(twin["id"], 80),
                twin["split"],
                printable(twin["other"], 80),
                twin["other_split"],
                f"{twin['cosine']:.3f}",
            ]
            for twin in near_duplicates
        ]
        text.append("\n")
        text.append_text(align(rows, header=True))
    return text


def confused_pairs(
    confusion: Sequence[Sequence[int]] | None, names: Sequence[str], most: int = _MOST_PAIRS
) -> list[tuple[str, str, int, float]]:
    """(class, predicted class, images, fraction of the class), most images first."""
    if not confusion or len(confusion) != len(names):
        return []
    wrong = [
        (names[true], names[guess], int(count), count / sum(row))
        for true, row in enumerate(confusion)
        for guess, count in enumerate(row)
        if count and true != guess
    ]
    return sorted(wrong, key=lambda pair: (-pair[2], -pair[3]))[:most]


def align(
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[int] = (),
    header: bool = False,
    indent: int = 0,
    dim_last: bool = False,
) -> Text:
    """Rows as columns, two spaces apart; `right` columns are set flush right."""
    widths = [max(cell_len(cell) for cell in column) for column in zip(*rows, strict=True)]
    text = Text()
    for number, row in enumerate(rows):
        text.append(" " * indent)
        for column, cell in enumerate(row):
            is_last = column == len(row) - 1
            space = " " * (widths[column] - cell_len(cell))
            padded = space + cell if column in right else cell if is_last else cell + space
            style = "bold" if header and number == 0 else "dim" if dim_last and is_last else ""
            text.append(padded if is_last else padded + "  ", style)
        text.append("\n")
    return text


def quote(path: Path | str) -> str:
    """`path` quoted for a shell, with control characters escaped and a leading dash protected."""
    text = str(path)
    if text.startswith("-"):
        text = f"./{text}"
    if text.isprintable():
        return shlex.quote(text)
    codes = "".join(
        c if c.isprintable() and c not in "'\\" else "".join(f"\\x{b:02x}" for b in _bytes(c))
        for c in text
    )
    return f"$'{codes}'"


def _bytes(character: str) -> bytes:
    return character.encode("utf-8", "surrogateescape")


def _next_commands(
    folder: Path, source: str, takes_files: bool, has_scores: bool
) -> list[list[str]]:
    run = quote(folder)
    images = quote(source) if source and Path(source).is_dir() else "IMAGES..."
    predict = [f"loupe predict {run} {images}", "# labels for image files and folders"]
    evaluate = [f"loupe eval {run}", "# each class, and what is confused with what"]
    return [
        *([predict] if takes_files else []),
        *([evaluate] if has_scores else []),
        [f"loupe summary {run}", "# the layers of the model"],
    ]


def _fact(label: str, value: str) -> str:
    return f"{label:<16}{value}\n"
