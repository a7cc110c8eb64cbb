"""Tables and lists without a header: which column is the label, and which the split."""

import pytest
from trees import labels, plant, write

from torchloupe.data.sources import open_data
from torchloupe.data.sources.headerless import find_images, name_columns

ROWS = [(k, "cat" if k % 2 else "dog", "test" if k == 5 else "train") for k in range(6)]


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ("{split},{image},{label}", ["split", "image", "label"]),
        ("{image},{label},{split}", ["image", "label", "split"]),
        ("{number},{image},{label}", ["column 1", "image", "label"]),
        ("{image},20,24,{label}", ["image", "column 2", "column 3", "label"]),
        ("{image},20,24,0", ["image", "column 2", "column 3", "column 4"]),
        ("{image},{split}", ["image", "label"]),  # there is nothing else
    ],
)
def test_columns_get_names_where_these_are_certain(row, names):
    rows = [row.format(image=f"{k}.png", number=k, label=c, split=s).split(",") for k, c, s in ROWS]
    assert name_columns(names.index("image"), rows) == names


@pytest.mark.parametrize("name", ["import.csv", "import.txt"])
def test_splits_before_the_images_are_no_classes(tmp_path, name):
    plant(tmp_path, *(f"{k}.png" for k, *_ in ROWS))
    lines = [f"{split.upper()},{k}.png,{label}" for k, label, split in ROWS]
    data = open_data(write(tmp_path, name, *lines))
    assert labels(data) == [label for _, label, _ in ROWS]
    assert data.given.tolist() == [0, 0, 0, 0, 0, 2]


@pytest.mark.parametrize("ids", ["IMG_0000 IMG_0001 IMG_0002", "a1b2 a3b40 a5b6", "x1 x2 x3"])
@pytest.mark.parametrize(("name", "sign"), [("t.csv", ","), ("t.tsv", "\t"), ("t.txt", " ")])
def test_ids_in_the_first_line_are_no_header(tmp_path, ids, name, sign):
    ids = ids.split()
    plant(tmp_path, *(f"images/{name}.png" for name in ids))
    lines = [f"{name}{sign}{label}" for name, label in zip(ids, ("cat", "dog", "cat"), strict=True)]
    data = open_data(write(tmp_path, name, *lines))
    assert labels(data) == ["cat", "dog", "cat"]


@pytest.mark.parametrize(
    ("first", "rows", "place"),
    [
        (["id1", "class"], [["7", "a"], ["8", "b"]], -1),
        (["class1", "class2"], [["0", "1"], ["1", "0"]], -1),
        (["x1", "y"], [["x1", "a"], ["x1", "b"]], -1),  # no ids: they repeat
        (["x1", "y"], [["x2", "a"]], -1),  # one row says little
        (["y", "x1"], [["a", "x2"], ["b", "x3"]], 1),
    ],
)
def test_find_images_tells_headers_from_ids(first, rows, place):
    assert find_images(first, rows) == place


@pytest.mark.parametrize(
    "ids", ["1 2 3", "00ab34 12cd00 ffee11", "000bec180eb1 001513dfcb2f 00214f31"]
)
@pytest.mark.parametrize("folder", ["", "images/"])
def test_numbers_and_hashes_in_the_first_line_are_no_header(tmp_path, ids, folder):
    plant(tmp_path, *(f"{folder}{name}.png" for name in ids.split()))
    rows = [f"{name},{label}" for name, label in zip(ids.split(), "aba", strict=True)]
    assert labels(open_data(write(tmp_path, "t.csv", *rows))) == ["a", "b", "a"]


def test_known_names_of_columns_are_a_header():
    assert find_images(["image", "patient1", "label"], [["a.png", "patient10", "x"]] * 1) == -1
    rows = [["a", "patient10", "x"], ["b", "patient11", "y"]]
    assert find_images(["image", "patient1", "label"], rows) == -1
