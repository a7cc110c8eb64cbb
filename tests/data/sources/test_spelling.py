"""Names that look the same: accents joined, others pointed out."""

import pytest
from trees import fail, labels, plant, write

from torchloupe.data.sources import open_data
from torchloupe.data.sources.spelling import find_longer, find_twin, note_twins

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def test_accents_of_either_form_are_one_class_between_folders(tmp_path):
    plant(tmp_path, f"train/{COMPOSED}/1.png", "train/b/1.png", f"val/{DECOMPOSED}/1.png")
    data = open_data(tmp_path)
    assert data.samples.class_names == ("b", COMPOSED)
    assert data.notes == (
        f"'{COMPOSED}' is one class: the accents are stored in two ways",
        "val has no image of 'b'",
    )
    assert all(data.reader.read(row)[:4] == b"\x89PNG" for row in range(3))


def test_accents_of_either_form_are_one_class_in_a_table(tmp_path):
    plant(tmp_path, "0.png", "1.png", "2.png")
    path = write(
        tmp_path, "t.csv", "image,label", f"0.png,{COMPOSED}", f"1.png,{DECOMPOSED}", "2.png,b"
    )
    data = open_data(path)
    assert labels(data) == [COMPOSED, COMPOSED, "b"]
    assert data.notes == (f"'{COMPOSED}' is one class: the accents are stored in two ways",)
    assert open_data(path, class_names=(DECOMPOSED, "b")).samples.labels.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("one", "other"),
    [("Cat", "cat"), ("dog", "dog "), ("0", "0.0"), ("7", "007"), ("hot dog", "hot_dog"),
     ("hot-dog", "hot dog"), ("a", "\uff41"), ("cat", "cat\u200b"), ("1", "1.")],
)  # fmt: skip
def test_twins_are_pointed_out(one, other):
    shown = other.replace("\u200b", "\\u200b")
    assert note_twins([one, "bird", other]) == (
        f"'{one}' and '{shown}' are 2 classes whose names look the same: give them one name if "
        "they are one class",
    )
    assert find_twin(one, ["bird", other]) == other


@pytest.mark.parametrize(
    ("one", "other"),
    [("cat", "cats"), ("1", "10"), ("0.5", "0"), ("a", "b"), ("c", "c++"), ("+", "-")],
)
def test_names_that_look_different_are_no_twins(one, other):
    assert note_twins([one, other]) == ()
    assert find_twin(one, [one, other]) is None


def test_twins_are_named_where_a_split_lacks_a_class(tmp_path):
    plant(tmp_path, "train/Cat/1.png", "train/dog/1.png", "val/cat/1.png", "val/dog/1.png")
    error = fail(tmp_path)
    assert error.message == "val has a class that train lacks: 'cat'"
    assert error.hint == "train has 'Cat': give both the same name if they are one class"


def test_twins_in_one_folder_are_noted(tmp_path):
    plant(tmp_path, "Cat/1.png", "cat/1.png", "dog/1.png")
    assert open_data(tmp_path).notes == (
        "'Cat' and 'cat' are 2 classes whose names look the same: give them one name if they are "
        "one class",
    )


def test_a_minus_is_no_hyphen():
    assert note_twins(("-1", "1")) == ()


def test_a_name_that_goes_on_is_named_where_a_split_lacks_a_class(tmp_path):
    for split, name in (("train", "squamous_left_T1"), ("test", "squamous")):
        plant(tmp_path, f"{split}/{name}/1.png", f"{split}/normal/1.png")
    assert fail(tmp_path).hint == (
        "train has 'squamous_left_T1': give both the same name if they are one class"
    )
    assert find_longer("cat", ["cats", "dog"]) is None
    assert find_longer("cat", ["cat-1", "cat-2"]) is None
