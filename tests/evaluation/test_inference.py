"""Forwards without gradients: modes, number formats, shortage of memory, probabilities."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from torchloupe.evaluation.inference import (
    BATCH_MULTIPLE,
    eval_mode,
    find_equal_sizes,
    forward,
    to_probabilities,
)
from torchloupe.hardware.memory import MicroBatchLimit
from torchloupe.hardware.precision import Precision

CPU = torch.device("cpu")


class Small(nn.Module):
    """The sum of an image's pixels; more than `most` images at once don't fit into memory."""

    def __init__(self, most: int = 10_000) -> None:
        super().__init__()
        self.line = nn.Linear(4, 2)
        self.most = most
        self.sizes: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > self.most:
            raise MemoryError("no room")
        self.sizes.append(len(images))
        return self.line(images.flatten(1))


def test_eval_mode_asks_for_no_gradients_and_puts_modes_back() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Linear(2, 2))
    model[0].eval()
    with eval_mode(model):
        assert not model.training
        assert not model(torch.ones(1, 2)).requires_grad
    assert [module.training for module in model.modules()] == [True, False, True]


def test_logits_are_float32_in_any_number_format() -> None:
    with torch.inference_mode():
        logits = forward(Small(), torch.rand(3, 1, 2, 2), Precision("bf16", CPU))
    assert (logits.dtype, tuple(logits.shape)) == (torch.float32, (3, 2))


def test_images_go_in_pieces_where_memory_runs_out_and_that_is_remembered() -> None:
    model, limit = Small(most=BATCH_MULTIPLE), MicroBatchLimit()
    images = torch.rand(3 * BATCH_MULTIPLE, 1, 2, 2)
    with torch.inference_mode():
        logits = forward(model, images, micro_limit=limit)
        alone = torch.cat([forward(model, image[None], micro_limit=limit) for image in images])
    assert torch.equal(logits, alone)
    assert max(model.sizes) <= BATCH_MULTIPLE
    assert limit.most and limit.most <= BATCH_MULTIPLE


def test_contiguous_images_stay_in_their_memory_format_when_filled_up() -> None:
    seen: list[bool] = []

    class Look(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images.is_contiguous(memory_format=torch.channels_last))
            return images.flatten(1)[:, :2]

    images = torch.rand(3, 3, 4, 4)
    forward(Look(), images)
    forward(Look(), images.contiguous(memory_format=torch.channels_last))
    assert seen == [False, True]


@pytest.mark.parametrize(("multi_label", "row"), [(False, [0.5, 0.5]), (True, [0.5, 0.5])])
def test_probabilities_of_equal_logits_are_equal(multi_label: bool, row: list[float]) -> None:
    assert to_probabilities(torch.zeros(1, 2), multi_label).tolist() == [row]


def test_probabilities_of_classes_sum_to_one_and_those_of_labels_need_not() -> None:
    logits = torch.tensor([[2.0, 1.0, 3.0]])
    assert float(to_probabilities(logits, False).sum()) == pytest.approx(1)
    assert float(to_probabilities(logits, True).sum()) > 2


class Odd(nn.Module):
    """Gives other bits in batches smaller than `from_size`, and counts images."""

    def __init__(self, from_size: int) -> None:
        super().__init__()
        self.from_size, self.computed = from_size, 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.computed = len(images)
        logits = images.flatten(1)
        return logits if len(images) >= self.from_size else logits + 1e-6


def test_sizes_that_give_the_bits_of_a_full_batch_are_found_and_not_filled_up() -> None:
    images = torch.rand(BATCH_MULTIPLE, 1, 2, 2)
    assert find_equal_sizes(Odd(1), images) == (1, 2, 4, 8)
    assert find_equal_sizes(Odd(16), images) == ()
    model = Odd(4)
    sizes = find_equal_sizes(model, images)
    assert sizes == (4, 8)
    for count, computed in ((1, 4), (4, 4), (5, 8), (9, 16), (16, 16), (17, 4), (25, 16)):
        part = images.repeat(2, 1, 1, 1)[:count]
        assert torch.equal(forward(model, part, sizes=sizes), forward(model, part))
        forward(model, part, sizes=sizes)
        assert model.computed == computed


class Headed(nn.Module):
    """A linear layer that remembers how many images it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.computed = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.computed = len(images)
        logits: torch.Tensor = self.head(images.flatten(1))
        return logits


class Picky(TorchFunctionMode):
    """Linear layers that give other bits for any number of rows but BATCH_MULTIPLE."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[int] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if func is not F.linear:
            return found
        self.rows.append(len(args[0]))
        return found + 1e-6 * (len(args[0]) - BATCH_MULTIPLE)


def test_linear_layers_compute_blocks_of_as_many_rows_for_any_number_of_images() -> None:
    images, model = torch.rand(40, 1, 2, 2), Headed()
    with eval_mode(model), Picky() as picky:
        assert not torch.equal(model(images[:1]), model(images)[:1])  # this has to be made good
        sizes = find_equal_sizes(model, images[:BATCH_MULTIPLE])
        assert sizes == (1, 2, 4, 8)
        full = forward(model, images)
        for count in (1, 3, 8, 16, 17, 40):
            for known in ((), sizes):
                picky.rows.clear()
                assert torch.equal(forward(model, images[:count], sizes=known), full[:count])
                assert set(picky.rows) == {BATCH_MULTIPLE}
        assert forward(model, images[:1], sizes=sizes).shape == (1, 3)
        assert model.computed == 1  # more rows, and not more images


@pytest.mark.parametrize("shape", [(1280, 2), (3136, 2), (1280, 1000)])
def test_logits_are_the_same_alone_and_in_a_batch_with_two_threads(shape: tuple[int, int]) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(*shape))
    images = torch.rand(256, 1, 1, shape[0])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with eval_mode(model):
            full = forward(model, images)
            for count in (1, 16, 48, 160):
                assert torch.equal(forward(model, images[:count]), full[:count])
            assert torch.equal(forward(model, images[200:201]), full[200:201])
    finally:
        torch.set_num_threads(threads)
