"""`loupe predict`: labels for images, as a table, CSV, JSON or Parquet."""

import contextlib
import csv
import io
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from torchloupe.cli.options import (
    Device,
    RunFolder,
    RunModel,
    TrustCode,
    Views,
    count,
    results_only,
)
from torchloupe.errors import DataError, ResourceError, UsageError, did_you_mean, printable

FORMATS = ("table", "csv", "json", "parquet")
LONG_SECONDS = 15.0  # a prediction that takes longer is told of --fast
_SHOWN_FAILURES = 10


def predict(
    context: typer.Context,
    run: RunFolder,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES...", help="Image files, and folders of images at any depth."
        ),
    ],
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="F",
            help="table, csv, json or parquet; by the extension of --out if left out.",
        ),
    ] = None,
    top: Annotated[
        int,
        typer.Option("--top", metavar="K", parser=count, help="The K most likely classes."),
    ] = 1,
    out: Annotated[
        str | None, typer.Option("--out", metavar="FILE", help="Write there instead of stdout.")
    ] = None,
    views: Views = "one",
    raw: Annotated[
        bool,
        typer.Option("--raw", help="Confidences as the model gives them: not calibrated."),
    ] = False,
    fast: Annotated[
        bool,
        typer.Option(
            "--fast",
            help="On a CPU: layers fused, two to three times as quick, probabilities within 1e-5.",
        ),
    ] = False,
    ranks: Annotated[
        int | None,
        typer.Option(
            "--ranks",
            metavar="N",
            parser=count,
            help="Shards: N processes share them, each with a GPU of its own where there are GPUs.",
        ),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option("--on", metavar="ray", help="Shards: share them among a Ray cluster."),
    ] = None,
    device: Device = None,
    model: RunModel = None,
    trust_code: TrustCode = False,
) -> None:
    """Label images with a trained run, or with an exported folder.

    An image that can't be read gets a row with the reason, the others are labelled, and the exit
    code is 3. Where the run has a threshold (`loupe eval RUN --threshold`), images whose confidence
    is below it are unsure.

    loupe predict runs/photos-001 cat.jpg

    loupe predict runs/photos-001 new/ --format csv --out labels.csv

    loupe predict runs/photos-001 -- -odd-name.jpg

    Tar shards, here or at URLs, give a Parquet file for each shard in the folder --out, any number
    of images long. Files that are there are left, so that a prediction that was stopped goes on.

    loupe predict runs/photos-001 's3://bucket/{000..999}.tar' --out labels/ --ranks 4
    """
    options = {"model": model, "trust_code": trust_code, "device": device}
    if names_shards(images):
        if format_ not in (None, "parquet") or Path(out or "").suffix[1:].lower() in FORMATS:
            raise UsageError(
                "predictions for shards are a Parquet file for each shard",
                "give a folder: --out FOLDER, and leave --format out",
            )
        words = context.find_root().obj["words"]
        predict_sharded(run, images, out, (top, raw, views, fast), options, (ranks, on, words))
        return
    if ranks is not None or on is not None:
        raise UsageError(
            "--ranks and --on share tar shards among processes, and these are no shards",
            "leave them out, or write shards of the images with `loupe shard`",
        )
    kind = choose_format(format_, out)
    if kind == "parquet" and out is None and sys.stdout.isatty():
        raise UsageError("parquet can't be printed on a terminal", "add --out FILE.parquet")
    with results_only() as line:
        from torchloupe.deploy.artefact.opened import could_be_fast, open_labeller

        line.say(f"opening {run}")
        opened = open_labeller(run, fast=fast, views=views, **options)
        line.say("reading images")
        more = {} if views == "one" else {"views": views}
        began = time.monotonic()
        predictions = opened.predict(images, top=top, raw=raw, **more)
        if time.monotonic() - began > LONG_SECONDS and views == "one" and could_be_fast(opened):
            print("note: --fast labels them two to three times as quickly, within 1e-5")
        content = render(predictions, kind, top)
    if out is not None:
        write_whole(Path(out), content)
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)  # UTF-8, whatever the encoding of the terminal
        sys.stdout.buffer.flush()
    refuse_failures(predictions)


def predict_sharded(
    run: str,
    shards: Sequence[str],
    out: str | None,
    asked: tuple[int, bool, str, bool],
    options: dict[str, Any],
    spread: tuple[int | None, str | None, Sequence[str]],
) -> None:
    """Label shards in this process, or in others: `spread` is (ranks, on, words of the command)."""
    from torchloupe.distributed.rank import find_rank

    ranks, on, words = spread
    if out is None:
        raise UsageError(
            "predictions for shards are files, one for each shard, and no folder was given",
            "add --out FOLDER (or a URL)",
        )
    if on not in (None, "ray"):
        raise UsageError(f"--on takes ray, got {printable(on)!r}", "leave it out for this machine")
    from torchloupe.cli.predict_shards import predict_all, predict_all_on_ray
    from torchloupe.trained.bulk import Asked

    if on == "ray":
        predict_all_on_ray(run, shards, out, Asked(*asked), ranks, options)
    elif (ranks or 1) > 1 and find_rank() is None:
        from torchloupe.distributed.launch import launch

        launch(ranks or 1, words)
    else:
        predict_all(run, shards, out, Asked(*asked), **options)


def names_shards(images: Sequence[str]) -> bool:
    """Whether the inputs are tar shards, or a folder or URL of them; plain files are looked at."""
    return all(
        "://" in text
        or text.lower().endswith(".tar")
        or (Path(text).is_dir() and any(Path(text).glob("*.tar")))
        for text in images
    )


def choose_format(asked: str | None, out: str | None) -> str:
    """The format asked for, else the one of the file name extension of `out`, else a table."""
    ending = Path(out).suffix[1:].lower() if out else ""
    kind = asked or (ending if ending in FORMATS else "table")
    if kind not in FORMATS:
        raise UsageError(
            f"--format takes {', '.join(FORMATS)}, got {printable(kind)!r}",
            did_you_mean(kind, FORMATS),
        )
    return kind


def render(predictions: Sequence[Any], kind: str, top: int) -> bytes:
    """The predictions as one of FORMATS.

    Names are written unchanged, quoted in CSV if necessary. Bytes of a file name that are not
    UTF-8 are written as %XX, since none of the formats can hold them.
    """
    if kind == "table":
        return _as_table(predictions).encode("utf-8", "backslashreplace")
    if kind == "json":
        from torchloupe.cli.text import to_json

        return (to_json([_as_object(prediction) for prediction in predictions]) + "\n").encode()
    from torchloupe.trained.prediction_rows import as_row, column_names, to_parquet

    says_unsure = any(prediction.unsure is not None for prediction in predictions)
    names = column_names(top, says_unsure=says_unsure)
    rows = [as_row(prediction, top, says_unsure) for prediction in predictions]
    if kind == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([_spell(cell) for cell in row] for row in rows)
        return text.getvalue().encode()
    return to_parquet(names, rows)


def refuse_failures(predictions: Sequence[Any]) -> None:
    """DataError that names the images which could not be read, if there are any."""
    bad = [prediction for prediction in predictions if prediction.error]
    if not bad:
        return
    named = [
        f"{printable(prediction.path)} ({printable(prediction.error)})"
        for prediction in bad[:_SHOWN_FAILURES]
    ]
    if len(bad) > len(named):
        named.append(f"and {len(bad) - len(named):,} more")
    what = f"{len(bad):,} of {len(predictions):,} images can't be read"
    what = "the image can't be read" if len(predictions) == 1 else what
    others = "" if len(bad) == len(predictions) else "; the others are labelled"
    raise DataError(
        f"{what}: {'; '.join(named)}",
        f"{'its row has' if len(bad) == 1 else 'their rows have'} the reason{others}",
    )


def write_whole(path: Path, content: bytes) -> None:
    """Write the file whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise ResourceError(
            f"can't write {printable(path)}: {error.strerror or error}",
            "give a file in a folder that is there and can be written",
        ) from None


def _as_table(predictions: Sequence[Any]) -> str:
    from torchloupe.cli.text import align
    from torchloupe.display.progress import format_fraction
    from torchloupe.trained.prediction_rows import label_of, ranked

    rows = []
    for prediction in predictions:
        path = printable(prediction.path, limit=4000)
        if prediction.error:
            rows.append([path, "-", f"can't be read: {printable(prediction.error)}"])
            continue
        others = [
            f"{printable(name, 60)} {format_fraction(share)}"
            for name, share in ranked(prediction)[1:]
        ]
        label = printable(label_of(prediction), 60)
        share = format_fraction(prediction.confidence)
        words = "  ".join([f"{label} {share}" if prediction.unsure else share, *others])
        rows.append([path, "unsure" if prediction.unsure else label, words])
    return align(rows).plain


def _as_object(prediction: Any) -> dict[str, Any]:
    from torchloupe.trained.prediction_rows import ranked, unicode_path

    path = unicode_path(prediction.path)
    if prediction.error:
        return {"path": path, "error": prediction.error}
    return {
        "path": path,
        "label": prediction.label,
        "labels": list(prediction.labels),
        "confidence": prediction.confidence,
        "probabilities": dict(ranked(prediction)),
        **({} if prediction.unsure is None else {"unsure": prediction.unsure}),
    }


def _spell(cell: Any) -> Any:
    """A truth value as JSON has it, for CSV; anything else as it is."""
    return str(cell).lower() if isinstance(cell, bool) else cell
