"""Trials of the variants of a step: number format, memory format, threads, compiled or not.

Each variant is first compared with fp32 on the same weights and images; one whose loss or gradients
differ by more than the tolerance of its number format is never chosen. Then all are timed in
turns, so that other load on the machine affects all alike.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, replace
from operator import ne

import torch
from torch import Tensor, nn

from torchloupe.data.feeds.feed import Batch
from torchloupe.hardware.device import seed_step, wait_for
from torchloupe.hardware.layout import release, require_contiguous
from torchloupe.hardware.precision import Buffers, Precision, total_norm
from torchloupe.hardware.step import LossFunction, take_step
from torchloupe.lens.copies import copy_model
from torchloupe.model.norms import steady_norms

# The largest relative difference of the loss, and of all gradients together (2-norm), from fp32.
# Gradients of two batches of 128 differ by 0.7 to 1.3, so 0.35 adds a tenth to their variance at
# most; with bf16 a CNN differs by 0.01, the residual net by 0.18, ResNet-18 by 0.3 (docs/LOG.md).
TOLERANCES = {"fp32": (1e-4, 1e-2), "bf16": (2e-2, 0.35), "fp16": (2e-2, 0.1)}
ABOUT = 1.05  # ratios up to this are noise
WORTH_IT = 1.1  # the ratio from which on a variant replaces the default
_SLOT_SECONDS = 0.05
_ROUNDS = 5

MakeOptimizer = Callable[[nn.Module], torch.optim.Optimizer]


@dataclass(frozen=True)
class Variant:
    """One way of computing a step."""

    precision: str = "fp32"
    channels_last: bool = True
    threads: int = 1  # of the CPU
    compiled: bool = False

    def __str__(self) -> str:
        words = [self.precision, "channels_last" if self.channels_last else "channels first"]
        words.append(f"{self.threads} thread{'s' if self.threads != 1 else ''}")
        return ", ".join(words + (["compiled"] if self.compiled else []))


@dataclass
class Trial:
    """The result of trying a variant."""

    variant: Variant
    loss_gap: float = 0.0  # relative, to fp32
    gradient_gap: float = 0.0
    problem: str = ""  # why it can't be used, if it can't
    rates: list[float] = field(default_factory=list)  # images/s, one of each round

    @property
    def images_per_second(self) -> float:
        """The median rate; 0 if it was never timed."""
        return statistics.median(self.rates) if self.rates else 0.0

    @property
    def agrees(self) -> bool:
        """Whether loss and gradients are those of fp32, within the tolerance."""
        most_loss, most_gradient = TOLERANCES[self.variant.precision]
        return (
            not self.problem and self.loss_gap <= most_loss and self.gradient_gap <= most_gradient
        )


def probe(
    model: nn.Module,
    loss: LossFunction,
    make_optimizer: MakeOptimizer,
    batch: Batch,
    variants: Sequence[Variant],
    seconds: float,
) -> list[Trial]:
    """Try each of `variants`, the default first, for about `seconds` in all.

    Works on a copy: neither the model nor the random generators change. Variants that don't agree
    with fp32 are not timed.
    """
    end = time.perf_counter() + seconds
    trials = [Trial(variant) for variant in variants]
    with as_it_was(batch.images.device):
        trial_model = copy_model(model)
        trial_model.train()
        bench = _Bench(trial_model, loss, make_optimizer(trial_model), batch)
        reference = bench.gradients(replace(variants[0], precision="fp32", compiled=False))
        for trial in trials:
            bench.compare(trial, reference)
        able = [trial for trial in trials if trial.agrees]
        counts = {trial.variant: 1 for trial in able}
        for number in range(_ROUNDS + 1):
            for trial in able:
                count = counts[trial.variant]
                took = bench.time(trial.variant, count)
                if number == 0:  # sets things up
                    counts[trial.variant] = max(1, min(1000, int(_SLOT_SECONDS * count / took)))
                else:
                    trial.rates.append(count * len(batch) / took)
            if number and time.perf_counter() > end:
                break
    return trials


def choose_variant(trials: Sequence[Trial]) -> Trial:
    """The fastest variant that agrees with fp32, if clearly faster than the first; else the first.

    Of variants about as fast as the fastest, the one most like the first.
    """
    usual = trials[0]
    fastest = max(trial.images_per_second for trial in trials)
    if fastest <= WORTH_IT * usual.images_per_second:
        return usual
    alike = [trial for trial in trials if ABOUT * trial.images_per_second >= fastest]
    own = astuple(usual.variant)

    def changes(trial: Trial) -> int:
        return sum(map(ne, astuple(trial.variant), own))

    return min(alike, key=lambda trial: (changes(trial), -trial.images_per_second))


class _Bench:
    """A model whose steps can be computed in any variant."""

    def __init__(
        self,
        model: nn.Module,
        loss: LossFunction,
        optimizer: torch.optim.Optimizer,
        batch: Batch,
    ) -> None:
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.batch = batch
        self.device = batch.images.device
        self._compiled: Callable[[Tensor], Tensor] | None = None

    def gradients(self, variant: Variant) -> list[Tensor]:
        """The loss and all gradients of one batch, in fp32; the model stays as it is."""
        precision, forward = self._prepare(variant)
        buffers = Buffers(self.model)
        buffers.remember()
        seed_step(self.device, 0)
        try:
            with precision.autocast(), steady_norms(self.model, self.batch.images):
                value = self.loss(forward(self.batch.images), self.batch.labels)
            value.backward()  # type: ignore[no-untyped-call]
            grads = [p.grad.float() for p in self.model.parameters() if p.grad is not None]
        finally:
            self.model.zero_grad(set_to_none=True)
            buffers.settle(applied=False)
        return [value.detach().float(), *(grad.contiguous() for grad in grads)]

    def compare(self, trial: Trial, reference: list[Tensor]) -> None:
        """Fill in by how much the variant differs from `reference`, or why it can't be used."""
        try:
            found = self.gradients(trial.variant)
        except Exception as error:  # whatever a compiler or a kernel raises
            trial.problem = (str(error).strip() or type(error).__name__).splitlines()[0]
            return
        gaps = [new - old for new, old in zip(found, reference, strict=True)]
        trial.loss_gap = float(gaps[0].abs() / reference[0].abs().clamp_min(1e-9))
        trial.gradient_gap = float(
            total_norm(gaps[1:]) / total_norm(reference[1:]).clamp_min(1e-12)
        )

    def time(self, variant: Variant, count: int) -> float:
        """Seconds that `count` whole steps take."""
        precision, forward = self._prepare(variant)
        wait_for(self.device)
        start = time.perf_counter()
        images, labels = self.batch.images, self.batch.labels
        for _ in range(count):
            with steady_norms(self.model, images):
                take_step(forward, images, labels, self.loss, precision, self.optimizer)
        wait_for(self.device)
        return time.perf_counter() - start

    def _prepare(self, variant: Variant) -> tuple[Precision, Callable[[Tensor], Tensor]]:
        if torch.get_num_threads() != variant.threads:
            torch.set_num_threads(variant.threads)
        layout = torch.channels_last if variant.channels_last else torch.contiguous_format
        self.model.to(memory_format=layout)
        (release if variant.channels_last else require_contiguous)(self.model)
        precision = Precision(variant.precision, self.device)
        if not variant.compiled:
            return precision, self.model
        if self._compiled is None:  # not before: the compiler takes half a second to import
            self._compiled = torch.compile(self.model)
        return precision, self._compiled


@contextmanager
def as_it_was(device: torch.device) -> Iterator[None]:
    """Threads and generators as they were before."""
    threads = torch.get_num_threads()
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        torch.set_num_threads(threads)
