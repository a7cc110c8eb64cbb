"""Splits in several folders, and folders of splits that a pattern leaves unused."""

import pytest
from trees import fail, ids, plant, write

from torchloupe.data.sources import open_data
from torchloupe.data.sources.split_parts import note_names, read_parts
from torchloupe.data.split import TEST, TRAIN, VAL


@pytest.mark.parametrize(
    "names",
    [
        ("train.X1", "train.X2", "val.X"),
        ("train_1", "train_2", "test"),
        ("train-part1", "train-part2", "val"),
        ("train1", "train2", "val", "test"),
    ],
)
@pytest.mark.parametrize("is_apart", [False, True])
def test_a_split_may_be_in_several_folders(tmp_path, names, is_apart):
    for number, name in enumerate(names):
        kinds = "ab" if is_apart and number == 0 else "cd" if is_apart and number == 1 else "abcd"
        plant(tmp_path, *(f"{name}/{kind}/{number}.png" for kind in kinds))
    data = open_data(tmp_path)
    assert data.samples.class_names == ("a", "b", "c", "d")
    parts = {
        image.partition("/")[0]: part for image, part in zip(ids(data), data.given, strict=True)
    }
    said = {"tr": TRAIN, "va": VAL, "te": TEST}
    assert parts == {name: said[name[:2]] for name in names}
    assert data.notes == (note_names({name: said[name[:2]] for name in sorted(names)}),)


@pytest.mark.parametrize(
    "names",
    [
        ("train_1", "val_1", "train_2", "val_2"),  # folds
        ("train_fold1", "train_fold2", "val"),
        ("train", "Train", "val"),
        ("train", "train (1)", "val"),
        ("train_1", "train_2"),
        ("train_cat", "train_dog", "val_cat"),
        ("train_1", "train_2", "val", "cat"),
    ],
)
def test_other_names_are_no_parts_of_a_split(names):
    assert read_parts(names, lambda _: ["a", "b"]) == {}


def test_parts_of_train_alone_are_joined_where_their_classes_differ(tmp_path):
    plant(tmp_path, "train_1/a/1.png", "train_1/b/1.png", "train_2/c/1.png")
    data = open_data(tmp_path)
    assert (data.samples.class_names, data.given) == (("a", "b", "c"), None)


def test_a_pattern_that_leaves_a_split_unused_says_so(tmp_path):
    plant(
        tmp_path,
        *(f"{top}/{name}/{k}.png" for top in ("web", "val") for name in "ab" for k in "12"),
    )
    data = open_data(tmp_path, label_pattern="([^/]+)/[^/]+$")
    assert data.given is None
    assert any(note.startswith("'val' says a split, which is not used") for note in data.notes)
    plant(tmp_path / "deep", "data/train/a/1.png", "data/val/a/1.png", "other/b/1.png")
    data = open_data(tmp_path / "deep", label_pattern="([^/]+)/[^/]+$")
    assert any(note.startswith("'data/val' says a split, which") for note in data.notes)
    assert not any("says a split" in n for n in open_data(tmp_path, label_pattern="^(.+?)/").notes)


def test_loose_images_in_a_folder_called_like_its_split_are_no_class(tmp_path):
    names = [f"{kind}.{k}.jpg" for kind in ("cat", "dog") for k in range(4)]
    plant(tmp_path, *(f"train/train/{name}" for name in names), "test/test/1.jpg")
    data = open_data(tmp_path)
    assert data.samples.class_names == ("cat", "dog")
    assert ids(data) == [f"train/train/{name}" for name in names]


def test_tables_name_the_images_in_a_folder_called_like_its_split(tmp_path):
    plant(tmp_path, "train_images/train_images/1.png", "val_images/val_images/2.png")
    path = write(tmp_path, "train_1.csv", "id,label", "1,a")
    error = fail(tmp_path)
    assert (
        error.message
        == f"{tmp_path} holds 1 image in 'train_images/train_images/' but no class folders"
    )
    assert error.hint == f"did you mean '{path}'?"
