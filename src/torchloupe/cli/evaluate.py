"""`loupe eval`: a trained model on data it was not trained on."""

import sys
from typing import Annotated, Any

import typer

from torchloupe.cli.options import (
    Device,
    Json,
    RunFolder,
    RunModel,
    TrustCode,
    Views,
    results_only,
)
from torchloupe.errors import UsageError, printable


def evaluate(
    run: RunFolder,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATA]",
            help="Other labelled data, in any form that `loupe train` takes; classes are matched "
            "by name. The test split of the run if left out.",
        ),
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            "--threshold",
            metavar="T",
            help="Keep the confidence that `predict` wants: 0.95precision (reached on val), "
            "0.8, or none.",
        ),
    ] = None,
    views: Views = "one",
    device: Device = None,
    model: RunModel = None,
    trust_code: TrustCode = False,
    samples: Annotated[
        bool,
        typer.Option(
            "--samples",
            help="Rank the training samples instead: forgotten most often, never learned, learned "
            "last.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Evaluate a run or an export: scores and what is confused.

    For a run from a pretrained network also suspected label errors, which look like images of
    another class, and near-duplicates in different splits.

    --threshold and --views decide on the val split: the first finds the confidence with a wanted
    precision, writes it into the run's contract, and says what it leaves; the second says whether
    an average over several views of each image is better.

    loupe eval runs/photos-001

    loupe eval runs/photos-001 --threshold 0.95precision

    loupe eval runs/photos-001 --views flip

    loupe eval runs/photos-001 new_photos/ --json
    """
    from torchloupe.cli.text import describe_audit, describe_evaluation, print_text, to_json

    if samples:
        rank_samples(run, data, as_json)
        return
    if (data is not None) + (threshold is not None) + (views != "one") > 1:
        raise UsageError(
            "--threshold and --views decide on the val split of the run, one at a time",
            "leave out DATA, and give one of the two",
        )
    with results_only() as line:
        from torchloupe.deploy.artefact.opened import open_trained, refuse_decision
        from torchloupe.trained.run import Run

        line.say(f"opening {run}")
        opened = open_trained(run, model=model, trust_code=trust_code, device=device)
        decided = None
        if isinstance(opened, Run):
            decided = decide(opened, threshold, views, trust_code=trust_code)
        elif threshold is not None or views != "one":
            refuse_decision(run)
    if decided is not None:
        name, found = decided
        lines = describe_threshold(found) if name == "threshold" else describe_views(found)
        print(to_json({"run": str(opened.folder), name: found.as_dict()}) if as_json else lines)
        return
    with results_only() as line:
        line.say(f"evaluating {run}" if data is None else f"evaluating {run} on {data}")
        scores = opened.evaluate(data)
        from torchloupe.trained.audit import Audit, audit_run

        odd = audit_run(opened) if data is None and isinstance(opened, Run) else Audit()
    if as_json:
        seen = {"suspected_labels": odd.suspected_labels, "near_duplicates": odd.near_duplicates}
        print(to_json({"run": str(opened.folder), "data": data, "scores": scores, **seen}))
    else:
        for note in [*(scores.get("notes") or ()), *([odd.note] if odd.note else [])]:
            print(f"note: {printable(note, limit=1000)}", file=sys.stderr)
        split = "data" if scores["split"] == "all" else scores["split"]
        print_text(describe_evaluation(scores, printable(split, 20)))
        print_text(describe_audit(odd.suspected_labels, odd.near_duplicates))


def rank_samples(run: str, data: str | None, as_json: bool) -> None:
    """What `--samples` prints."""
    with results_only() as line:
        from torchloupe.cli.samples import print_samples

        line.say(f"opening {run}")
    print_samples(run, data, as_json)


def decide(run: Any, threshold: str | None, views: str, *, trust_code: bool) -> Any:
    """What was decided on val, after its name: a threshold, or views; None for neither."""
    from torchloupe.trained.threshold import set_threshold
    from torchloupe.trained.views import weigh_views

    if threshold is not None:
        return "threshold", set_threshold(run, threshold, trust_code=trust_code)
    if views != "one":
        return "views", weigh_views(run, views, trust_code=trust_code)
    return None


def describe_threshold(found: Any) -> str:
    """A threshold and what it leaves on val and test, in a line each."""
    if found.value is None:
        return "threshold       none: every prediction counts as sure"
    lines = [f"{'threshold':<16}{found.value:.4f}  (`loupe predict` says unsure below it)"]
    for part in found.splits:
        if part.precision is None:
            lines.append(f"{part.split:<16}no image is sure")
            continue
        low, high = part.precision_ci95
        lines.append(
            f"{part.split:<16}{100 * part.precision:.2f} % right of the {part.count:,} images that "
            f"are sure ({100 * part.coverage:.1f} % of all), 95 % interval {100 * low:.2f} to "
            f"{100 * high:.2f} %"
        )
    return "\n".join(lines)


def describe_views(found: Any) -> str:
    """Whether views pay: the verdict, and each score with one view and with several."""
    from torchloupe.cli.text import align

    verdicts = {
        "pays": f"--views {found.views} pays: accuracy is higher on val",
        "hurts": f"--views {found.views} hurts: accuracy is lower on val",
        "none": f"--views {found.views} does not pay: {found.images:,} images of val show no "
        "difference of accuracy",
    }
    test = found.mcnemar
    rows = [["score", "one view", found.views, "difference", "95 % interval"]]
    for score in found.scores:
        low, high = score.interval or (None, None)
        rows.append(
            [
                score.name,
                f"{score.first:.4f}",
                f"{score.second:.4f}",
                f"{score.difference:+.4f}",
                "-" if low is None else f"{low:+.4f} to {high:+.4f}",
            ]
        )
    return "\n".join(
        [
            verdicts[found.verdict],
            f"McNemar's exact test: p = {test.p_value:.3g} (right with several views only: "
            f"{test.only_second:,}, with one only: {test.only_first:,})",
            f"{found.forwards} forwards of each image, {found.seconds[1] / found.seconds[0]:.1f} "
            "times as long",
            "",
            align(rows, right=(1, 2, 3), header=True).plain.rstrip(),
        ]
    )
