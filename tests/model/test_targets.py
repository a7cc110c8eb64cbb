"""Labels as class numbers or rows, and class weights."""

import pytest
import torch

from torchloupe.errors import DataError, UsageError
from torchloupe.model.targets import as_labels, as_rows, class_weights, spell_shape

LOGITS = torch.zeros(3, 4)


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.int32, torch.float64])
def test_labels_become_int64(kind):
    labels = as_labels(LOGITS, torch.tensor([0, 1, 1]).to(kind))
    assert labels.dtype == torch.int64
    assert labels.tolist() == [0, 1, 1]


def test_labels_that_are_right_are_not_copied():
    labels = torch.tensor([0, 1, 3])
    assert as_labels(LOGITS, labels) is labels


def test_rows_take_the_type_of_the_logits():
    assert as_labels(LOGITS, torch.eye(4, dtype=torch.int64)[:3]).dtype == torch.float32


def test_rows_of_class_numbers_are_smoothed_over_all_classes():
    rows = as_rows(LOGITS, torch.tensor([0, 1, 3]), smoothing=0.4)
    assert torch.allclose(rows[0], torch.tensor([0.7, 0.1, 0.1, 0.1]))
    assert torch.allclose(rows.sum(dim=1), torch.ones(3))


def test_rows_of_several_labels_are_smoothed_towards_a_half():
    rows = as_rows(LOGITS, torch.eye(4)[:3], smoothing=0.4, multi_label=True)
    assert torch.allclose(rows[0], torch.tensor([0.8, 0.2, 0.2, 0.2]))


@pytest.mark.parametrize("labels", [torch.zeros(2), torch.zeros(3, 5), torch.zeros(3, 4, 1)])
def test_labels_of_another_shape_are_refused(labels):
    with pytest.raises(DataError, match="for logits"):
        as_labels(LOGITS, labels)


def test_class_weights():
    assert class_weights("none", None, 2) is None
    assert class_weights([1, 3], None, 2).tolist() == [1.0, 3.0]
    assert class_weights("balanced", [30, 10], 2).tolist() == pytest.approx([40 / 60, 40 / 20])
    with pytest.raises(UsageError, match="not all 0"):
        class_weights([0, 0], None, 2)


def test_spell_shape():
    assert spell_shape(LOGITS) == "[3, 4]"
