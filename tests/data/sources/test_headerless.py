"""Tables and lists without a header: which column is the label, and which the split."""

import pytest
from trees import labels, plant, write

from torchloupe.data.sources import open_data
from torchloupe.data.sources.headerless import name_columns

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
