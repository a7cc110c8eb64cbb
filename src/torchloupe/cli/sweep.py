"""`loupe sweep`: many trials of settings, the best of them tested."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from torchloupe.cli.options import (
    Device,
    Json,
    Precision,
    Quiet,
    Set,
    amount,
    count,
    results_only,
    whole_number,
)
from torchloupe.cli.train import Epochs, collect_settings

_MOST_TRIALS = 10  # of the table


def sweep(
    context: typer.Context,
    data: Annotated[str, typer.Argument(metavar="DATA", help="As for `loupe train`.")],
    tries: Annotated[
        list[str] | None,
        typer.Option(
            "--try",
            metavar="NAME=VALUES",
            help="A setting and what to try: LOW..HIGH, LOW..HIGH:log, LOW..HIGH:step=S or A,B,C. "
            "May be repeated. docs/settings.md lists the names.",
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option("--trials", metavar="N", parser=count, help="How many; 20 if left out."),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes", metavar="M", parser=amount, help="Begin no trial that would end later."
        ),
    ] = None,
    repeat: Annotated[
        int,
        typer.Option(
            "--repeat",
            metavar="N",
            parser=whole_number,
            help="Train the best settings with N more seeds before they are believed.",
        ),
    ] = 0,
    prune: Annotated[
        str,
        typer.Option(
            "--prune", metavar="P", help="What cuts trials short: asha, hyperband or none."
        ),
    ] = "asha",
    workers: Annotated[
        int,
        typer.Option(
            "--workers", metavar="N", parser=count, help="Trials at a time on this machine."
        ),
    ] = 1,
    storage: Annotated[
        str,
        typer.Option(
            "--storage",
            metavar="URL",
            help="postgresql://USER@HOST/DATABASE; a journal file in OUT if left out.",
        ),
    ] = "",
    model: Annotated[
        str | None, typer.Option("--model", metavar="M", help="As for `loupe train`.")
    ] = None,
    epochs: Epochs = None,
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="OUT", help="The new folder; runs/NAME-sweep-001 else."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", metavar="R", help="As for `loupe train`."),
    ] = None,
    settings: Set = None,
    device: Device = None,
    precision: Precision = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", parser=whole_number, help="Of trials and search."),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train many runs with other settings, and test the best of them.

    Optuna chooses what to try (TPE) from what was found so far, and trials that lose are cut
    short. Each trial is a run in OUT/trial-000 and so on. The winner is chosen on the validation
    split and tested once. `loupe resume OUT` goes on after a stop, or helps from another terminal
    or machine. Needs: pip install "torchloupe[sweep]"

    loupe sweep photos/ --try optimizer.lr=1e-4..1e-2:log --minutes 30

    loupe sweep digits --try model.name=cnn,residual --try augment.translate=0..0.2 --trials 30

    loupe sweep photos/ --try train.batch_total=16..256:log --repeat 5 --workers 2
    """
    typed = collect_settings(
        {
            "data.source": data,
            "model.name": model,
            "train.epochs": epochs,
            "train.seed": seed,
            "hardware.device": device,
            "hardware.precision": precision,
        },
        settings,
    )
    asked = context.find_root().obj
    with results_only(quiet=quiet) as line:
        from torchloupe.studies.sweep.space import parse_tries
        from torchloupe.studies.sweep.start import Wish, start_sweep

        wish = Wish(parse_tries(tries or ()), trials, minutes, repeat, prune, storage, workers)
        refuse_both(wish.tries, typed)
        line.say(f"reading {data}")
        with following(line, quiet=quiet) as (tell, listeners):
            found = start_sweep(
                data,
                typed,
                recipe,
                wish,
                out,
                tell=tell,
                listeners=listeners,
                started=lambda folder: asked.__setitem__("run", folder),
            )
    print_sweep(found, as_json)


def refuse_both(tries: Mapping[str, Any], typed: Mapping[str, Any]) -> None:
    """UsageError for a setting that is tried and also set for all trials."""
    from torchloupe.errors import UsageError, printable

    for name in tries:
        if name in typed:
            raise UsageError(
                f"{printable(name)} is tried, and also set to {printable(typed[name])}",
                "leave one of them out",
            )


def resume_a_sweep(
    folder: str, asked: dict[str, Any], *, trust_code: bool, quiet: bool, as_json: bool
) -> None:
    """Go on with a sweep, or help one that others work on; `asked` is as in `main.run`."""
    asked["run"] = folder
    with results_only(quiet=quiet) as line:
        from torchloupe.studies.sweep.start import resume_sweep
        from torchloupe.studies.sweep.workers import end_with_parent

        end_with_parent()
        line.say(f"opening {folder}")
        with following(line, quiet=quiet) as (tell, listeners):
            found = resume_sweep(folder, trust_code=trust_code, tell=tell, listeners=listeners)
    print_sweep(found, as_json)


class Progress:
    """A listener that shows in the waiting line how far a trial has come."""

    def __init__(self, line: Any) -> None:
        self.line, self.total, self.run = line, 0, ""

    def start(self, facts: Mapping[str, Any]) -> None:
        """Note the run and its length."""
        self.total, self.run = int(facts["total_steps"]), Path(facts["run"]).name

    def record(self, event: Mapping[str, Any]) -> None:
        """Show the step of a log line, and a verdict."""
        if "train_loss" in event:
            self.line.say(f"{self.run}: step {event['step']:,} of {self.total:,}")

    def close(self) -> None:
        """The line is cleared by whoever made it."""


@contextmanager
def following(
    line: Any, *, quiet: bool
) -> Iterator[tuple[Callable[[str], None], Callable[[], list[Any]]]]:
    """What tells of trials on stderr, and the listeners of each."""

    def tell(text: str) -> None:
        line.clear()
        if not quiet:
            print(text, file=sys.stderr, flush=True)

    yield tell, lambda: [Progress(line)]


def print_sweep(found: Any, as_json: bool) -> None:
    """Print what was found: the best trials, the winner with its test, and what comes next."""
    from torchloupe.cli.text import describe_page, print_text, to_json

    if as_json:
        print(to_json({"folder": str(found.folder), **found.results}))
        return
    print_text(describe_sweep(found))
    print_text(describe_page(found.folder))


def describe_sweep(found: Any) -> Any:
    """The summary of a finished sweep."""
    from torchloupe.cli.text import align, list_next, quote

    results = found.results
    text = align(_table_of_trials(found), right=(0, 1), header=True)
    rest = found.results["complete"] - _MOST_TRIALS
    if rest > 0:
        text.append(f"and {rest} more; the page has all\n")
    text.append("\n")
    winner = results["winner"]
    ended = f"{results['complete']} complete, {results['cut_short']} cut short"
    ended += f", {results['failed']} failed" if results["failed"] else ""
    facts = [["trials", ended], ["winner", winner["run"]], *_facts_of(winner, results)]
    if results["importance"]:
        shares = [f"{name} {100 * share:.0f} %" for name, share in results["importance"].items()]
        facts.append(["what mattered", ", ".join(shares)])
    facts += [["note", note] for note in results["notes"]]
    text.append_text(align(facts))
    run = quote(found.best)
    commands = [
        [f"loupe predict {run} IMAGES", "# the winner is a run like any other"],
        [f"loupe train DATA --recipe {run}/config.json", "# its settings again, on other data"],
    ]
    return text.append_text(list_next(commands))


def _facts_of(winner: Mapping[str, Any], results: Mapping[str, Any]) -> list[list[str]]:
    what = results["monitor"].replace("_", " ")
    luck = "" if winner["repeats"] else ", the best of many: partly luck (--repeat 5 tells)"
    facts = [[what, f"{winner['value']:.4f}{luck}"]]
    repeats = winner["repeats"]
    if repeats and repeats["mean"] is not None:
        spread = "" if repeats["std"] is None else f", standard deviation {repeats['std']:.4f}"
        count = len(repeats["values"])
        facts.append(["other seeds", f"{repeats['mean']:.4f}, mean of {count}{spread}"])
    test = winner["test"]
    if test:
        low, high = test.get("accuracy_ci95") or (None, None)
        interval = (
            ""
            if low is None or high is None
            else f"  (95 % interval {100 * low:.2f} to {100 * high:.2f} %)"
        )
        facts.append(["test accuracy", f"{100 * test['accuracy']:.2f} %{interval}, tested once"])
    else:
        facts.append(["test accuracy", "no test split; expect less than on val"])
    return facts


def _table_of_trials(found: Any) -> list[list[str]]:
    from torchloupe.studies.sweep.space import spell

    complete = [trial for trial in found.trials if trial.value is not None]
    minimises = found.results["monitor"].endswith("loss")
    complete.sort(key=lambda trial: trial.value, reverse=not minimises)
    names = list(complete[0].values)
    rows = [["trial", found.results["monitor"].replace("_", " "), *names]]
    for trial in complete[:_MOST_TRIALS]:
        shown = [spell(value, 40) for value in trial.values.values()]
        rows.append([f"{trial.number:03d}", f"{trial.value:.4f}", *shown])
    return rows
