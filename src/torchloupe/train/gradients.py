"""The gradient of one step: forward and backward, on all ranks, in what memory there is.

The batch, its order and the learning rate are never changed. Only how many images go through
the model at once is.
"""

import torch
from torch import Tensor

from torchloupe.data.feeds.feed import Batch
from torchloupe.distributed.parallel import Parallel
from torchloupe.errors import ResourceError
from torchloupe.hardware.device import seed_step
from torchloupe.hardware.memory import describe_shortage, is_out_of_memory, shrink_micro_batches
from torchloupe.hardware.precision import Buffers, Precision
from torchloupe.model.norms import steady_norms
from torchloupe.prepare.plan import Plan
from torchloupe.run.folder import RunFolder
from torchloupe.run.state import State
from torchloupe.system.counter_rng import torch_seed


def collect_gradients(
    state: State,
    batch: Batch,
    plan: Plan,
    precision: Precision,
    parallel: Parallel,
    run: RunFolder,
    buffers: Buffers,
) -> Tensor:
    """The loss of `batch` over all ranks (0-d); its gradients are left in the parameters.

    Every rank must call this. Where one runs out of memory all start the step again, in smaller
    pieces from now on. Raises ResourceError where a single image does not fit.
    """
    largest = -(-batch.step_total // parallel.world.size)  # images of the rank that has most
    while True:
        parts = state.micro_limit.count(largest, plan.micro_batches)
        loss: Tensor | None = None
        shortage = ""
        try:
            loss = add_up(state, batch, plan, precision, parallel, parts)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            shortage = str(error)  # and not the error, which holds on to its tensors
            if parallel.is_spread:
                raise_shortage(precision.device, shortage)
        if loss is not None and not parallel.world.is_joined:
            return loss  # nobody to agree with
        is_short, *pending = parallel.agree([bool(shortage), *run.requests.pending()])
        run.requests.agree_on(pending)
        if loss is not None and not is_short:
            return parallel.share(loss)
        loss = None
        state.optimizer.zero_grad(set_to_none=True)
        buffers.settle(applied=False)
        tried = -(-largest // parts)
        reason = describe_shortage(precision.device, tried, shortage or "on another rank")
        shrink_micro_batches(state.micro_limit, tried, reason)
        run.record(
            {
                "step": state.step + 1,
                "images_at_once": state.micro_limit.most,
                "note": f"out of memory in step {state.step + 1:,}: {reason}; from here on at most "
                f"{state.micro_limit.most} go through at once, in steps of the same "
                f"{batch.step_total} images (BatchNorm then averages over fewer)",
            }
        )


def add_up(
    state: State, batch: Batch, plan: Plan, precision: Precision, parallel: Parallel, parts: int
) -> Tensor:
    """Add the gradients of this rank's `batch`, in `parts` pieces; gives its part of the loss."""
    seed_step(precision.device, torch_seed(plan.seed, state.step, parallel.world.rank))
    loss_sum: Tensor | None = None
    for micro, weight, _is_last in batch.micro(parts):
        with precision.autocast(), steady_norms(state.model, micro.images):
            loss = plan.loss(parallel.module(micro.images), micro.labels)
            loss = loss if weight == 1 else loss * weight
        precision.backward(loss)
        loss_sum = loss.detach() if loss_sum is None else loss_sum + loss.detach()
    assert loss_sum is not None
    return loss_sum


def raise_shortage(device: torch.device, shortage: str) -> None:
    """End a run whose ranks can't try a step again."""
    raise ResourceError(
        f"out of memory: {describe_shortage(device, 0, shortage)}",
        "go on with smaller pieces: loupe resume RUN --set train.micro_batches=2",
    )
