"""Forward passes without gradients, in batches whose size never changes the bits."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from torchloupe.hardware.memory import MicroBatchLimit, in_micro_batches
from torchloupe.hardware.precision import Precision
from torchloupe.lens.trace import modes_of, restore_modes
from torchloupe.model.transfer import is_from_this_package
from torchloupe.model.wrapping import is_compiled

BATCH_MULTIPLE = 16  # batch sizes are padded to a multiple of it: smaller ones use other kernels


LARGEST_BATCH = 256  # images; in larger batches threads may split a sum


LARGE_IMAGE = 2**20  # values; images at least this large go one by one


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """A context in eval mode and without gradients; each module's own mode is restored at its end.

    Networks of this package are in inference mode. Others may keep a tensor that forward made, as
    a buffer, an attribute or in a cache, and use it later in training: an inference tensor raises
    there.
    """
    modes = modes_of(model)
    model.eval()
    try:
        with torch.inference_mode() if is_from_this_package(model) else torch.no_grad():
            yield
    finally:
        restore_modes(modes)


@contextmanager
def loss_in_eval_mode(loss: object) -> Iterator[None]:
    """A context in which a loss that is a module is in eval mode: it may count its steps."""
    modes = modes_of(loss) if isinstance(loss, nn.Module) else []
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, is_training in modes:
            module.training = is_training


def forward(
    model: nn.Module,
    images: Tensor,
    precision: Precision | None = None,
    micro_limit: MicroBatchLimit | None = None,
    sizes: Sequence[int] = (),
) -> Tensor:
    """Logits [B, K] in float32, whatever format the forward ran in.

    Which kernels compute a batch depends on how many images it has, and with them the last bits.
    So batches are padded to a multiple of BATCH_MULTIPLE and split into micro-batches of up to
    LARGEST_BATCH images, and linear layers compute blocks of rows (RowsInBlocks, unless the model
    is compiled); large images go one by one. An image then gets the same logits alone, in
    a full batch and in the last, smaller one. docs/LOG.md says on which CPUs this was needed.
    Where memory runs out, images go in smaller micro-batches, which `micro_limit` remembers.
    `sizes` are smaller batches that give the same bits (find_equal_sizes): images beyond the last
    multiple of BATCH_MULTIPLE then go in one of them.
    """
    micro_limit = micro_limit or MicroBatchLimit()
    at_once = 1 if images[0].numel() >= LARGE_IMAGE else LARGEST_BATCH
    micro_limit.most = min(micro_limit.most or at_once, at_once)

    in_blocks = at_once > 1 and not is_compiled(model)  # inside, torch would compile once more

    def compute(piece: Tensor) -> Tensor:
        alone = micro_limit.most == 1
        with (
            nullcontext() if precision is None else precision.autocast(),
            RowsInBlocks() if in_blocks else nullcontext(),
        ):
            logits: Tensor = model(piece if alone else _fill_up(piece, sizes))
        return logits[: len(piece)].float().detach()  # forward may turn gradients on

    def run(span: slice) -> Tensor:
        piece = images[span]
        if not sizes or micro_limit.most == 1:
            return compute(piece)
        full = len(piece) - len(piece) % BATCH_MULTIPLE
        parts = [compute(part) for part in (piece[:full], piece[full:]) if len(part)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    pieces = list(in_micro_batches(len(images), micro_limit, run))
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def find_equal_sizes(
    model: nn.Module, images: Tensor, precision: Precision | None = None
) -> tuple[int, ...]:
    """The sizes below BATCH_MULTIPLE at which a batch gives the bits of a full one, here.

    `images` are BATCH_MULTIPLE different ones. Kernels are chosen by the size of a batch and not by
    what is in it, so one trial of each power of two tells; at both ends of the full batch, since
    some kernels treat its last images otherwise. Linear layers compute full blocks (RowsInBlocks),
    here and by `forward`.
    """
    full = forward(model, images, precision)
    found = []
    for size in (1, 2, 4, 8):
        with RowsInBlocks(), nullcontext() if precision is None else precision.autocast():
            ends = [model(part).float() for part in (images[:size], images[-size:])]
        if all(map(torch.equal, ends, (full[:size], full[-size:]))):
            found.append(size)
    return tuple(found)


class RowsInBlocks(TorchFunctionMode):
    """Inside, on the CPU, linear layers compute matrices [B, C] in blocks of BATCH_MULTIPLE rows.

    With two threads and more, how a product is divided among them depends on its rows, and with it
    the last bits: in float32 a layer of 1,280 to 1,000 values gave others for 160 rows than for
    256. Of all layers tried only these did (docs/LOG.md). A block that is not full gets zeros; a
    head takes a few microseconds for 16 rows.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """The result of `func`, which torch hands over in place of calling it."""
        more = kwargs or {}
        rows = args[0] if func is F.linear and args else None
        if not isinstance(rows, Tensor) or rows.ndim != 2 or rows.device.type != "cpu":
            return func(*args, **more)
        blocks = torch.split(F.pad(rows, (0, 0, 0, _missing(len(rows)))), BATCH_MULTIPLE)
        return torch.cat([func(block, *args[1:], **more) for block in blocks])[: len(rows)]


def _missing(count: int) -> int:
    """How many are missing to a multiple of BATCH_MULTIPLE."""
    return -count % BATCH_MULTIPLE


def _fill_up(images: Tensor, sizes: Sequence[int] = ()) -> Tensor:
    """`images` with its last one repeated, up to one of `sizes` or a multiple of BATCH_MULTIPLE."""
    target = next((size for size in sizes if size >= len(images)), 0)
    missing = target - len(images) if target else _missing(len(images))
    if not missing:
        return images
    filled = torch.cat([images, images[-1:].expand(missing, *images.shape[1:])])
    if images.ndim == 4 and images.is_contiguous(memory_format=torch.channels_last):
        return filled.contiguous(memory_format=torch.channels_last)
    return filled


def to_probabilities(logits: Tensor, multi_label: bool, temperature: float = 1.0) -> Tensor:
    """Probabilities [B, K] of logits [B, K] divided by `temperature`.

    Softmax over classes, or a sigmoid each for several labels.
    """
    scaled = logits if temperature == 1.0 else logits / temperature
    return scaled.sigmoid() if multi_label else scaled.softmax(dim=1)
