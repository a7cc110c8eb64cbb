"""Names of class numbers: in the table, in a list beside it, and alike in all splits."""

import pytest
from trees import fail, labels, plant, write

from torchloupe.data.sources import open_data


def table(folder, name, cells, header="image,label"):
    stem = name.partition(".")[0]
    images = [f"images/{stem}{k}.png" for k in range(len(cells))]
    plant(folder, *images)
    return write(folder, name, header, *(f"{i},{c}" for i, c in zip(images, cells, strict=True)))


@pytest.mark.parametrize(
    ("listed", "note"),
    [
        ("dog cat", "'classes.txt' beside the table is not used: 0 is 'dog' there, and 'cat' in"),
        ("cat dog", ""),
        ("cat dog bird", ""),
    ],
)
def test_the_names_of_the_table_go_before_those_of_a_list(tmp_path, listed, note):
    write(tmp_path, "classes.txt", *listed.split())
    path = table(tmp_path, "t.csv", ["0,cat", "1,dog"] * 3, "image,label,label_name")
    data = open_data(path)
    assert labels(data) == ["cat", "dog"] * 3
    assert data.notes[0] == "the classes of column 'label' are named by column 'label_name'"
    assert [n for n in data.notes if "is not used" in n] == [n for n in data.notes if note in n][
        : bool(note)
    ]


def test_a_list_names_what_the_table_does_not(tmp_path):
    write(tmp_path, "classes.txt", "cat", "dog")
    cells = ["0,cat", "1,dog", "1,Dog"] * 3
    data = open_data(table(tmp_path, "t.csv", cells, "image,label,label_name"))
    assert labels(data) == ["cat", "dog", "dog"] * 3
    assert "the names in column 'label_name' are not used: 1 is 'dog'" in data.notes[0]


@pytest.mark.parametrize("val", [["1", "2"], ["2"], ["0", "1", "2"]])
@pytest.mark.parametrize("by", ["list", "column"])
def test_all_splits_have_the_names_of_one(tmp_path, val, by):
    if by == "list":
        write(tmp_path, "classes.txt", "x", "y", "z")
        table(tmp_path, "train.csv", list("012") * 3)
    else:
        table(tmp_path, "train.csv", ["0,x", "1,y", "2,z"] * 3, "image,label,label_name")
    table(tmp_path, "val.csv", val)
    data = open_data(tmp_path)
    assert data.samples.class_names == ("x", "y", "z")
    assert labels(data)[9:] == ["xyz"[int(number)] for number in val]
    assert not any("not certain" in note for note in data.notes)


def test_names_that_contradict_each_other_are_refused(tmp_path):
    write(tmp_path, "classes.txt", "a", "b", "c", "d")
    table(tmp_path, "train.csv", list("0123") * 2)
    table(tmp_path, "val.csv", list("1234"))
    assert fail(tmp_path).message == "class 1 is 'b' in one split and 'a' in another"
    table(tmp_path, "train.csv", ["0,x", "1,y"] * 3, "image,label,label_name")
    table(tmp_path, "val.csv", ["0,y", "1,x"], "image,label,label_name")  # codes of each table
    assert labels(open_data(tmp_path)) == ["x", "y"] * 3 + ["y", "x"]


@pytest.mark.parametrize(
    ("header", "row"),
    [("path", "{f}"), ("path,split", "{f},{s}"), ("split,file", "{s},{f}")],
)
def test_class_folders_in_paths_are_labels_where_there_is_no_other(tmp_path, header, row):
    files = [f"{kind}/{k}.png" for kind in ("cat", "dog") for k in range(4)]
    plant(tmp_path, *files)
    rows = [row.format(f=f, k=k, s=("train", "test")[k % 4 // 3]) for k, f in enumerate(files)]
    path = write(tmp_path, "t.csv", header, *rows)
    data = open_data(path)
    assert labels(data) == ["cat"] * 4 + ["dog"] * 4
    assert data.notes[0].startswith("the labels are the folders in the paths of column")
    assert (data.given is None) == ("split" not in header)


@pytest.mark.parametrize(
    "places",
    [["train", "test"], ["images"], [f"p{k}" for k in range(8)], ["p1/a", "p1/b", "p2/a", "p2/b"]],
)
def test_other_folders_are_no_labels(tmp_path, places):
    files = [f"{place}/{k}.png" for k, place in enumerate(places * (8 // len(places)))]
    plant(tmp_path, *files)
    assert "has no column of labels" in fail(write(tmp_path, "t.csv", "path", *files)).message
