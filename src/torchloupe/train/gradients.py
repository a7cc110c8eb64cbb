"""What surrounds forward and backward: memory that runs out, and the agreement of ranks.

The batch, its order and the learning rate are never changed; only how many images go through the
model at once is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from torchloupe.data.feeds.feed import Batch
from torchloupe.distributed.parallel import Parallel
from torchloupe.errors import ResourceError
from torchloupe.hardware.device import seed_step
from torchloupe.hardware.memory import (
    describe_shortage,
    is_out_of_memory,
    shrink_micro_batches,
)
from torchloupe.hardware.precision import Buffers
from torchloupe.model.distillation import Distillation
from torchloupe.model.shares import amount_of
from torchloupe.prepare.plan import Plan
from torchloupe.run.events import OutOfMemory
from torchloupe.run.folder import RunFolder
from torchloupe.run.ledger import Answer
from torchloupe.run.state import State
from torchloupe.system.counter_rng import torch_seed


class Attempt:
    """One attempt at the gradients of a step; a context that catches a shortage of memory.

    `loss` is the weighted sum of what was added; after the last attempt, over all ranks.
    """

    def __init__(self, batch: Batch, count: int, shares: "Shares | None" = None) -> None:
        self.total: Tensor | None = None
        self.answers: list[Answer] = []  # each micro-batch with its logits
        self.shortage = ""  # why memory ran out; the error itself would hold on to its tensors
        self._batch = batch
        self._count = count
        self._shares = shares

    def __enter__(self) -> "Attempt":
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> bool:
        if error is None or not is_out_of_memory(error):
            return False
        self.total, self.answers = None, []
        self.shortage = str(error) or "out of memory"
        return True

    def micro_batches(self) -> Iterator[tuple[Batch, float | Tensor]]:
        """Each micro-batch with its share of the step's loss, over all ranks: for most losses the
        fraction of the step's samples that it holds.
        """
        found = self._batch.micro(self._count)
        return found if self._shares is None else self._shares.of(found)

    def add(self, loss: Tensor, logits: Tensor, micro: Batch) -> None:
        """Count the weighted loss (0-d) of a micro-batch, and keep its logits for the ledger."""
        loss = loss.detach()
        self.answers.append((micro, logits.detach()))
        self.total = loss if self.total is None else self.total + loss

    @property
    def loss(self) -> Tensor:
        """The loss of the step (0-d)."""
        assert self.total is not None
        return self.total


def attempts(
    state: State,
    batch: Batch,
    plan: Plan,
    parallel: Parallel,
    run: RunFolder,
    buffers: Buffers,
) -> Iterator[Attempt]:
    """Attempts at the gradients of `batch`: one, and further ones while memory is too short.

    Gradients are left in the parameters, the loss in the last attempt. Every rank must iterate
    over this. Where one rank runs out of memory, all start the step again in smaller
    micro-batches, which later steps keep. Raises ResourceError if one image does not fit.
    """
    device, world = state.precision.device, parallel.world
    largest = -(-batch.step_total // world.size)  # images of the rank that has most
    while True:
        count = state.micro_limit.count(largest, plan.micro_batches)
        seed_step(device, torch_seed(plan.seed, state.step, world.rank))
        shares = find_shares(plan.loss, batch, count, parallel)
        attempt = Attempt(batch, count, shares)
        yield attempt
        if attempt.shortage and parallel.is_sharded:
            raise_shortage(device, attempt.shortage)
        if world.is_joined or attempt.total is None:
            is_short, *pending = parallel.agree([bool(attempt.shortage), *run.requests.pending()])
            run.requests.agree_on(pending)
        else:
            return  # no other rank to agree with
        if attempt.total is not None and not is_short:
            attempt.total = parallel.share(attempt.loss)
            return
        attempt.total = None
        state.optimizer.zero_grad(set_to_none=True)
        buffers.settle(applied=False)
        tried = -(-largest // count)
        shortage = attempt.shortage or "on another rank"
        reason = describe_shortage(device, tried, shortage)
        shrink_micro_batches(state.micro_limit, tried, reason)
        is_of_batch = getattr(inner_loss(plan.loss), "adding", "") == "other"
        note = (
            f"out of memory in step {state.step + 1:,}: {reason}; from here on at most "
            f"{state.micro_limit.most} go through at once, in steps of the same "
            f"{batch.step_total} images (BatchNorm then averages over fewer"
            + (", and so does this loss" if is_of_batch else "")
            + ")"
        )
        run.record(OutOfMemory(state.step + 1, state.micro_limit.most, note))


@dataclass(frozen=True)
class Shares:
    """The shares of micro-batches in the loss of a step that is no mean over its images."""

    loss: Any
    total: Tensor | None  # what the labels of the step count for, over all ranks; None: a sum

    def of(self, parts: Iterator[tuple[Batch, float]]) -> Iterator[tuple[Batch, float | Tensor]]:
        """The micro-batches with their shares; a teacher's loss still counts by images."""
        for micro, fraction in parts:
            share: float | Tensor = float(fraction > 0)
            if self.total is not None and fraction:
                amount = amount_of(inner_loss(self.loss), micro.labels)
                share = fraction if amount is None else amount / self.total
            if not isinstance(self.loss, Distillation):
                yield micro, share
                continue
            self.loss.ratio = share / fraction if fraction else 0.0
            try:
                yield micro, fraction
            finally:
                self.loss.ratio = 1.0


def find_shares(loss: Any, batch: Batch, count: int, parallel: Parallel) -> Shares | None:
    """The shares of the micro-batches of a step; None where each image counts alike.

    Every rank must call this.
    """
    if count == 1 and not batch.total:
        return None
    inner = inner_loss(loss)
    if getattr(inner, "adding", "") == "sum":
        return Shares(loss, None)
    amount = amount_of(inner, batch.labels)
    if amount is None:
        return None
    return Shares(loss, parallel.total(amount * (not batch.is_padding)))


def inner_loss(loss: Any) -> Any:
    """The loss on the labels, without that of a teacher."""
    return loss.loss if isinstance(loss, Distillation) else loss


def raise_shortage(device: torch.device, shortage: str) -> None:
    """End a run whose ranks can't try a step again."""
    raise ResourceError(
        f"out of memory: {describe_shortage(device, 0, shortage)}",
        "continue with smaller micro-batches: loupe resume RUN --set train.micro_batches=2",
    )
