"""Class names for numbers, from a file beside the table."""

import json

import pytest
from trees import ids, labels, plant, write

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
        (
            "label_map.pbtxt",
            ["item {", "  id: 1", "  name: 'dog'", "}", 'item { name: "cat" id: 0 }'],
            0,
        ),
        ("classes.yaml", ["path: x", "names:", "  0: cat", "  1: 'dog'", "nc: 2"], 0),
        ("class_names.yml", ["names: ['cat', dog]  # two"], 0),
        ("labels.yaml", ["nc: 2", "names:", "- cat", "- dog"], 1),
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


@pytest.mark.parametrize("name", ["classes.txt", "names.json"])
def test_a_list_of_uncertain_count_is_named(tmp_path, name):
    path = numbered(tmp_path, 1)
    write(tmp_path, name, '["cow", "cat", "dog"]') if "json" in name else write(
        tmp_path, name, "cow", "cat", "dog"
    )
    data = open_data(path)
    assert labels(data) == ["1", "2"]
    assert data.notes == (
        f"'{name}' names 3 classes, and the numbers in column 'label' are 1 to 2: whether 1 is "
        "'cat' (counted from 0) or 'cow' (from 1) is not certain, and the numbers stay; write its "
        "number before each name there, such as `1 cat`",
    )


def test_a_list_whose_last_name_is_used_counts_from_1(tmp_path):
    plant(tmp_path, "1.png", "2.png")
    path = write(tmp_path, "train.txt", "1.png 1", "2.png 3")
    write(tmp_path, "classes.txt", "cow", "cat", "dog")
    assert labels(open_data(path)) == ["cow", "dog"]


FLOWERS = json.dumps({"1": "rose", "2": "iris", "10": "lily"})


def plant_flowers(folder):
    return plant(folder, *(f"{s}/{k}/a{s}.png" for s in ("train", "valid") for k in (1, 2, 10)))


@pytest.mark.parametrize("place", ["flowers/cat_to_name.json", "cat_to_name.json"])
def test_numbered_class_folders_get_names(tmp_path, place):
    folder = plant_flowers(tmp_path / "flowers")
    write(tmp_path, place, FLOWERS)
    data = open_data(folder)
    assert data.samples.class_names == ("iris", "lily", "rose")
    by_id = dict(zip(ids(data), labels(data), strict=True))
    assert by_id["train/10/atrain.png"] == "lily"
    assert data.notes == (
        "the names of the numbered class folders are those in 'cat_to_name.json'",
    )


def test_numbered_class_folders_of_a_part_get_names_from_the_whole(tmp_path):
    folder = plant_flowers(tmp_path / "flowers")
    write(folder, "cat_to_name.json", json.dumps({**json.loads(FLOWERS), "11": "oak"}))
    assert open_data(folder / "valid").samples.class_names == ("iris", "lily", "rose")


def test_other_lists_above_numbered_class_folders_name_nothing(tmp_path):
    folder = plant_flowers(tmp_path / "flowers")
    write(tmp_path, "imagenet_index.json", json.dumps({str(k): f"n{k}" for k in range(99)}))
    write(tmp_path, "classes.txt", "rose", "iris", "lily")
    data = open_data(folder)
    assert data.samples.class_names == ("1", "2", "10")
    assert data.notes == ()


def test_class_names_that_are_typed_come_first(tmp_path):
    folder = plant_flowers(tmp_path / "flowers")
    write(folder, "cat_to_name.json", FLOWERS)
    assert open_data(folder, class_names=("1", "2", "10")).samples.class_names == ("1", "2", "10")


def test_a_list_beside_class_folders_is_not_called_unused(tmp_path):
    plant(tmp_path, *(f"{k}/{k}.png" for k in range(3)))
    write(tmp_path, "signnames.csv", "ClassId,SignName", "0,stop", "1,go", "2,wait")
    data = open_data(tmp_path)
    assert data.samples.class_names == ("go", "stop", "wait")
    assert not any("not used" in note for note in data.notes)


def test_lists_that_differ_name_nothing(tmp_path):
    path = numbered(tmp_path)
    write(tmp_path, "classes.txt", "cat", "dog")
    write(tmp_path, "labels.txt", "dog", "cat")
    data = open_data(path)
    assert labels(data) == ["0", "1"]
    assert "none is used" in data.notes[0]
    assert open_data(path, class_names=("x", "y")).samples.class_names == ("x", "y")


def beside(folder, *rows):
    plant(folder, *(f"{k}.png" for k in range(len(rows))))
    lines = [f"{k}.png,{number},{name}" for k, (number, name) in enumerate(rows)]
    return write(folder, "t.csv", "image,label,class_name", *lines)


GOOD = [(0, "cat"), (1, "dog"), (0, "cat"), (1, "dog")]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ((1, "Dog"), "1 is 'dog' in 2 rows and 'Dog' in 1 row"),
        ((1, "cat"), "1 is 'dog' in 2 rows and 'cat' in 1 row"),
        ((1, ""), "1 is 'dog' in 2 rows and '' in 1 row"),
        ((2, "dog"), "dog is '1' in 2 rows and '2' in 1 row"),
        ((2, ""), "2 has none"),
    ],
)
def test_names_beside_numbers_that_differ_are_noted(tmp_path, row, why):
    data = open_data(beside(tmp_path, *GOOD, row))
    assert labels(data)[:4] == ["0", "1", "0", "1"]
    assert data.notes == (f"the names in column 'class_name' are not used: {why}",)


def test_names_of_something_else_are_not_noted(tmp_path):
    data = open_data(beside(tmp_path, *((k % 2, f"picture {k}") for k in range(6))))
    assert data.notes == ()
    data = open_data(beside(tmp_path, *GOOD))
    assert labels(data) == ["cat", "dog", "cat", "dog"]
