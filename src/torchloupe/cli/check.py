"""`loupe check`: verdicts on data, model, loss and optimizer; nothing is trained."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchloupe.cli.options import Json, Quiet, Set, results_only
from torchloupe.cli.train import collect_settings, display

if TYPE_CHECKING:
    from rich.text import Text

    from torchloupe.run.events import Verdict

_STYLES = {"error": "bold red", "warning": "bold yellow", "note": "bold"}
_MOST_SAMPLES = 5


def check(
    data: Annotated[str, typer.Argument(metavar="DATA", help="Anything that `loupe train` takes.")],
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="M", help="Check this model too; as in `loupe train`."),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option("--loss", metavar="L", help="Its loss: a name, or file.py:Loss."),
    ] = None,
    settings: Set = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="NAME", help="A verdict to leave out; may be repeated."),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Name silent mistakes in data and model before they cost a day.

    With --model or --loss also in the model, its loss and its optimizer, by a few steps on a
    copy. Nothing is trained and no run folder is made. Each verdict has a name with a page in
    docs/checks, what was seen, and one thing to do. With --set check.level=strict the exit code is
    7 where one is an error.

    loupe check photos/

    loupe check photos/ --model my_model.py:Net --loss my_loss.py:loss

    loupe check photos/ --json --ignore class-never-tested
    """
    typed = collect_settings(
        {"data.source": data, "model.name": model, "loss.name": loss}, settings
    )
    if ignore:
        typed["check.ignore"] = ignore
    with results_only(quiet=quiet) as line:
        from torchloupe.checks.verdicts import refuse_errors
        from torchloupe.prepare.checking import judge
        from torchloupe.train.start import decide

        line.say(f"reading {data}")
        wanted = decide(typed, None)
        with display(quiet) as listeners:
            with_model = any(name.startswith(("model.", "loss.", "optimizer.")) for name in typed)
            verdicts = judge(wanted, data, listeners, with_model=with_model)
    from torchloupe.cli.text import print_text, to_json

    if as_json:
        print(to_json({"verdicts": [verdict.as_json() for verdict in verdicts]}))
    else:
        print_text(describe(verdicts))
    refuse_errors(verdicts, wanted.config.check)


def describe(verdicts: "list[Verdict]") -> "Text":
    """Each verdict as a paragraph, and how many there are of each level."""
    from rich.text import Text

    from torchloupe.errors import printable
    from torchloupe.units import plural

    text = Text()
    for verdict in verdicts:
        text.append(f"{verdict.level}", _STYLES[verdict.level])
        where = f"  {printable(verdict.where, 80)}" if verdict.where else ""
        text.append(f"  {verdict.verdict}{where}\n")
        rows: list[tuple[str, Any]] = [("seen", verdict.seen), ("why", verdict.why)]
        rows.append(("to do", verdict.remedy))
        if verdict.samples:
            rows.append(("images", ", ".join(verdict.samples[:_MOST_SAMPLES])))
        for label, words in rows:
            if words:
                text.append(f"  {label:<8}{printable(words, 2000)}\n")
        text.append("\n")
    levels = [verdict.level for verdict in verdicts]
    counts = [plural(levels.count(level), level) for level in _STYLES if level in levels]
    return text.append(f"{', '.join(counts) or 'nothing found'}\n")
