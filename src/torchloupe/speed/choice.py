"""The variant of a step that a run uses: as typed, as measured, or by a rule of thumb."""

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import nn

from torchloupe.config.schema import Config
from torchloupe.config.settings import Settings
from torchloupe.data.feeds.feed import Batch
from torchloupe.data.pack.decoding import thread_count
from torchloupe.errors import LoupeError, UsageError, printable
from torchloupe.hardware.device import wait_for
from torchloupe.hardware.memory import is_out_of_memory
from torchloupe.hardware.precision import Buffers, Precision
from torchloupe.hardware.step import forward_backward
from torchloupe.model.losses import Loss
from torchloupe.model.norms import steady_norms
from torchloupe.speed.trial import MakeOptimizer, Trial, Variant, choose_variant, probe
from torchloupe.system.user_code import where_raised
from torchloupe.units import format_count, format_seconds

FRACTION_OF_RUN = 0.02  # spent on measuring, at most
MOST_SECONDS = 3.0
WORTH_MEASURING = 0.1  # seconds of measuring; with less, the rules of thumb stay
LITTLE_SECONDS = 1.0  # with less, only number formats are measured
LONG_STEP_SECONDS = 0.3  # longer steps always use all threads
LEAST_STEPS = 4  # a variant: compared, warmed up, timed


def default_variant(config: Config) -> Variant:
    """The variant of the settings, with rules of thumb for what is open."""
    return Variant(
        config.hardware.precision,
        bool(config.hardware.channels_last),
        config.hardware.threads or torch.get_num_threads(),
        config.hardware.compile,
    )


def open_variants(
    settings: Settings, device: torch.device, *, everything: bool = False
) -> list[Variant]:
    """The variants that the settings leave open, the default first; with `everything`, all.

    Compiling takes many seconds, so it is tried only on request, beside the same variant
    uncompiled.
    """
    usual = default_variant(settings.config)

    def choices(name: str, own: object, others: list[object]) -> list[object]:
        is_open = everything or settings.is_open(name)
        return [own, *(other for other in others if other != own)] if is_open else [own]

    on_cpu = device.type == "cpu"
    formats: list[object] = ["fp32"]
    if has_fast_bf16(device):  # without instructions for it bf16 is tens of times slower
        formats.append("bf16")
    if everything and not on_cpu:
        formats.append("fp16")
    variants = [
        Variant(str(precision), bool(last), int(str(threads)), bool(compiled))
        for precision, last, threads, compiled in product(
            choices("hardware.precision", usual.precision, formats),
            choices("hardware.channels_last", usual.channels_last, [True, False]),
            choices("hardware.threads", usual.threads, [1, thread_count()] if on_cpu else []),
            [usual.compiled],
        )
    ]
    if everything and usual.compiled:
        variants = [usual, *(replace(variant, compiled=False) for variant in variants)]
    return variants


def choose_speed(
    settings: Settings,
    model: nn.Module,
    loss: Loss,
    make_optimizer: MakeOptimizer,
    batch: Batch,
    steps_per_epoch: int,
) -> tuple[dict[str, Any], list[str]]:
    """Measure the open variants, where the run is long enough; the settings, and a note.

    They go into config.json as measured, so that a resumed run does not measure again. Where a
    batch does not fit into memory, the rules of thumb stay.
    """
    variants = open_variants(settings, batch.images.device)
    if len(variants) == 1:
        return {}, []
    start = time.perf_counter()
    try:
        step = time_step(model, loss, batch, variants[0])
        train = settings.config.train
        seconds = train.epochs * steps_per_epoch * step or 60 * train.minutes
        allowed = measuring_seconds(seconds)
        if allowed < WORTH_MEASURING:
            return {}, []
        if step > LONG_STEP_SECONDS:
            variants = [variant for variant in variants if variant.threads >= variants[0].threads]
        affordable = allowed / (LEAST_STEPS * len(variants) * step)
        if allowed < LITTLE_SECONDS and affordable < 1:
            usual = variants[0]
            variants = [
                variant
                for variant in variants
                if replace(variant, precision=usual.precision) == usual
            ]
            affordable = allowed / (LEAST_STEPS * len(variants) * step)
            if affordable < 1 or len(variants) == 1:
                return {}, []
        batch = batch.cut(slice(0, max(2, int(len(batch) * min(1.0, affordable)))))
        trials = probe(model, loss, make_optimizer, batch, variants, allowed)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return {}, [f"speed was not measured: {len(batch)} images don't fit into memory at once"]
    best = choose_variant(trials)
    chosen = {
        "hardware.precision": best.variant.precision,
        "hardware.channels_last": best.variant.channels_last,
        "hardware.threads": best.variant.threads,
    }
    found = {name: value for name, value in chosen.items() if settings.is_open(name)}
    return found, [describe_choice(trials, best, time.perf_counter() - start)]


def measuring_seconds(run_seconds: float) -> float:
    """Seconds that measuring may take in a run of `run_seconds`."""
    return min(MOST_SECONDS, FRACTION_OF_RUN * run_seconds)


def describe_choice(trials: list[Trial], best: Trial, seconds: float) -> str:
    """One line on the chosen variant and its rate."""
    rate = f"{format_count(best.images_per_second)} images/s"
    rest = [trial for trial in trials if trial is not best and trial.rates]
    if not rest:
        return f"measured: {best.variant} ({rate}); no other variant agrees with fp32"
    other = max(rest, key=lambda trial: trial.images_per_second)
    return (
        f"measured for {format_seconds(seconds)}: {best.variant} computes {rate}; "
        f"{other.variant}: {format_count(other.images_per_second)}"
    )


def time_step(model: nn.Module, loss: Loss, batch: Batch, variant: Variant, most: int = 3) -> float:
    """Seconds of one forward and backward, roughly; weights and buffers stay as they are."""
    buffers = Buffers(model)
    buffers.remember()
    precision = Precision(variant.precision, batch.images.device)
    took: list[float] = []
    try:
        with torch.random.fork_rng(devices=[batch.images.device] if batch.images.is_cuda else []):
            while len(took) < most and sum(took) < LONG_STEP_SECONDS:
                wait_for(batch.images.device)
                start = time.perf_counter()
                with steady_norms(model, batch.images):
                    forward_backward(model, batch.images, batch.labels, loss, precision)
                wait_for(batch.images.device)
                took.append(time.perf_counter() - start)
                model.zero_grad(set_to_none=True)
    finally:
        model.zero_grad(set_to_none=True)
        buffers.settle(applied=False)
    return min(took)


def repeat_batch(batch: Batch, count: int) -> Batch:
    """A batch of `count` images by repetition; `batch` itself if it has that size."""
    if len(batch) == count:
        return batch
    times = -(-count // len(batch))
    return Batch(
        torch.cat([batch.images] * times)[:count],
        torch.cat([batch.labels] * times)[:count],
        np.concatenate([batch.rows] * times)[:count],
    )


def has_fast_bf16(device: torch.device) -> bool:
    """Whether `device` has instructions for bf16, according to torch."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    asks: list[Callable[[], bool] | None] = [
        getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile")
    ]
    return device.type == "cpu" and any(bool(ask()) for ask in asks if ask is not None)


def refuse_format(
    settings: Settings, model: nn.Module, loss: Loss, batch: Batch, count: int = 4
) -> None:
    """UsageError if the model can't be computed in the half format of the settings.

    Where autocast gives bf16, code that puts its results into a float32 tensor of its own fails.
    Weights and buffers stay as they are.
    """
    name = settings.config.hardware.precision
    if name not in ("bf16", "fp16"):
        return
    few = batch.cut(slice(0, count))
    try:
        time_step(model, loss, few, Variant(name, False, 0, False), most=1)
    except LoupeError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            return
        place = where_raised(error)
        raise UsageError(
            f"the model can't be computed in {name}{f', at {place}' if place else ''}: "
            f"{printable(error)}",
            "say --precision fp32, or cast there to the type of what it is put into",
        ) from error
