"""`loupe compare`: runs on the same test images, with tests of whether they differ."""

from pathlib import Path
from typing import Annotated, Any

import typer

from torchloupe.cli.options import Json, results_only
from torchloupe.errors import UsageError, printable

_MOST_FLIPS = 10
_MOST_SETTINGS = 20


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Two run folders or more.")],
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="FILE.HTML", help="Write a page with the images as well."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare runs on the same test images: which is better, and how surely.

    McNemar's exact test of two runs; of more, Cochran's Q first, and Holm's correction for the
    pairs. The difference of every score with its 95 % interval, the images that one run has right
    and another wrong, the settings that differ, time and size.

    Runs that were tested on other images are refused.

    loupe compare runs/photos-001 runs/photos-002

    loupe compare runs/photos-00* --json

    loupe compare runs/photos-001 runs/photos-002 --out comparison.html
    """
    if len(runs) < 2:
        raise UsageError("there is one run, and nothing to compare it with", "give two or more")
    with results_only() as line:
        from torchloupe.studies.comparison import compare as compare_runs

        line.say(f"comparing {len(runs)} runs")
        found = compare_runs(runs[0], runs[1], *runs[2:])
        if out is not None:
            line.say(f"writing {out}")
            write_page(found, Path(out))
    from torchloupe.cli.text import to_json

    print(to_json(found.as_dict()) if as_json else describe_comparison(found))


def write_page(found: Any, out: Path) -> None:
    """Write the page of a comparison, whole or not at all."""
    from torchloupe.cli.predict import write_whole
    from torchloupe.report.comparison import make_comparison_page
    from torchloupe.studies.flipped import read_flipped

    pixels = read_flipped(Path(found.runs[0].folder), [flip.id for flip in found.flips])
    page = make_comparison_page(found.as_dict(), describe_verdict(found), pixels)
    write_whole(out, page.encode("utf-8"))


def describe_comparison(found: Any) -> str:
    """The verdict, the runs, the differences of each pair, flipped images and settings."""
    parts = [
        "\n".join(describe_verdict(found)),
        _table_of_runs(found),
        *(_table_of_scores(found, pair) for pair in found.pairs),
        _table_of_flips(found),
        _table_of_settings(found),
    ]
    return "\n\n".join(part for part in parts if part)


def describe_verdict(found: Any) -> list[str]:
    """Whether the runs differ, in a line for all of them and one for each pair."""
    lines = []
    if found.cochran is not None:
        q = found.cochran
        differ = "differ" if q.p_value <= 0.05 else "don't differ beyond chance"
        lines.append(
            f"{len(found.runs)} runs on {found.images:,} test images {differ}: Cochran's "
            f"Q = {q.statistic:.2f}, p = {q.p_value:.3g}"
        )
    for pair in found.pairs:
        one, two = (printable(found.runs[k].name, 60) for k in (pair.first, pair.second))
        test = pair.mcnemar
        if pair.is_significant:
            better, worse = (two, one) if test.only_second > test.only_first else (one, two)
            verdict = f"{better} is better than {worse}"
        else:
            verdict = f"no difference of accuracy was shown between {one} and {two}"
        correction = "" if found.cochran is None else ", Holm"
        lines.append(
            f"{verdict} (McNemar's exact test: p = {pair.p_value:.3g}{correction}; only {one} "
            f"right: {test.only_first:,}, only {two}: {test.only_second:,})"
        )
    if found.smallest_difference is None:
        lines.append(f"{found.images:,} images are too few to show any difference of accuracy")
    else:
        lines.append(
            f"{found.images:,} images show differences of accuracy from "
            f"{100 * found.smallest_difference:.2f} points on (four times in five)"
        )
    return lines


def _table_of_runs(found: Any) -> str:
    from torchloupe.cli.text import align
    from torchloupe.display.progress import format_fraction
    from torchloupe.units import format_bytes, format_seconds

    rows = [["run", "model", "accuracy", "95 % interval", "trained in", "weights"]]
    for run in found.runs:
        low, high = run.accuracy_ci95
        rows.append(
            [
                printable(run.name, 60),
                printable(run.model, 60),
                format_fraction(run.accuracy),
                f"{100 * low:.2f} to {100 * high:.2f} %",
                "-" if run.seconds is None else format_seconds(run.seconds),
                "-" if run.weights_bytes is None else format_bytes(run.weights_bytes),
            ]
        )
    return align(rows, right=(2, 3, 4, 5), header=True).plain.rstrip()


def _table_of_scores(found: Any, pair: Any) -> str:
    from torchloupe.cli.text import align

    one, two = (printable(found.runs[k].name, 60) for k in (pair.first, pair.second))
    rows = [["score", one, two, "difference", "95 % interval"]]
    for score in pair.scores:
        low, high = score.interval or (None, None)
        rows.append(
            [
                score.name.replace("_", " "),
                f"{score.first:.4f}",
                f"{score.second:.4f}",
                f"{score.difference:+.4f}",
                "-" if low is None else f"{low:+.4f} to {high:+.4f}",
            ]
        )
    return align(rows, right=(1, 2, 3, 4), header=True).plain.rstrip()


def _table_of_flips(found: Any) -> str:
    from torchloupe.cli.text import align

    if not found.flips:
        return ""
    names = [printable(run.name, 40) for run in found.runs]
    rows = [["right in one run only", "is", *names]]
    for flip in found.flips[:_MOST_FLIPS]:
        said = [
            f"{printable(name, 40)} {100 * confidence:.1f} %{'' if right else ' (wrong)'}"
            for name, confidence, right in zip(
                flip.predictions, flip.confidences, flip.right, strict=True
            )
        ]
        rows.append([printable(flip.id, 80), printable(flip.label, 40), *said])
    more = len(found.flips) - _MOST_FLIPS
    end = f"\nand {more:,} more; --json has all" if more > 0 else ""
    return align(rows, header=True).plain.rstrip() + end


def _table_of_settings(found: Any) -> str:
    from torchloupe.cli.text import align

    if not found.settings:
        return "no setting differs"
    rows = [["setting", *(printable(run.name, 40) for run in found.runs)]]
    rows += [
        [name, *(printable(value, 60) for value in values)]
        for name, values in list(found.settings.items())[:_MOST_SETTINGS]
    ]
    more = len(found.settings) - _MOST_SETTINGS
    end = f"\nand {more} more settings" if more > 0 else ""
    return align(rows, header=True).plain.rstrip() + end
