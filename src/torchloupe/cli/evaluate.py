"""`loupe eval`: a trained model on data it was not trained on."""

import sys
from typing import Annotated

import typer

from torchloupe.cli.options import (
    Device,
    Json,
    RunFolder,
    RunModel,
    TrustCode,
    results_only,
)
from torchloupe.errors import printable


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
    device: Device = None,
    model: RunModel = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Evaluate a run: accuracy, 95 % interval, confused classes.

    For a run from a pretrained network also suspected label errors, which look like images of
    another class, and near-duplicates in different splits.

    loupe eval runs/photos-001

    loupe eval runs/photos-001 new_photos/ --json
    """
    from torchloupe.cli.text import describe_audit, describe_evaluation, print_text, to_json

    with results_only() as line:
        from torchloupe.trained.run import open_run

        line.say(f"opening {run}")
        opened = open_run(run, model=model, trust_code=trust_code, device=device or "auto")
        line.say(f"evaluating {run}" if data is None else f"evaluating {run} on {data}")
        scores = opened.evaluate(data)
        from torchloupe.trained.audit import Audit, audit_run

        odd = audit_run(opened) if data is None else Audit()
    if as_json:
        seen = {"suspected_labels": odd.suspected_labels, "near_duplicates": odd.near_duplicates}
        print(to_json({"run": str(opened.folder), "data": data, "scores": scores, **seen}))
    else:
        for note in [*(scores.get("notes") or ()), *([odd.note] if odd.note else [])]:
            print(f"note: {printable(note, limit=1000)}", file=sys.stderr)
        split = "data" if scores["split"] == "all" else scores["split"]
        print_text(describe_evaluation(scores, printable(split, 20)))
        print_text(describe_audit(odd.suspected_labels, odd.near_duplicates))
