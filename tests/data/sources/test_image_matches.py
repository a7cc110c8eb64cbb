"""Tests of choosing one of the files that a cell may mean."""

from pathlib import Path

import numpy as np
import pytest
from trees import fail, ids, plant, write

from torchloupe.data.sources import open_data
from torchloupe.data.sources.image_matches import Match, choose_matches
from torchloupe.errors import DataError


def of(*paths):
    return [Match(path, f"{path.rpartition('/')[0]}/*") for path in paths]


def chosen(matches, given=None, labels=()):
    found = choose_matches(Path("t.csv"), matches, given, labels)
    return [match.path for match in found.values()]


def test_the_only_match_and_the_place_of_all_rows_are_taken():
    assert chosen({0: of("a/1"), 1: of("b/2")}) == ["a/1", "b/2"]
    assert chosen({0: of("a/1", "b/1"), 1: of("b/2")}) == ["b/1", "b/2"]


def test_labels_and_splits_decide_where_several_places_fit():
    both = {0: of("cat/1", "dog/1"), 1: of("cat/2", "dog/2")}
    assert chosen(both, labels=["dog", "cat"]) == ["dog/1", "cat/2"]
    split = {0: of("train/1", "test/1"), 1: of("train/2", "test/2")}
    assert chosen(split, np.array([0, 2], np.int8)) == ["train/1", "test/2"]
    with pytest.raises(DataError, match="fit files in several places"):
        chosen(both, labels=["dog", "bird"])


@pytest.mark.parametrize(
    ("listed", "given", "paths"),
    [
        ([("train/1", "test/1"), ("train/2",), ("train/1", "test/1")], [0, 0, 2],
         ["train/1", "train/2", "test/1"]),
        ([("in/train/x/1", "in/test/x/1"), ("in/train/x/1", "in/test/x/1")], [0, 2],
         ["in/train/x/1", "in/test/x/1"]),
        ([("train/1",), ("train/1",)], [0, 2], ["train/1"]),  # test/1 is not there
        ([("train/1", "test/1"), ("train/1", "test/1")], [1, 2], ["train/1", "test/1"]),
        ([("images/1",), ("images/1",)], [0, 2], ["images/1", "images/1"]),
        ([("train/1", "test/1"), ("train/2",)], [0, 2], ["train/1", "train/2"]),
    ],
)  # fmt: skip
def test_names_that_splits_share_are_files_of_their_own_split(listed, given, paths):
    matches = {row: of(*names) for row, names in enumerate(listed)}
    assert chosen(matches, np.array(given, np.int8)) == paths


@pytest.mark.parametrize("folder", ["test", "val/images", "test_images", "test1"])
def test_a_table_of_train_takes_no_files_of_another_split(folder):
    with pytest.raises(DataError, match="is of train, and its files are found in"):
        choose_matches(Path("train.csv"), {0: of(f"{folder}/1"), 1: of(f"{folder}/2")}, None)
    for table, place in (("labels.csv", folder), ("train.csv", "test tubes"), ("val.csv", "train")):
        assert choose_matches(Path(table), {0: of(f"{place}/1")}, None)


def test_copies_in_two_folders_are_one_file(tmp_path):
    plant(tmp_path, "a/1.png", "b/2.png")
    plant(tmp_path / "copy", "a/1.png", "b/2.png")
    table = write(tmp_path, "t.csv", "image,label", "1.png,x", "2.png,y")
    data = open_data(table)
    assert ids(data) == ["a/1.png", "b/2.png"]
    assert any("2 files" in note and "are there more than once" in note for note in data.notes)
    (tmp_path / "copy/a/1.png").write_bytes(b"another picture")
    assert "fit files in several places" in fail(table).message
