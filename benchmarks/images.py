"""Images a second of whole training pipelines: the same CNN, the same batch size, torch's Adam.

    python benchmarks/images.py

Peers read a Dataset of decoded images through torchvision's transforms and a DataLoader, with
the number of workers and threads that is fastest for each of them, found out beforehand.
torchloupe is `fit` over the same arrays. About 35 minutes for 5 repeats.
"""

import math
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from fashion import FashionImages, make_part
from peers import PEERS, Work, call_in_training, make_adam, train
from table import Table, core_count, ratio
from torch import nn
from torch.utils.data import DataLoader
from turns import (
    Answer,
    Case,
    Failure,
    answer,
    ask_with_threads,
    best_case,
    describe,
    in_turns,
    rounds_of,
    spread_of,
)

import torchloupe as loupe
from torchloupe.speed.choice import has_fast_bf16

BATCHES: tuple[int, ...] = (64, 32, 128)  # the first is the one of the goal
GOAL = 2.5
OURS = "torchloupe"
OURS_FP32 = "torchloupe, fp32"
OURS_BF16 = "torchloupe, bf16"
PRECISIONS = {OURS: "", OURS_FP32: "fp32", OURS_BF16: "bf16"}
LIMIT = "bare loop, batches ready"
STEPS, WARM_UP = 300, 50
EPOCH = 60_000  # images that torchloupe passes through: in a run of a second it measures nothing


def make_table(
    repeats: int = 5,
    *,
    quick: bool = False,
    batches: tuple[int, ...] = (),
    steps: int = STEPS,
    known: Mapping[str, Case | Failure] | None = None,
    until: float = math.inf,
) -> Table:
    """The table of all contenders at every batch size.

    `known` has the peers' workers and threads where they were chosen before; `until` as in
    `in_turns`.
    """
    steps = 20 if quick else steps
    table = Table(
        "images",
        "Images a second, training the CNN on Fashion-MNIST",
        ("", "batch", "images/s", "torchloupe is", "settings"),
    )
    found = dict(known or {})
    for peer in [name for name in PEERS if name not in found]:
        found[peer] = best_settings(peer, BATCHES[0], steps, quick=quick)
    for batch in batches or (BATCHES[:1] if quick else BATCHES):
        rounds = _add_rows(table, batch, steps, repeats, found, until)
    table.notes.append(
        f"n = {rounds}, in turns, the last {steps} steps of a run after {WARM_UP} others; "
        "median (range)"
    )
    table.notes.append(
        f"workers and threads: the fastest for each peer at batch {BATCHES[0]}; threads=0 is "
        "torch's own choice"
    )
    table.notes.append(
        f"{OURS}: an epoch of {EPOCH:,} images, long enough for it to measure which number format "
        "is the fastest; the number format is given in the others (bf16 where the processor has it)"
    )
    table.notes.append(
        f"{LIMIT!r} is no peer: a plain loop over tensors that need no loader, with as many "
        "threads as cores; what is left of the model alone"
    )
    return table


def _add_rows(
    table: Table,
    batch: int,
    steps: int,
    repeats: int,
    found: dict[str, Case | Failure],
    until: float,
) -> int:
    """Measure all contenders at one batch size; how often each was measured."""
    fixed = {"batch": batch, "steps": steps}
    ours = [name for name in PRECISIONS if name != OURS_BF16 or has_fast_bf16(torch.device("cpu"))]
    cases: dict[str, Case] = {name: {"contender": name, **fixed} for name in (*ours, LIMIT)}
    for peer, best in found.items():
        if isinstance(best, Failure):
            table.add(peer, str(batch), f"failed: {best.reason}", "", "")
        else:
            cases[peer] = {**best, **fixed}
    asked = {name: _asker(case) for name, case in cases.items()}
    answers = in_turns(asked, repeats, until=until)
    rates = {
        name: spread_of(given, "images_per_second")
        for name, given in answers.items()
        if not isinstance(given, Failure)
    }
    for name, given in answers.items():
        if isinstance(given, Failure):
            table.add(name, str(batch), f"failed: {given.reason}", "", "")
            continue
        lead = f"{ratio(rates[OURS], rates[name]):.2f}x" if OURS in rates else ""
        chosen = {k: v for k, v in cases[name].items() if k in ("workers", "threads")}
        said = given[0]["settings"] or describe(chosen)
        table.add(name, str(batch), rates[name].show(), lead, said)
    rivals = [name for name in rates if name in PEERS]
    if OURS in rates and rivals:
        best = max(rivals, key=lambda name: rates[name].median)
        for name in PRECISIONS:
            if name in rates:
                lead = ratio(rates[name], rates[best])
                what = f"batch {batch}, {name} over the best peer ({best})"
                table.expect(what, f">= {GOAL}x", f"{lead:.2f}x", lead >= GOAL)
    return rounds_of(answers)


def _asker(case: Case) -> Callable[[], Answer | Failure]:
    return lambda: ask_with_threads(__file__, case)


def best_settings(peer: str, batch: int, steps: int, *, quick: bool = False) -> Case | Failure:
    """The workers and threads with which `peer` is fastest, as part of a case."""
    pairs = [(workers, 0) for workers in range(core_count() + 1)] + [(1, 1)]
    if quick:
        pairs = [(0, 1)]
    cases = [
        {"contender": peer, "batch": batch, "steps": steps, "workers": workers, "threads": threads}
        for workers, threads in pairs
    ]
    try:
        return best_case(__file__, cases, "images_per_second")
    except RuntimeError as error:
        return Failure(str(error))


def measure(contender: str, batch: int, steps: int, workers: int = 0) -> Answer:
    """Images a second of one contender, and which settings it chose itself."""
    count = batch * (steps + min(WARM_UP, steps) + 1)
    if contender in PRECISIONS and steps > 2 * WARM_UP:
        count = max(count, EPOCH)
    images, labels = make_part(count)
    torch.manual_seed(0)
    model = loupe.models.CNN(1, 10)
    ticks: list[float] = []

    def tick() -> None:
        ticks.append(time.perf_counter())

    settings = ""
    if contender in PRECISIONS:
        call_in_training(model, tick)
        settings = fit_ours((images, labels), model, batch, PRECISIONS[contender])
    elif contender == LIMIT:
        train_ready(model, batch, count // batch, tick)
    else:
        train(contender, Work(model, make_loader(images, labels, batch, workers), tick=tick))
    return {
        "images_per_second": batch * steps / (ticks[-1] - ticks[-1 - steps]),
        "settings": settings,
    }


def make_loader(images: object, labels: object, batch: int, workers: int) -> DataLoader:
    """The DataLoader that a peer is given."""
    return DataLoader(
        FashionImages(images, labels),
        batch_size=batch,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def fit_ours(data: object, model: nn.Module, batch: int, precision: str) -> str:
    """Train by `torchloupe.fit`, all images in one epoch; what it chose for speed."""
    settings = {"train.batch_total": batch, "data.val_fraction": 0.0, "data.test_fraction": 0.0}
    if precision:
        settings["hardware.precision"] = precision
    with tempfile.TemporaryDirectory() as folder:
        run = loupe.fit(
            data,
            model=model,
            epochs=1,
            out=Path(folder) / "run",
            settings=settings,
        )
        chosen = run.config.hardware
    return f"precision={chosen.precision} channels_last={chosen.channels_last}"


def train_ready(model: nn.Module, batch: int, steps: int, tick: Callable[[], None]) -> None:
    """A plain loop over ten batches that are ready, channels last: no loader at all."""
    call_in_training(model.to(memory_format=torch.channels_last), tick)
    ready = [torch.randn(batch, 1, 28, 28).to(memory_format=torch.channels_last) for _ in range(10)]
    labels = torch.arange(batch) % 10
    optimizer, criterion = make_adam(model), nn.CrossEntropyLoss()
    model.train()
    for step in range(steps):
        optimizer.zero_grad()
        criterion(model(ready[step % 10]), labels).backward()
        optimizer.step()


if __name__ == "__main__" and not answer(measure):
    print(make_table().to_markdown())
