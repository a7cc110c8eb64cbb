"""Datasets whose labels are lists: rows of 0 and 1, with the class names of the dataset."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, Subset

import torchloupe as loupe
from torchloupe.data.sources import open_data
from torchloupe.data.sources.listed_labels import ListLabelled, number_lists
from torchloupe.errors import DataError

NAMES = [["a"], ["a", "b"], ["c"], ["b", "c"]]
NUMBERS = [[0], [0, 1], [2], [1, 2]]
ROWS = [[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 1]]


class Own(Dataset):
    """Small images with the labels that are given."""

    def __init__(self, labels, **attributes):
        self.given = labels
        self.reads = 0
        vars(self).update(attributes)

    def __len__(self):
        return len(self.given)

    def __getitem__(self, row):
        self.reads += 1
        return torch.full((3, 8, 8), float(row % 3)), self.given[row]


def picture(value):
    return Image.new("L", (4, 4), value)


@pytest.mark.parametrize(
    "source",
    [
        Own(NAMES),
        Own(NAMES, targets=NAMES),
        [(picture(k), own) for k, own in enumerate(NAMES)],
        [{"image": picture(k), "label": own} for k, own in enumerate(NAMES)],
        Subset(Own([["b"], *NAMES]), range(1, 5)),
        ConcatDataset([Own(NAMES[:2]), Own(NAMES[2:])]),
        Own(NUMBERS, classes=["a", "b", "c"]),
        Own([torch.tensor(own) for own in NUMBERS], classes=["a", "b", "c"]),
    ],
)
def test_lists_become_rows_of_0_and_1(source):
    data = open_data(source)
    assert data.samples.class_names == ("a", "b", "c")
    assert data.samples.labels.tolist() == ROWS
    assert data.notes[0] == "labels in lists hold several labels: this is multi-label, 3 labels"
    assert data.reader.dataset[1][1].tolist() == ROWS[1]


@pytest.mark.parametrize("numbers", [NUMBERS, [[0, 1], [2, 1], [0, 2], [1, 0]]])
def test_sequences_of_class_labels_of_hugging_face(numbers):
    hub = pytest.importorskip("datasets")
    names = ["cat", "dog", "emu", "fox"]
    features = hub.Features(
        {"image": hub.Image(), "labels": hub.Sequence(hub.ClassLabel(names=names))}
    )
    columns = {"image": [picture(k) for k in range(4)], "labels": numbers}
    data = open_data(hub.Dataset.from_dict(columns, features=features))
    assert data.samples.class_names == tuple(names)
    assert data.samples.labels.shape == (4, 4)
    for row, own in zip(data.samples.labels, numbers, strict=True):
        assert np.flatnonzero(row).tolist() == sorted(own)


def test_splits_have_the_same_classes():
    data = open_data((Own(NAMES), Own([["c"], ["a"]])))
    assert data.samples.labels.tolist() == [*ROWS, [0, 0, 1], [1, 0, 0]]
    assert data.given.tolist() == [0] * 4 + [1] * 2


def test_a_single_label_each_is_a_class_number():
    data = open_data(Own([["b"], ["a"], ["b"]]))
    assert data.samples.labels.tolist() == [1, 0, 1]
    assert data.samples.class_names == ("a", "b")


def test_known_lists_are_not_read_again():
    own = Own(NAMES * 10, targets=NAMES * 10)
    open_data(own)
    assert own.reads < 40


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Own([[0], [0, 7]], classes=["a", "b"]), "labels go up to 7, and there are 2 class names"),
        (Own([[9, 3, 5, 6], [1, 2, 8, 4]]), "found labels of shape"),
    ],
)
def test_other_lists_are_refused(source, message):
    with pytest.raises(DataError, match=message):
        open_data(source)


def test_number_lists_leaves_other_datasets_alone():
    assert number_lists({0: Own([0, 1])}, ()) is None
    assert number_lists({0: Own(["a", "b"])}, ()) is None
    parts, _ = number_lists({0: Own(NAMES)}, ())
    assert isinstance(parts[0], ListLabelled) and len(parts[0]) == 4


def test_a_run_is_trained_on_lists(tmp_path):
    run = loupe.fit(Own(NAMES * 15), model="net", epochs=1, out=tmp_path / "run")
    assert run.metrics["test"]["count"] > 0
