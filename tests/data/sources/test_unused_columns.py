"""Columns of splits and groups that can't be used are noted."""

import pytest
import torch
from torch.utils.data import Dataset, IterableDataset

from torchloupe.data.sources import open_data
from torchloupe.data.sources.unused_columns import tell_split_or_group


@pytest.mark.parametrize(
    ("name", "is_told"),
    [("split", True), ("patient_id", True), ("isTrain", True), ("label", False), ("meta", False)],
)
def test_names_say_splits_and_groups(name, is_told):
    assert tell_split_or_group(name) is is_told


class Items(Dataset):
    """Six items that say their split and patient."""

    targets = (0, 1, 0, 1, 0, 1)

    def __len__(self):
        return 6

    def __getitem__(self, row):
        image = torch.full((1, 4, 4), float(row))
        return {"image": image, "label": row % 2, "split": "test", "patient_id": row}


class Stream(IterableDataset):
    """The same in sequence, with the names of columns."""

    column_names = ("image", "label", "split")
    classes = ("a", "b")

    def __iter__(self):
        return map(Items().__getitem__, range(6))


def test_entries_of_items_are_noted():
    assert open_data(Items()).notes == (
        "entries that say a split or group are not used, 'split', 'patient_id': give a frame or "
        "list of dicts of images, labels and these",
    )


def test_columns_of_streams_are_noted():
    notes = open_data(Stream()).notes
    assert (
        "columns of the stream that say a split or group are not used, 'split': give a stream for "
        "each split"
    ) in notes
