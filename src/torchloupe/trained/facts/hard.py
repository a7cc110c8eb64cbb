"""The training samples that were hard to learn, as the ledger of the run ranks them."""

from pathlib import Path
from typing import Any

from torchloupe.errors import LoupeError
from torchloupe.trained.facts.images import ImageTable
from torchloupe.trained.samples import read_samples

TITLES = {
    "forgotten": "Forgotten most often",
    "never_learned": "Never learned",
    "learned_last": "Learned last",
}
MOST_SHOWN = 24  # of each kind


def describe_hard(folder: Path, images: ImageTable) -> list[dict[str, Any]]:
    """The kinds that have samples, with the first of each; empty without a ledger or the data."""
    data = images.run_data
    if data is None:
        return []
    try:
        table = read_samples(folder)
    except LoupeError:
        return []
    ranked = table.rank()
    shown = {str(table.ids[k]) for places in ranked.values() for k in places[:MOST_SHOWN]}
    row_of = {name: k for k, name in enumerate(map(str, data.samples.ids)) if name in shown}
    parts = []
    for kind, places in ranked.items():
        facts = [table.describe(int(place)) for place in places[:MOST_SHOWN]]
        rows = [
            {"image": images.add(row_of[fact["id"]]), "words": _say(fact)}
            for fact in facts
            if fact["id"] in row_of
        ]
        if rows:
            parts.append({"title": TITLES[kind], "count": len(places), "rows": rows})
    return parts


def _say(fact: dict[str, Any]) -> str:
    """How one sample was learned."""
    times = f"forgotten {fact['forgotten']}x, " if fact["forgotten"] else ""
    epoch = fact["learned_epoch"]
    end = "wrong in the last epoch" if epoch is None else f"learned in epoch {epoch + 1}"
    return f"{times}{end}, mean margin {fact['mean_margin']:.2f}"
