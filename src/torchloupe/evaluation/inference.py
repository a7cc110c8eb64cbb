"""Forward passes without gradients, in batches whose size never changes the bits."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchloupe.hardware.memory import MicroBatchLimit, in_micro_batches
from torchloupe.hardware.precision import Precision

BATCH_MULTIPLE = 16  # batch sizes are padded to a multiple of it: smaller ones use other kernels


LARGEST_BATCH = 256  # images; in larger batches threads may split a sum


LARGE_IMAGE = 2**20  # values; images at least this large go one by one


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """A context in eval and inference mode; each module's own mode is restored at its end."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes:
            module.training = training


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
    LARGEST_BATCH images; large images go one by one. An image then gets the same logits alone, in
    a full batch and in the last, smaller one. docs/LOG.md says on which CPUs this was needed.
    Where memory runs out, images go in smaller micro-batches, which `micro_limit` remembers.
    `sizes` are smaller batches that give the same bits (find_equal_sizes): images beyond the last
    multiple of BATCH_MULTIPLE then go in one of them.
    """
    micro_limit = micro_limit or MicroBatchLimit()
    at_once = 1 if images[0].numel() >= LARGE_IMAGE else LARGEST_BATCH
    micro_limit.most = min(micro_limit.most or at_once, at_once)

    def compute(piece: Tensor) -> Tensor:
        with nullcontext() if precision is None else precision.autocast():
            logits: Tensor = model(piece if micro_limit.most == 1 else _fill_up(piece, sizes))
        return logits[: len(piece)].float()

    def run(span: slice) -> Tensor:
        piece = images[span]
        if not sizes or micro_limit.most == 1:
            return compute(piece)
        full = len(piece) - len(piece) % BATCH_MULTIPLE
        with full_rows(model):
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
    some kernels treat its last images otherwise. Products of few rows are those whose kernels
    differ most often, in float32 even where all convolutions agree: they are computed for
    BATCH_MULTIPLE rows (full_rows), here and by `forward` for these sizes.
    """
    full = forward(model, images, precision)
    found = []
    for size in (1, 2, 4, 8):
        with full_rows(model), nullcontext() if precision is None else precision.autocast():
            ends = [model(part).float() for part in (images[:size], images[-size:])]
        if all(map(torch.equal, ends, (full[:size], full[-size:]))):
            found.append(size)
    return tuple(found)


@contextmanager
def full_rows(model: nn.Module) -> Iterator[None]:
    """Inside, each linear layer computes a matrix [B, C] of few rows as `fill_rows` says."""
    layers = fill_rows(model)
    try:
        yield
    finally:
        for layer in layers:
            layer.__class__ = nn.Linear


def fill_rows(model: nn.Module) -> list[nn.Linear]:
    """Have the linear layers of `model` compute a multiple of BATCH_MULTIPLE rows; returns them.

    A head takes a few microseconds for 16 rows; 16 images take as long as 16 images.
    """
    layers = [layer for layer in model.modules() if type(layer) is nn.Linear]
    for layer in layers:
        layer.__class__ = _FullRows
    return layers


class _FullRows(nn.Linear):
    """A linear layer that adds rows of zeros to a matrix [B, C] of few rows, and gives B."""

    def forward(self, input: Tensor) -> Tensor:
        missing = _missing(len(input)) if input.ndim == 2 else 0
        if not missing:
            return super().forward(input)
        return super().forward(F.pad(input, (0, 0, 0, missing)))[: len(input)]


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
