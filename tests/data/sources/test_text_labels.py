"""Datasets whose labels are texts: class names, numbered in order."""

import pytest
import torch
from torch.utils.data import Dataset, Subset

import torchloupe as loupe
from torchloupe.data.sources import open_data
from torchloupe.data.sources.text_labels import TextLabelled, number_texts
from torchloupe.errors import DataError


class Named(Dataset):
    """Images with the names of their classes; as dicts, as Hugging Face gives them."""

    def __init__(self, names, as_dict=False, **attributes):
        self.names = names
        self.as_dict = as_dict
        vars(self).update(attributes)

    def __len__(self):
        return len(self.names)

    def __getitem__(self, row):
        image = torch.full((3, 8, 8), float(row % 3))
        return {"image": image, "label": self.names[row]} if self.as_dict else (
            image, self.names[row]
        )  # fmt: skip


ROWS = ("dog", "cat", "emu", "cat")


@pytest.mark.parametrize(
    "source",
    [
        Named(ROWS),
        Named(ROWS, as_dict=True),
        Named(ROWS, labels=list(ROWS)),
        Named([name.encode() for name in ROWS]),
        Subset(Named(("emu", *ROWS)), range(1, 5)),
        [({"image": torch.zeros(3, 8, 8), "label": name}) for name in ROWS],
    ],
)
def test_texts_become_class_numbers_with_a_note(source):
    data = open_data(source)
    assert data.samples.class_names == ("cat", "dog", "emu")
    assert data.samples.labels.tolist() == [1, 0, 2, 0]
    assert data.notes[0] == "the labels are texts: 3 classes by name, 'cat', 'dog', 'emu'"
    assert data.reader.dataset[0][1] == 1


def test_texts_keep_the_order_that_was_asked_for():
    assert open_data(Named(ROWS), class_names=("emu", "dog", "cat")).samples.labels.tolist() == [
        *(1, 2, 0, 2)
    ]
    own = open_data(Named(ROWS, classes=["dog", "emu", "cat"]))
    assert own.samples.class_names == ("dog", "emu", "cat")


def test_texts_of_splits_are_aligned_by_name():
    data = open_data((Named(ROWS), Named(("emu", "cat"))))
    assert data.samples.labels.tolist() == [1, 0, 2, 0, 2, 0]
    assert data.given.tolist() == [0, 0, 0, 0, 1, 1]


def test_texts_must_be_there_for_every_image():
    with pytest.raises(DataError) as caught:
        open_data(Named(("dog", "cat", 3)))
    assert caught.value.message == "row 2 has the label '3', and row 0 the text 'dog'"
    assert caught.value.hint.startswith("let the dataset give a class number or a class name")


class Triples(Named):
    def __getitem__(self, row):
        return (*super().__getitem__(row), row)


def test_texts_may_be_followed_by_more():
    data = open_data(Triples(ROWS))
    assert data.samples.labels.tolist() == [1, 0, 2, 0]
    assert data.notes[1].startswith("items hold 3 values: the first is taken as the image")
    with pytest.raises(DataError, match="it is a number or name of the image"):
        open_data(Triples(("1.png", "2.png", "3.png")))


def test_number_texts_leaves_other_datasets_as_they_are():
    numbered = Named((0, 1, 1))
    assert number_texts({0: numbered}, ()) == ({0: numbered}, ())
    found, _ = number_texts({0: Named(ROWS)}, ())
    assert isinstance(found[0], TextLabelled)
    assert found[0].classes == ("cat", "dog", "emu")


def test_a_run_is_trained_on_texts(tmp_path):
    rows = ROWS * 8
    run = loupe.fit(Named(rows), model="net", epochs=1, out=tmp_path / "run")
    assert run.class_names == ("cat", "dog", "emu")
