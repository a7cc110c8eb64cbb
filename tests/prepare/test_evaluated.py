"""Data to evaluate on, as a person hands them over: a loader alone, or a dict without train."""

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, default_collate

from torchloupe.config.schema import DataConfig
from torchloupe.data.contract_choice import choose_contract
from torchloupe.data.sources import open_data
from torchloupe.errors import DataError, UsageError
from torchloupe.prepare.data import prepare_evaluation_data

IMAGES = torch.rand(12, 1, 6, 6)
LABELS = torch.arange(12) % 3
SEVERAL = torch.stack([LABELS > 0, LABELS > 1, LABELS < 1], 1).float()
ONE = torch.eye(3)[LABELS]
TENSORS = TensorDataset(IMAGES, LABELS)


class Given(IterableDataset):
    def __init__(self, labels, **attributes):
        self.labels = labels
        vars(self).update(attributes)

    def __iter__(self):
        yield from zip(IMAGES, self.labels, strict=True)


def as_usual(pairs):
    return default_collate(pairs)


def labels_of(source, trained_on=TENSORS):
    contract = choose_contract(open_data(trained_on))
    data = prepare_evaluation_data(DataConfig(), source, contract)
    return torch.cat([batch.labels for batch in data.scan("test")]), data.notes


PLAIN = DataLoader(TENSORS, 5)


@pytest.mark.parametrize(
    "source",
    [
        PLAIN,
        DataLoader(TENSORS, 5, collate_fn=as_usual),
        DataLoader(Given(LABELS), 5),
        Given(LABELS, classes=("0", "1", "2")),
        Given(LABELS, classes=("0", "1", "2", "3")[:3]),
        Given([str(label) for label in LABELS.tolist()], classes=("2", "1", "0")),
        {"test": PLAIN},
        {"val": TENSORS},
        {"validation": Given(LABELS[:0]), "test": PLAIN},
        {"test": (IMAGES, LABELS)},
        (DataLoader(TENSORS, 5), Given(LABELS), PLAIN),
    ],
)
def test_what_is_given_to_evaluate_needs_no_train_split(source):
    labels, notes = labels_of(source)
    assert labels.tolist() == LABELS.tolist()
    assert not any("split off" in note or "is split for" in note for note in notes)


def test_loaders_without_a_test_split_are_refused():
    with pytest.raises(UsageError, match="no test split: they are train and val") as caught:
        labels_of((PLAIN, PLAIN))
    assert caught.value.hint == "give the one to evaluate alone, or a dict with the key test"


def test_a_stream_with_the_classes_in_another_order_is_refused():
    with pytest.raises(DataError, match="the stream numbers its classes as '2', '1', '0', and"):
        labels_of(Given(LABELS, classes=("2", "1", "0")))


@pytest.mark.parametrize("kind", [lambda labels: TensorDataset(IMAGES, labels), Given])
def test_one_hot_rows_are_rows_for_a_model_of_several_labels(kind):
    labels, _ = labels_of(kind(ONE), TensorDataset(IMAGES, SEVERAL))
    assert torch.equal(labels, ONE)


@pytest.mark.parametrize("kind", [lambda labels: TensorDataset(IMAGES, labels), Given])
def test_several_labels_are_refused_by_a_model_of_one(kind):
    with pytest.raises(DataError, match="may have several labels, or none, and the model gives"):
        labels_of(kind(SEVERAL))
