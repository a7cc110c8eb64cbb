"""The data of a run: images of each class and split, examples, copies, and labels to look at."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from torchloupe.data.split import SPLIT_NAMES
from torchloupe.errors import printable
from torchloupe.prepare.run_data import RunData
from torchloupe.run.places import SET_ASIDE
from torchloupe.trained.facts.images import ImageTable
from torchloupe.trained.facts.slices import measure_sizes
from torchloupe.units import plural

MOST_BARS = 30  # classes in the chart
MOST_EXAMPLE_CLASSES = 20
EXAMPLES = 6  # of each class
MOST_LISTED = 50  # unreadable images
MOST_COPIES = 12  # pairs
SIZES_LOOKED_AT = 500
Values = Mapping[str, Any]
Chart = dict[str, Any]


def describe_data(
    folder: Path, environment: Values, images: ImageTable, class_names: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Chart]]:
    """The section on the data, and its chart."""
    data = images.run_data
    facts = environment.get("data") or {}
    told: dict[str, Any] = {
        "facts": [("source", str(facts.get("name", "")))],
        "classes_title": "images of each class",
        "examples": [],
        "more_classes": 0,
        "copies": [],
        "copies_title": "",
        "suspects": [],
        "remarks": [],
        **read_unreadable(folder),
    }
    counts = [facts.get(name, 0) for name in SPLIT_NAMES]
    words = [f"{count:,} {name}" for count, name in zip(counts, SPLIT_NAMES, strict=True)]
    told["facts"].append(("images", ", ".join(words)))
    if facts.get("kind"):
        told["facts"].append(("kind", str(facts["kind"])))
    charts: dict[str, Chart] = {}
    of_class = count_classes(data, facts, class_names)
    if of_class:
        charts["classes"], told["classes_title"] = class_chart(of_class)
    if data is not None:
        told["facts"] += _sizes(data)
        told["examples"] = pick_examples(data, images)
        told["more_classes"] = max(0, len(class_names) - len(told["examples"]))
        told["copies"], told["copies_title"] = find_copies(data, images)
    return told, charts


def count_classes(
    data: RunData | None, facts: Values, class_names: Sequence[str]
) -> list[tuple[str, list[int]]]:
    """(class, images in train, val and test) in the order of the classes; [] where unknown."""
    if data is not None:
        parts = [data.samples.class_counts(data.rows(name)) for name in SPLIT_NAMES]
        return [
            (name, [int(part[k]) for part in parts])
            for k, name in enumerate(data.samples.class_names)
        ]
    known = facts.get("images_of_class") or {}
    return [(name, [int(known[name])]) for name in class_names if known.get(name)]


def class_chart(of_class: Sequence[tuple[str, list[int]]]) -> tuple[Chart, str]:
    """Images of each class and split as bars; of many classes the largest and the smallest."""
    ordered = sorted(of_class, key=lambda row: -sum(row[1]))
    shown, title = list(of_class), "images of each class"
    if len(ordered) > MOST_BARS:
        half = MOST_BARS // 2
        shown = ordered[:half] + ordered[-half:]
        title = f"images of the {half} largest and the {half} smallest of {len(ordered):,} classes"
    names = list(SPLIT_NAMES) if shown and len(shown[0][1]) == len(SPLIT_NAMES) else ["images"]
    chart = {
        "kind": "bars",
        "title": title,
        "names": names,
        "x": {"label": "images"},
        "y": {"label": ""},
        "rows": [{"name": printable(name), "parts": parts} for name, parts in shown],
    }
    return chart, title


def _sizes(data: RunData) -> list[tuple[str, str]]:
    """Sizes of the images as they are stored, of some of them."""
    rows = data.some_rows(SIZES_LOOKED_AT)
    sizes = measure_sizes(data, rows)
    sizes = sizes[np.isfinite(sizes[:, 0])].astype(int)
    if not len(sizes):
        return []
    heights, widths = sizes[:, 0], sizes[:, 1]
    if len(np.unique(sizes, axis=0)) == 1:
        return [("stored as", f"{widths[0]} x {heights[0]} pixels")]
    middle = f"{int(np.median(widths))} x {int(np.median(heights))}"
    ends = f"{widths.min()} x {heights.min()} to {widths.max()} x {heights.max()}"
    return [("stored as", f"{middle} pixels in the median (width x height), from {ends}")]


def pick_examples(data: RunData, images: ImageTable) -> list[dict[str, Any]]:
    """A few training images of each of the first classes, picked by their keys."""
    rows = data.splits.train
    if not len(rows):
        return []
    labels, keys = data.samples.labels[rows], data.samples.keys[rows]
    order = np.argsort(keys, kind="stable")
    picked = []
    for k, name in enumerate(data.samples.class_names[:MOST_EXAMPLE_CLASSES]):
        of_class = labels[order, k] > 0.5 if data.samples.is_multi_label else labels[order] == k
        own = rows[order[np.flatnonzero(of_class)[:EXAMPLES]]]
        picked.append({"name": name, "images": [images.add(int(row)) for row in own]})
    return picked


def find_copies(data: RunData, images: ImageTable) -> tuple[list[dict[str, Any]], str]:
    """Identical images, those in two splits or under two labels first; and a title that counts."""
    if data.pixels is None or not len(data.pixels.content):
        return [], ""
    rows = np.sort(np.concatenate([data.splits.train, data.splits.val, data.splits.test]))
    content = data.pixels.content[rows]
    order = np.argsort(content, kind="stable")
    same = np.flatnonzero(content[order][1:] == content[order][:-1])
    if not len(same):
        return [], ""
    pairs = [(int(rows[order[k]]), int(rows[order[k + 1]])) for k in same]
    parts = np.zeros(len(data.samples), dtype=np.int8)
    parts[data.splits.val], parts[data.splits.test] = 1, 2
    labels = data.samples.labels
    told: list[tuple[int, tuple[int, int], str]] = []
    across = unequal = 0
    for a, b in pairs:
        leaks = bool(parts[a] != parts[b])
        differs = bool(np.any(labels[a] != labels[b]))
        across, unequal = across + leaks, unequal + differs
        words = " and ".join(
            text for text, is_so in (("in two splits", leaks), ("two labels", differs)) if is_so
        )
        told.append((-(leaks + 2 * differs), (a, b), words or "in one split"))
    chosen = sorted(told, key=lambda entry: entry[0])[:MOST_COPIES]
    title = f"{plural(len(pairs), 'pair')} of identical images, {across:,} of them in two splits"
    title += f" and {unequal:,} under two labels"
    return [
        {"images": [images.add(row) for row in pair], "words": words} for _, pair, words in chosen
    ], title


def describe_suspects(found: Sequence[Values], images: ImageTable) -> list[dict[str, Any]]:
    """Suspected labels as an audit found them, each with the number of its image."""
    data = images.run_data
    if data is None or not found:
        return []
    wanted = {entry["id"] for entry in found} | {entry["nearest"] for entry in found}
    row_of = {n: row for row, n in enumerate(map(str, data.samples.ids)) if n in wanted}
    return [
        {
            **entry,
            "image": images.add(row_of[entry["id"]]),
            "nearest": images.add(row_of[entry["nearest"]]),
        }
        for entry in found
        if entry["id"] in row_of and entry["nearest"] in row_of
    ]


def read_unreadable(folder: Path) -> dict[str, Any]:
    """The first rows of set-aside.csv, and how many there are."""
    path = folder / SET_ASIDE
    rows: list[dict[str, str]] = []
    if path.is_file():
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = list(csv.DictReader(file))
    return {"unreadable": rows[:MOST_LISTED], "unreadable_count": len(rows)}
