"""The head stage: the last layer of a pretrained network, fitted on features before any step."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from torchloupe.config.schema import Config
from torchloupe.distributed.world import ALONE, World
from torchloupe.errors import UsageError
from torchloupe.hardware.precision import Precision
from torchloupe.model.head import Head, balanced_weights, fit_head
from torchloupe.model.transfer import Transfer
from torchloupe.prepare.features import count_views, open_features
from torchloupe.prepare.run_data import RunData
from torchloupe.run.events import HeadStage, Progress
from torchloupe.run.folder import RunFolder
from torchloupe.run.state import State
from torchloupe.units import format_seconds, plural

SMALL_PRODUCTS = 10**9  # multiplications of a solver's step; with fewer, one thread is used


def run_head_stage(
    state: State,
    run_data: RunData,
    config: Config,
    precision: Precision,
    run: RunFolder,
    world: World = ALONE,
) -> None:
    """Fit the head of the model to the training images (linear probing), and record the result.

    The model has its pretrained weights. Every rank must call this; rank 0 does the work while the
    others wait. Waits for the device.
    """
    model = state.model
    assert isinstance(model, Transfer)
    head = world.first(solve_head(model, run_data, config, precision, run) if world.leads else None)
    with torch.no_grad():
        model.head.weight.copy_(head.weight)
        model.head.bias.copy_(head.bias)
        for own, found in ((model.low, head.low), (model.high, head.high)):
            if own is not None and found is not None:
                own.copy_(found)
    if state.average is not None:
        state.evaluated_model.load_state_dict(model.state_dict())
    state.evaluated_step = -1  # so that the head itself is validated, at step 0


def solve_head(
    model: Transfer, run_data: RunData, config: Config, precision: Precision, run: RunFolder
) -> Head:
    """The head for the training images, on features from the cache or computed now."""
    rows = run_data.splits.train
    views = count_views(config, len(rows))
    start = time.perf_counter()
    features = open_features(
        model,
        run_data,
        precision,
        views=views,
        progress=lambda done, total: run.record(Progress("features", done, total)),
    )
    for note in features.notes:
        run.note(note)
    ready = time.perf_counter()
    labels = torch.from_numpy(run_data.samples.labels[rows])
    several = run_data.contract.multi_label
    seen, classes = features.at(rows), len(run_data.contract.class_names)
    with few_threads(seen.numel() * classes):
        head = fit_head(
            seen,
            labels.float() if several else labels.long(),
            run_data.samples.keys[rows],
            classes=classes,
            class_weights=class_weights(config, run_data),
            parts=getattr(model.body, "parts", ()),
            bounded=model.low is not None,
        )
    seconds = time.perf_counter() - start
    rate = views * len(features.rows) / max(features.seconds, 1e-9)
    how = f"{rate:,.0f} images/s" if features.seconds else "they were in the cache"
    text = (
        f"head: features of {plural(len(features.rows), 'image')}"
        f"{' and their mirror images' if views > 1 else ''} in {format_seconds(ready - start)} "
        f"({how}), fitted in {format_seconds(seconds - (ready - start))}"
    )
    if head.accuracy is not None:
        text += f"; cross-validated accuracy {head.accuracy:.1%}"
    run.note(text)
    if not head.is_solved:
        run.note("head: the fit ended at its most iterations, and its loss could still fall")
    run.record(HeadStage(seconds, features.seconds, views, head.penalty, head.accuracy))
    return head


def describe_stages(events: Sequence[Mapping[str, Any]], monitor: str) -> str:
    """What the head and the finetuning achieved and what each cost; empty without both."""
    judged = [event for event in events if monitor in event]
    stages = [event for event in events if event.get("stage") == "head"]
    if not stages or len(judged) < 2:
        return ""
    first, *later = judged
    best = next((event for event in reversed(later) if event.get("best")), None)
    shown = best or max(later, key=lambda event: float(event[monitor]))
    return (
        f"stages: the head gave {monitor} {first[monitor]:.4f} after "
        f"{format_seconds(stages[-1]['stage_seconds'])}; finetuning {shown[monitor]:.4f} after "
        f"{format_seconds(later[-1]['seconds'])} more; "
        + ("the finetuned weights are kept" if best else "the head alone is kept")
    )


@contextmanager
def few_threads(products: int) -> Iterator[None]:
    """A context with one thread for small work, where a second thread costs more than it saves."""
    before = torch.get_num_threads()
    if products < SMALL_PRODUCTS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def class_weights(config: Config, run_data: RunData) -> torch.Tensor | None:
    """The weight of each class [K] by `loss.weights`; None if all are equal."""
    weights: Any = config.loss.weights
    if weights == "none":
        return None
    if weights != "balanced":
        return torch.tensor(weights, dtype=torch.float32)
    counts = run_data.class_counts()
    if counts is None:
        raise UsageError("a stream has no counts to balance by", "set loss.weights to numbers")
    return balanced_weights(counts.tolist())
