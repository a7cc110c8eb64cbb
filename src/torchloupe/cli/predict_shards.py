"""`loupe predict RUN SHARDS --out DIR`: a Parquet file for each shard, by any number of ranks.

Ranks are processes of this machine (`--ranks`), of torchrun, or of a Ray cluster (`--on ray`).
"""

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torchloupe.cli.options import results_only
from torchloupe.data.sources.shard_inputs import ShardInputs, open_inputs
from torchloupe.deploy.artefact.opened import open_labeller, open_trained
from torchloupe.display.terminal import make_display
from torchloupe.distributed.rank import find_rank
from torchloupe.errors import DataError, printable
from torchloupe.hardware.device import choose_device
from torchloupe.run.events import Progress
from torchloupe.system.limits import usable_cores
from torchloupe.trained.bulk import (
    Asked,
    Outbox,
    Part,
    predict_shards,
    summarise,
    time_decoding,
)
from torchloupe.units import plural

_SHOWN_FAILURES = 10


def predict_all(
    run: str, shards: Sequence[str], out: str, asked: Asked, device: str | None, **options: Any
) -> None:
    """Label the images of shards; under torchrun every rank calls this and does its part.

    `options` are those of `open_trained`. DataError if images can't be read, once all are done.
    """
    launched = find_rank()
    ranks = (launched.rank, launched.size) if launched else (0, 1)
    with results_only() as line:
        if launched is not None:  # each has a GPU of its own
            device = str(choose_device(device or "auto", launched).device)
        options["device"] = device
        line.say(f"opening {run}")
        opened = open_labeller(run, fast=asked.fast, views=asked.views, **options)
        inputs = open_inputs(shards)
        box = Outbox(out)
        parts, seconds = _watch(
            partial(predict_shards, opened, inputs, asked, box, ranks), quiet=ranks[0] > 0
        )
        decoding = _time_decoding(opened, inputs, parts, ranks)
        whole = summarise(opened, inputs, asked, box)
    _tell(parts, whole, seconds, decoding, out, ranks)
    if whole is not None or ranks[1] == 1:  # else torchrun would end the ranks that are still busy
        _refuse_failures(parts, whole, out)


def predict_all_on_ray(
    run: str,
    shards: Sequence[str],
    out: str,
    asked: Asked,
    workers: int | None,
    options: dict[str, Any],
) -> None:
    """As `predict_all`, by `workers` processes of a Ray cluster."""
    from torchloupe.cli.predict_ray import predict_on_ray

    with results_only() as line:
        line.say(f"opening {run}")
        inputs, box = open_inputs(shards), Outbox(out)
        work = partial(predict_on_ray, (run, shards, out), len(inputs), asked, workers, options)
        parts, seconds = _watch(work, quiet=False)
        opened = open_trained(run, views=asked.views, **options)
        decoding = _time_decoding(opened, inputs, parts, (0, 1))
        whole = summarise(opened, inputs, asked, box)
    _tell(parts, whole, seconds, decoding, out, (0, 1))
    _refuse_failures(parts, whole, out)


def _watch(
    predict: Callable[[Callable[[int, int], None]], list[Part]], *, quiet: bool
) -> tuple[list[Part], float]:
    """The parts that `predict` makes, and its seconds; its progress is shown unless `quiet`."""
    display = make_display(quiet=quiet)
    try:
        began = time.perf_counter()
        parts = predict(lambda done, total: display.record(Progress("predict", done, total)))
        return parts, time.perf_counter() - began
    finally:
        display.close()


def _time_decoding(
    opened: Any, inputs: ShardInputs, parts: Sequence[Part], ranks: tuple[int, int]
) -> float:
    """Images a second of decoding alone, on some of the last shard that was read; 0 for none."""
    new = [place for place, part in enumerate(parts) if part.is_new and part.images]
    if not new:
        return 0.0
    return time_decoding(inputs.open(ranks[0] + new[-1] * ranks[1]), opened.contract)


def _tell(
    parts: Sequence[Part],
    whole: dict[str, Any] | None,
    seconds: float,
    decoding: float,
    out: str,
    ranks: tuple[int, int],
) -> None:
    from torchloupe.cli.text import align, print_text

    new = sum(part.images for part in parts if part.is_new)
    there = sum(not part.is_new for part in parts)
    words = f"{plural(new, 'image')} in {plural(len(parts) - there, 'shard')}"
    words += f"; {there:,} were there already" if there else ""
    rows = [["predicted" if ranks[1] == 1 else f"rank {ranks[0]} of {ranks[1]}", words]]
    if new:
        rate = f"{new / max(seconds, 1e-9):,.0f} images/s"
        cores = plural(usable_cores(), "thread")
        rows.append(["rate", f"{rate}; decoding alone {decoding:,.0f} images/s with {cores}"])
    bad = sum(part.bad for part in parts)
    if bad and whole is None:
        rows.append(["unreadable", f"{plural(bad, 'image')}, with the reason in their rows"])
    if whole is not None:
        total = f"{plural(whole['images'], 'image')} in {plural(len(whole['parts']), 'file')}"
        rows.append(["in all", total])
    rows.append(["folder", printable(out, 4000)])
    print_text(align(rows))
    sys.stdout.flush()


def _refuse_failures(parts: Sequence[Part], whole: dict[str, Any] | None, out: str) -> None:
    """DataError that names what can't be read: of all once all are done, else of this rank."""
    if whole is not None:
        count, images = whole["unreadable"], whole["images"]
        bad = [(one["path"], one["error"]) for one in whole["unreadable_images"]]
    else:
        count, images = sum(part.bad for part in parts), sum(part.images for part in parts)
        bad = [one for part in parts for one in part.bad_images]
    if not count:
        return
    named = [f"{printable(path)} ({printable(why)})" for path, why in bad[:_SHOWN_FAILURES]]
    if count > len(named):
        named.append(f"and {count - len(named):,} more")
    raise DataError(
        f"{count:,} of {images:,} images can't be read: {'; '.join(named)}",
        f"their rows in {printable(out)} have the reason; the others are labelled",
    )
