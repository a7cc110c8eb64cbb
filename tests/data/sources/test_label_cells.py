"""Cells with several labels: certain ones are read, likely ones pointed out, names left whole."""

import pytest
from trees import fail, labels, plant, write

from torchloupe.data.sources import open_data
from torchloupe.errors import UsageError


def table(folder, *cells):
    plant(folder, *(f"{k}.png" for k in range(len(cells))))
    lines = [f"{k}.png\t{cell}" for k, cell in enumerate(cells)]
    return write(folder, "t.tsv", "image\tlabel", *lines)


@pytest.mark.parametrize(
    "cells",
    [
        ('["rust", "scab"]', '["rust"]', '["scab"]', "[]"),
        ("['rust', 'scab']", "['rust']", "['scab']", "[]"),
        ("['rust' 'scab']", "['rust']", "['scab']", "[]"),
        ("[rust, scab]", "[rust]", "[scab]", "[]"),
        ("{rust,scab}", "{rust}", "{scab}", "{}"),
        ("('rust', 'scab')", "('rust',)", "('scab',)", "()"),
    ],
)
def test_lists_in_cells_are_several_labels(tmp_path, cells):
    data = open_data(table(tmp_path, *cells))
    assert data.samples.class_names == ("rust", "scab")
    assert labels(data) == ["rust+scab", "rust", "scab", ""]
    assert data.notes == (
        "label cells in brackets hold several labels: this is multi-label, 2 labels",
    )


def test_lists_of_one_label_each_are_labels(tmp_path):
    data = open_data(table(tmp_path, "['a']", "['b']", "['a']"))
    assert data.samples.labels.tolist() == [0, 1, 0]
    assert data.notes == ()


@pytest.mark.parametrize(
    ("cells", "typed"),
    [
        (("rust scab", "rust", "scab", "x"), "space"),
        (("rust,scab", "rust", "scab", "x"), ","),
        (("rust, mildew", "rust, scab", "scab, mildew"), ","),
        (("rust;scab", "rust", "scab", "x"), "semicolon"),
        (("rust+scab", "rust", "scab", "x"), "+"),
        (("rust & scab", "rust", "scab", "x"), "'&'"),
        (("rust and scab", "rust", "scab", "x"), "and"),
        (("rust_scab", "rust", "scab", "x"), "_"),
        (("a b", "b c", "c a", "a b c"), "space"),
    ],
)
def test_cells_that_look_like_several_labels_are_named_with_the_setting(tmp_path, cells, typed):
    data = open_data(table(tmp_path, *cells))
    assert labels(data) == list(cells)
    assert data.notes == (
        f"label cells such as '{cells[0]}' look like several labels, and are read as one: --set "
        f"data.label_separator={typed} reads several, data.label_separator=none one",
    )


@pytest.mark.parametrize(
    "cells",
    [
        ("hot_dog", "hot_pot", "tea_pot"),
        ("hot dog", "hot pot", "cold brew", "tea"),
        ("New York", "New Jersey", "York", "Ohio"),
        ("Washington, DC", "Boston", "Austin"),
        ("red car", "blue car", "red bus", "blue bus"),
    ],
)
def test_names_of_several_words_are_left_whole(tmp_path, cells):
    data = open_data(table(tmp_path, *cells))
    assert labels(data) == list(cells)
    assert data.notes == ()


@pytest.mark.parametrize(
    ("separator", "cell"), [("space", "rust scab"), (",", "rust, scab"),
                            ("comma", "rust,scab"), ("semicolon", "rust;scab"), ("/", "rust/scab")]
)  # fmt: skip
def test_label_separator_says_what_stands_between_labels(tmp_path, separator, cell):
    path = table(tmp_path, cell, "rust", "", "dog")
    data = open_data(path, label_separator=separator)
    assert labels(data)[:3] == ["rust+scab", "rust", ""]


def test_label_separator_none_leaves_cells_whole(tmp_path):
    data = open_data(table(tmp_path, "a|b", "a", "b"), label_separator="none")
    assert data.samples.class_names == ("a", "a|b", "b")
    assert data.notes == ()


def test_label_separator_that_is_nowhere_is_noted(tmp_path):
    data = open_data(table(tmp_path, "a;b", "a", "b"), label_separator=",")
    assert data.samples.is_multi_label
    assert data.notes == (
        "no cell of column 'label' holds several labels (data.label_separator=,): this is "
        "multi-label, 3 labels",
    )


def test_label_separator_that_is_empty_is_refused(tmp_path):
    error = fail(table(tmp_path, "a", "b"), label_separator="")
    assert isinstance(error, UsageError)
    assert error.message == "data.label_separator is empty"
    assert error.hint == "for example data.label_separator=,"


def test_whole_numbers_that_were_floats_are_numbers(tmp_path):
    data = open_data(table(tmp_path, "0.0", "10.0", "2.0"))
    assert data.samples.class_names == ("0", "2", "10")
    assert open_data(table(tmp_path, "0.0", "0.5", "2.0")).samples.class_names[0] == "0.0"


def test_boxes_in_cells_are_left_out(tmp_path):
    data = open_data(table(tmp_path, "n01 1 2 3 4", "n02 5 6 7 8 n02 1 2 3 4", "n01 9 9 9 9 "))
    assert labels(data) == ["n01", "n02", "n01"]
    assert data.notes == ("label cells such as 'n01 1 2 3 4' hold boxes, which are not used",)
    several = open_data(table(tmp_path, "cat 1 2 3 4 dog 1.5 2 3 4", "dog 5 6 7 8"))
    assert labels(several) == ["cat+dog", "dog"]
    assert open_data(table(tmp_path, "v 1 2 3", "v 1 2 4")).samples.class_names[0] == "v 1 2 3"


def test_quantities_are_no_classes_and_ratings_are(tmp_path):
    plant(tmp_path, *(f"{k}.png" for k in range(30)))
    rows = [f"{k}.png,{k * 1.37:.2f}" for k in range(30)]
    error = fail(write(tmp_path, "t.csv", "image,target", *rows))
    assert "30 different numbers such as 0.00: a quantity, not a class" in error.message
    rows = [f"{k}.png,{k % 10 / 2}" for k in range(30)]
    assert len(open_data(write(tmp_path, "t.csv", "image,stars", *rows)).samples.class_names) == 10


@pytest.mark.parametrize(
    ("cells", "name"),
    [
        (("cat", "dog", "nan", "nan"), "nan"),
        (("cat", "N/A", "dog", "N/A"), "N/A"),
        (("-1", "0", "1", "-1"), "-1"),
    ],
)
def test_cells_that_may_say_that_there_is_no_label_are_named(tmp_path, cells, name):
    data = open_data(table(tmp_path, *cells))
    assert labels(data) == list(cells)
    assert data.notes == (
        f"'{name}' is a class, in 2 of the cells of column 'label': if it says that a label is "
        "missing, take these rows out",
    )


@pytest.mark.parametrize("cells", [("1", "-1", "1"), ("none", "cat", "unknown"), ("-1", "1", "2")])
def test_cells_that_are_labels_are_not_named(tmp_path, cells):
    assert open_data(table(tmp_path, *cells)).notes == ()


@pytest.mark.parametrize(
    "cells",
    [
        ("[1, 0, 0]", "[0, 0, 1]", "[0, 1, 0]"),
        ("[1. 0. 0.]", "[0. 0. 1.]", "[0. 1. 0.]"),
        ("1 0 0", "0 0 1", "0 1 0"),
        ("1,0,0", "0,0,1", "0,1,0"),
        ("1|0|0", "0|0|1", "0|1|0"),
    ],
)
def test_cells_of_0_and_1_for_each_class_are_class_numbers(tmp_path, cells):
    data = open_data(table(tmp_path, *cells))
    assert data.samples.labels.tolist() == [0, 2, 1]
    assert data.samples.class_names == ("0", "1", "2")
    assert data.notes[0].endswith("hold 0 or 1 for each of 3 classes")
    named = open_data(table(tmp_path, *cells), class_names=("a", "b", "c"))
    assert labels(named) == ["a", "c", "b"]


def test_cells_of_0_and_1_are_several_labels_where_a_row_has_several(tmp_path):
    data = open_data(table(tmp_path, "[1, 0, 1]", "[0, 0, 0]", "[0, 1, 0]"))
    assert labels(data) == ["0+2", "", "1"]
    error = fail(table(tmp_path, "[1, 0, 1]", "[0, 0, 0]", "[0, 1, 0]"), class_names=("a", "b"))
    assert error.message == "data.class_names has 2 names for cells of 3 flags"


@pytest.mark.parametrize("cells", [("[0, 1]", "[2]", "[1]"), ("[0, 1]", "[0]", "[1]")])
def test_lists_of_class_numbers_are_no_flags(tmp_path, cells):
    assert labels(open_data(table(tmp_path, *cells))) == ["0+1", cells[1][1], "1"]


@pytest.mark.parametrize("single", ["cat", "['cat']", '["cat"]'])
def test_lists_beside_single_labels_are_of_the_same_classes(tmp_path, single):
    data = open_data(table(tmp_path, single, '["cat", "dog"]', "dog", "cat"))
    assert labels(data) == ["cat", "cat+dog", "dog", "cat"]
    alone = open_data(table(tmp_path, single, "['dog']", "dog", "cat"))
    assert alone.samples.labels.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize(
    "cells", [("0 1", "1 0"), ("[True, False]", "[False, True]"), ("1|0", "0|1")]
)
def test_pairs_of_0_and_1_are_class_numbers(tmp_path, cells):
    data = open_data(table(tmp_path, *cells, cells[0]))
    assert sorted(data.samples.labels.tolist()) in ([0, 0, 1], [0, 1, 1])
    assert "hold 0 or 1 for each of 2 classes" in data.notes[0]


@pytest.mark.parametrize(
    ("cell", "separator"), [("{},0,{}", ","), ("{} 0 {}", "space"), ("{}|0|{}", "|")]
)
def test_cells_of_0_and_1_stay_so_with_a_separator(tmp_path, cell, separator):
    path = table(tmp_path, cell.format(1, 0), cell.format(0, 1))
    assert open_data(path, label_separator=separator).samples.labels.tolist() == [0, 2]
