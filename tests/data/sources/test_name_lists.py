"""Class names for numbers, from a file beside the table."""

import json

import pytest
from trees import labels, plant, write

from torchloupe.data.sources import open_data


def numbered(folder, first=0):
    plant(folder, "1.png", "2.png")
    return write(folder, "train.txt", f"1.png {first}", f"2.png {first + 1}")


@pytest.mark.parametrize(
    ("name", "lines", "first"),
    [
        ("classes.txt", ["cat", "dog", "cow"], 0),
        ("names.txt", ["cat", "dog"], 1),
        ("labels.txt", ["1 dog", "0 cat"], 0),
        ("labels.txt", ["4: cat", "5: dog"], 4),
        ("categories_x.txt", ["dog 1", "cat 0"], 0),
        ("signnames.csv", ["ClassId,SignName", "1,dog", "0,cat"], 0),
        ("class_to_idx.json", [json.dumps({"cat": 0, "dog": 1})], 0),
        ("index_to_name.json", [json.dumps({"0": "cat", "1": "dog"})], 0),
        ("class_index.json", [json.dumps({"0": ["n1", "cat"], "1": ["n2", "dog"]})], 0),
        ("label_map.json", [json.dumps([{"id": 1, "name": "dog"}, {"id": 0, "name": "cat"}])], 0),
    ],
)
def test_names_are_those_of_the_list(tmp_path, name, lines, first):
    path = numbered(tmp_path, first)
    write(tmp_path, name, *lines)
    data = open_data(path)
    assert labels(data) == ["cat", "dog"]
    assert data.notes == (f"the names of the numbers in column 'label' are those in '{name}'",)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("classes.txt", ["cow", "cat", "dog"]),  # counted from 0 or from 1
        ("classes.txt", ["cat", "cat", "dog"]),
        ("classes.csv", ["id,file", "1,a.png", "2,b.png"]),
        ("classes.txt", ["3", "4"]),
        ("classes.json", ["{"]),
        ("other.txt", ["cat", "dog"]),
    ],
)
def test_other_files_name_nothing(tmp_path, name, lines):
    path = numbered(tmp_path, 1)
    write(tmp_path, name, *lines)
    assert labels(open_data(path)) == ["1", "2"]


def test_lists_that_differ_name_nothing(tmp_path):
    path = numbered(tmp_path)
    write(tmp_path, "classes.txt", "cat", "dog")
    write(tmp_path, "labels.txt", "dog", "cat")
    data = open_data(path)
    assert labels(data) == ["0", "1"]
    assert "none is used" in data.notes[0]
    assert open_data(path, class_names=("x", "y")).samples.class_names == ("x", "y")
