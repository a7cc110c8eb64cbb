"""Forwards without gradients: modes, number formats, shortage of memory, probabilities."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

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


def test_a_head_that_differs_in_small_batches_gets_more_rows_and_not_more_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, linear = [], F.linear

    def be_picky(given: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        """Other bits where rows are few, as in some libraries."""
        rows.append(len(given))
        found = linear(given, *weights)
        return found if len(given) >= BATCH_MULTIPLE else found + 1e-6

    monkeypatch.setattr(F, "linear", be_picky)
    images, model = torch.rand(BATCH_MULTIPLE, 1, 2, 2), Headed()
    with eval_mode(model):
        full = model(images)
        assert not torch.equal(model(images[:1]), full[:1])  # this is what has to be made good
        sizes = find_equal_sizes(model, images)
        assert sizes == (1, 2, 4, 8)
        for count in (1, 3, 8):
            found = forward(model, images[:count], sizes=sizes)
            assert torch.equal(found, full[:count])
            assert rows[-1] == BATCH_MULTIPLE and model.computed < BATCH_MULTIPLE
    assert type(model.head) is nn.Linear
