"""Labels that may say that there is none."""

import numpy as np
import pytest
import torch
from tar_files import pairs, put
from torch.utils.data import TensorDataset

from torchloupe.data.sources import open_data
from torchloupe.data.sources.missing_labels import note_missing_labels


@pytest.mark.parametrize(
    ("values", "odd"),
    [
        (["a", "nan"], "nan"),
        (["-1", "0", "1"], "-1"),
        (["-1", "0"], "-1"),
        (["0", "1", "255"], "255"),
        (["-100", "0", "1"], "-100"),
        (["-1", "1"], ""),
        (["0", "255"], ""),
        (["0", "254", "255"], ""),
        (["a", "-1"], ""),
    ],
)
def test_values_that_may_say_nothing_are_noted(values, odd):
    notes = note_missing_labels(values, np.arange(len(values)) + 2, "labels")
    assert [note.partition(" ")[0] for note in notes] == [f"'{odd}'"] * bool(odd)


@pytest.mark.parametrize("odd", [-1, 255])
def test_labels_of_arrays_that_may_say_nothing_are_noted(odd):
    labels = np.array([0, 1, odd, 0, 1, odd])
    images = np.zeros((6, 4, 4), np.uint8)
    note = f"'{odd}' is a class, in 2 of the labels: if it says that a label is missing, "
    assert open_data((images, labels)).notes == (f"{note}take these rows out",)
    assert open_data((images, labels[:2].repeat(3))).notes == ()


def test_labels_of_datasets_and_shards_that_may_say_nothing_are_noted(tmp_path):
    images = torch.zeros(6, 1, 4, 4)
    data = open_data(TensorDataset(images, torch.tensor([0, 1, 255] * 2)))
    assert any(note.startswith("'255' is a class, in 2 of the labels") for note in data.notes)
    data = open_data(put(tmp_path / "a.tar", pairs(0, 6, ("0", "1", "-1"))))
    assert any(note.startswith("'-1' is a class, in 2 of the labels") for note in data.notes)
