"""What `loupe eval RUN --samples` prints: the training samples that were hard to learn."""

from pathlib import Path

from rich.text import Text

from torchloupe.cli.text import print_text, to_json
from torchloupe.errors import UsageError, printable
from torchloupe.run.places import find_run
from torchloupe.trained.samples import SampleTable, read_samples

SHOWN = 10


def print_samples(run: str, data: str | None, as_json: bool) -> None:
    """Print the ranking of the training samples of `run`; UsageError for other data."""
    if data is not None:
        raise UsageError(
            "--samples ranks the training samples of the run, and other data were given",
            "leave the data out",
        )
    table = read_samples(find_run(Path(run)))
    ranked = table.rank()
    if as_json:
        named = {kind: [table.describe(k) for k in places] for kind, places in ranked.items()}
        print(to_json({"run": run, "epochs": table.epochs, "samples": len(table), **named}))
    else:
        print_text(describe_samples(table))


def describe_samples(table: SampleTable) -> Text:
    """The first SHOWN samples of each ranking, with how often each was forgotten."""
    text = Text(f"{len(table):,} training samples, {table.epochs} epochs\n")
    titles = {
        "forgotten": "forgotten most often (right, then wrong again)",
        "never_learned": "never learned (wrong in every epoch)",
        "learned_last": "learned last",
    }
    for kind, places in table.rank().items():
        text.append(f"\n{titles[kind]}: {len(places):,}\n", "bold")
        for place in places[:SHOWN]:
            facts = table.describe(place)
            learned = facts["learned_epoch"]
            text.append(
                f"  {printable(facts['id'], 60)}  {printable(facts['label'], 40)}  "
                f"forgotten {facts['forgotten']}, "
                f"{'never learned' if learned is None else f'learned in epoch {learned + 1}'}, "
                f"mean margin {facts['mean_margin']:.2f}\n"
            )
    return text
