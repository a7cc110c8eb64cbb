"""One model on several devices: DistributedDataParallel, FSDP2, DataParallel, or none of them.

What these wrap around a model stays in here. Outside, the model is the plain one: its state has
the same names and, read through `whole`, the same full tensors whichever is used.

Forward and backward run on each rank alone, and gradients are exchanged only after all ranks
agreed that theirs succeeded. So a rank that ran out of memory can say so, and all repeat the step
in smaller micro-batches; the price is that the exchange does not overlap with backward.
"""

import copy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.nn.parallel import DataParallel, DistributedDataParallel

from torchloupe.distributed.world import ALONE, World
from torchloupe.errors import UsageError

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

KINDS = ("ddp", "dp", "fsdp")


class Parallel:
    """A model trained by this process alone; the classes below have the same interface.

    `model` is the plain model, `module` the one to call in a training forward.
    """

    is_sharded = False  # whether a forward needs every rank, so that none can repeat one alone

    def __init__(self, model: nn.Module, world: World = ALONE) -> None:
        self.model = self.module = model
        self.world = world
        self._has_agreed = False

    def agree(self, numbers: Sequence[int]) -> list[int]:
        """The largest of each number over all ranks, after backward; every rank must call this."""
        return list(numbers)

    def share(self, loss: Tensor) -> Tensor:
        """Sum gradients and `loss` over all ranks; returns the loss. Every rank must call this."""
        return loss

    def total(self, amount: Tensor) -> Tensor:
        """The sum of an amount (0-d) over all ranks; every rank must call this."""
        if self.world.size > 1:
            with self.world.talking():
                dist.all_reduce(amount)
        return amount

    @contextmanager
    def for_inference(self, model: nn.Module) -> Iterator[nn.Module]:
        """`model` for forwards without gradients that no other rank has to take part in."""
        yield model

    def gather_model(self) -> nn.Module:
        """The plain model with all its weights on this rank; every rank must call this."""
        return self.model


class _Gradients(nn.Module):
    """A module with an empty backward, through which DDP sums the gradients that are there."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self) -> Tensor:
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        return _Nothing.apply(*parameters)  # type: ignore[no-any-return]


class _Nothing(torch.autograd.Function):
    """A zero that depends on every parameter and gives none of them a gradient."""

    @staticmethod
    def forward(context: Any, *parameters: Tensor) -> Tensor:
        context.count = len(parameters)
        return torch.zeros((), device=parameters[0].device)

    @staticmethod
    def backward(context: Any, *_: Tensor) -> tuple[None, ...]:
        count: int = context.count
        return (None,) * count


class Replicas(Parallel):
    """A copy of the model on each rank, kept the same by DistributedDataParallel.

    Making one gives every rank the weights and buffers of rank 0. BatchNorm averages over a rank's
    own part of the batch; the running averages that are kept are those of rank 0.
    """

    def __init__(self, model: nn.Module, world: World) -> None:
        super().__init__(model, world)
        device = next(model.parameters()).device
        with world.talking():
            self._ddp = DistributedDataParallel(
                _Gradients(model), device_ids=[device] if device.type == "cuda" else None
            )
        self._ddp.register_comm_hook(None, _add_up)
        self._used: list[int] | None = None
        self._parameters = [p for p in model.parameters() if p.requires_grad]

    def agree(self, numbers: Sequence[int]) -> list[int]:
        """Also finds out which parameters got a gradient on any rank."""
        if not self._has_agreed:
            self.world.wait()  # the first forward may compile, which takes some longer than others
            self._has_agreed = True
        used = [p.grad is not None for p in self._parameters]
        agreed = self.world.highest([*numbers, *used])
        self._used = agreed[len(numbers) :]
        return agreed[: len(numbers)]

    def share(self, loss: Tensor) -> Tensor:
        if self._used is None:
            self.agree([])
        with self.world.talking():
            self._ddp().backward()
            dist.all_reduce(loss)
        for parameter, used in zip(self._parameters, self._used or (), strict=True):
            if not used:
                parameter.grad = None
        self._used = None
        return loss


def _add_up(
    _: object,
    bucket: dist.GradBucket,  # type: ignore[name-defined]
) -> torch.futures.Future[Tensor]:
    """Gradients are added, not averaged: each rank's loss counts by its share of the batch."""
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    return work.get_future().then(lambda future: future.value()[0])


class Shards(Parallel):
    """One model over all ranks, each holding a part of every parameter (FSDP2).

    Ranks exchange parameters in every forward, so none of them can try one again by itself.
    """

    is_sharded = True

    def __init__(self, model: nn.Module, world: World) -> None:
        super().__init__(model, world)
        device = next(model.parameters()).device
        self.plain = copy.deepcopy(model).to("meta")
        self.mesh = DeviceMesh(device.type, list(range(world.size)))
        with world.talking():
            for tensor in model.state_dict().values():
                dist.broadcast(tensor, src=0)
        self.shard(model)

    def shard(self, model: nn.Module) -> None:
        """Turn `model` into one that is spread over the ranks; its class gets a new name."""
        from torch.distributed.fsdp import fully_shard

        sharded: Any = fully_shard(model, mesh=self.mesh)
        sharded.set_gradient_divide_factor(1.0)  # added up: see _add_up
        sharded.set_force_sum_reduction_for_comms(True)  # all that gloo knows

    def agree(self, numbers: Sequence[int]) -> list[int]:
        return self.world.highest(numbers)

    def share(self, loss: Tensor) -> Tensor:
        with self.world.talking():
            for buffer in self.model.buffers():
                dist.broadcast(buffer, src=0)
            dist.all_reduce(loss)
        return loss

    @contextmanager
    def for_inference(self, model: nn.Module) -> Iterator[nn.Module]:
        from torch.distributed.fsdp import FSDPModule

        if not isinstance(model, FSDPModule):
            yield model
            return
        with self.world.talking():
            model.unshard()
        try:
            yield model
        finally:
            model.reshard()

    def gather_model(self) -> nn.Module:
        weights = whole(self.model.state_dict())
        plain = self.plain.to_empty(device=next(iter(weights.values())).device)
        plain.load_state_dict(weights)
        return plain


class OneProcess(Parallel):
    """All GPUs driven by this process with `nn.DataParallel`; the loss is taken on the first."""

    def __init__(self, model: nn.Module, devices: Sequence[torch.device]) -> None:
        super().__init__(model)
        self.devices = list(devices)
        self.module = DataParallel(model, device_ids=self.devices)

    @contextmanager
    def for_inference(self, model: nn.Module) -> Iterator[nn.Module]:
        yield DataParallel(model, device_ids=self.devices)


def make_parallel(
    model: nn.Module, world: World, kind: str = "ddp", devices: Sequence[torch.device] = ()
) -> Parallel:
    """`model` ready to be trained by `world`; `devices` are those of DataParallel.

    Every rank must call this. With "fsdp" it has to be called before an optimizer is made.
    """
    if kind == "dp":
        if world.is_joined:
            raise UsageError(
                "nn.DataParallel is one process for all GPUs, and torchrun started several",
                "leave --parallel out, or start it without torchrun",
            )
        return OneProcess(model, devices) if devices else Parallel(model)
    if not world.is_joined:
        return Parallel(model)
    return Shards(model, world) if kind == "fsdp" else Replicas(model, world)


def is_sharded(tensor: object) -> "TypeGuard[DTensor]":
    """Whether `tensor` is one of FSDP2's that is spread over the ranks.

    Without the second that importing DTensor takes: where nothing imported it, there is none.
    """
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def whole(tree: Any) -> Any:
    """`tree` with sharded tensors gathered into full ones; others as they are.

    Every rank must call this if the model is sharded.
    """
    if is_sharded(tree):
        return tree.full_tensor()
    if isinstance(tree, Mapping):
        return {key: whole(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [whole(item) for item in tree]
    return tree


@dataclass(frozen=True)
class Part:
    """What this rank has of a tensor whose rows are spread over the ranks."""

    rows: Tensor
    start: int  # the number of its first row in the whole tensor
    total: int  # rows of the whole tensor


def part_of(tensor: "DTensor") -> Part | None:
    """The rows of a sharded tensor that are this rank's; None where it is not split by rows."""
    mesh, placement = tensor.device_mesh, tensor.placements[0]
    if mesh.ndim != 1 or not tensor.ndim or not placement.is_shard(0):
        return None
    rows, total = tensor.to_local(), len(tensor)
    most = -(-total // mesh.size())  # as torch.chunk does: the last ranks may have fewer, or none
    start = min(total, mesh.get_local_rank() * most)
    if len(rows) != min(most, total - start):
        raise ValueError(f"a rank has {len(rows)} of {total} rows, wanted {most} from {start} on")
    return Part(rows, start, total)


def snapshot(tree: Any, keeps: bool = True, in_parts: bool = False) -> Any:
    """A copy of `tree` on the CPU that later steps can't change, sharded tensors gathered.

    They are gathered one at a time, so that no GPU holds more than one of them as a whole. Every
    rank must call this if the model is sharded; one that `keeps` none gets None for each tensor.
    With `in_parts` a tensor that is split by rows is not gathered: each rank gets its Part.
    """
    if is_sharded(tree):
        part = part_of(tree) if in_parts else None
        if part is not None:
            rows = part.rows.detach().to("cpu", copy=True)
            return Part(rows, part.start, part.total)
        full, local = tree.full_tensor(), tree.to_local()
        is_own = full.data_ptr() != local.data_ptr()  # of one rank alone there is nothing to gather
        return full.detach().to("cpu", copy=not is_own) if keeps else None
    if isinstance(tree, Tensor):
        return tree.detach().to("cpu", copy=True) if keeps else None
    if isinstance(tree, Mapping):
        return {key: snapshot(value, keeps, in_parts) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [snapshot(item, keeps, in_parts) for item in tree]
    return tree


def shard_like(tensor: Tensor, like: Tensor) -> Tensor:
    """`tensor` sharded over the ranks like `like`; itself if `like` is not sharded."""
    if not is_sharded(like) or is_sharded(tensor) or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


def read_like(like: Tensor, read: Callable[[int, int], Tensor]) -> Tensor | None:
    """A tensor sharded like `like`, whose rows from the first to before the second `read` gives.

    Only those of this rank are read. None where `like` is not split by rows.
    """
    part = part_of(like) if is_sharded(like) else None
    if part is None or not is_sharded(like):
        return None
    from torch.distributed.tensor import DTensor

    rows = read(part.start, part.start + len(part.rows))
    local = torch.empty_like(part.rows, dtype=rows.dtype, requires_grad=False).copy_(rows)
    return DTensor.from_local(
        local,
        like.device_mesh,
        like.placements,
        run_check=False,
        shape=like.shape,
        stride=like.stride(),
    )
