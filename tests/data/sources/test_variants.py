"""Folders that hold one set in several ways are no classes."""

import pytest
from trees import fail, labels, plant, write

from torchloupe.data.sources import open_data


@pytest.mark.parametrize(
    "names",
    [("color", "grayscale", "segmented"), ("dataset", "augmented_dataset"), ("32x32", "64x64")],
)
def test_the_same_classes_made_in_several_ways_are_refused(tmp_path, names):
    plant(
        tmp_path, *(f"{name}/{c}/{k}.png" for name in names for c in ("cat", "dog") for k in "12")
    )
    error = fail(tmp_path)
    assert "with the same class folders in each: 'cat', 'dog'" in error.message
    assert error.hint.startswith("give one of these folders")
    data = open_data(tmp_path, label_pattern="([^/]+)/[^/]+$")
    assert set(labels(data)) == {"cat", "dog"}


@pytest.mark.parametrize(
    "names",
    [
        ("amazon", "dslr", "webcam"),
        ("EuroSAT", "EuroSATallBands"),
        ("2019", "2020"),
        ("source", "target"),
        ("AugmentedAlzheimerDataset", "OriginalDataset"),
        ("fruits-360_100x100", "fruits-360_original-size"),
    ],
)
@pytest.mark.parametrize("below", ["", "images/"])
def test_folders_with_the_same_folders_in_them_are_refused(tmp_path, names, below):
    plant(tmp_path, *(f"{name}/{below}{c}/1.png" for name in names for c in ("cat", "dog", "fox")))
    plant(tmp_path, f"{names[0]}/{below}bird/1.png")
    error = fail(tmp_path)
    assert " with the same folders in each: 'cat', 'dog', 'fox'; which are" in error.message
    last, first = (text for text in error.hint.split("'") if "(" in text)
    assert set(labels(open_data(tmp_path, label_pattern=last))) == {"bird", "cat", "dog", "fox"}
    assert set(labels(open_data(tmp_path, label_pattern=first))) == set(names)


def test_the_same_folders_in_all_folders_of_a_split_are_refused(tmp_path):
    inside = [
        f"{s}/{d}/{c}/1.png" for s in ("train", "val") for d in ("art", "photo") for c in "ab"
    ]
    error = fail(plant(tmp_path, *inside))
    assert error.message.startswith(f"{tmp_path}/train has 'art', 'photo' with the same folders")
    last, first = (text for text in error.hint.split("'") if "(" in text)
    for pattern, names in ((last, ("a", "b")), (first, ("art", "photo"))):
        data = open_data(tmp_path, label_pattern=pattern)
        assert (data.samples.class_names, set(data.given.tolist())) == (names, {0, 1})


@pytest.mark.parametrize("inner", [("sample_a", "sample_b"), ("40X", "100X"), ("cam1", "cam2")])
def test_folders_of_parts_inside_classes_are_no_classes(tmp_path, inner):
    plant(tmp_path, *(f"{name}/{part}/1.png" for name in ("cork", "wool") for part in inner))
    data = open_data(tmp_path)
    assert data.samples.class_names == ("cork", "wool")
    assert "inside them are not classes" in data.notes[0]


def test_folders_of_first_letters_are_refused(tmp_path):
    plant(tmp_path, "a/abbey/1.png", "a/airport/1.png", "b/bar/1.png", "c/cafe/1.png")
    error = fail(tmp_path)
    assert "sorts its class folders by their first letter: 'a/abbey'" in error.message
    assert "data.label_pattern" in error.hint


@pytest.mark.parametrize(
    "names",
    [
        ("cat/left/1.png", "cat/right/1.png", "dog/left/1.png", "dog/right/1.png"),
        ("0/left/1.png", "0/right/1.png", "1/left/1.png", "1/right/1.png"),
        ("a/1.png", "b/1.png", "c/1.png"),
        ("a/apple/1.png", "b/pear/1.png"),
    ],
)
def test_classes_with_folders_in_them_stay_classes(tmp_path, names):
    plant(tmp_path, *names)
    assert set(labels(open_data(tmp_path))) == {name.partition("/")[0] for name in names}


@pytest.mark.parametrize("names", [("0", "a", "f"), ("3f", "a0")])
def test_folders_of_hashes_are_no_classes(tmp_path, names):
    plant(tmp_path, *(f"{a}/{b}/{a}{b}{k}.png" for a in names for b in names for k in "12"))
    error = fail(tmp_path)
    assert "sorts its files by the beginnings of their names" in error.message
    path = write(tmp_path, "train.csv", "id,label", "a,b")
    assert fail(tmp_path).hint == f"did you mean '{path}'?"


def test_numbers_in_numbers_stay_classes(tmp_path):
    plant(tmp_path, *(f"{a}/{b}/1.png" for a in "012" for b in "01"))
    assert open_data(tmp_path).samples.class_names == ("0", "1", "2")
