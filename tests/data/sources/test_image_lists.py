"""Cells that list several images."""

import pytest
from trees import ids, labels, plant, write

from torchloupe.data.sources import open_data

FILES = [f"{a}{k}" for a in "abc" for k in range(3)]


@pytest.mark.parametrize(
    ("sign", "around"),
    [(" ", "{}"), (";", '"{}"'), (", ", '"[{}]"'), ("|", "{}")],
)
def test_each_image_of_a_cell_has_the_label_of_its_row(tmp_path, sign, around):
    plant(tmp_path, *(f"train/{name}.png" for name in FILES))
    quote = "'{}'" if around == '"[{}]"' else "{}"
    cells = [around.format(sign.join(quote.format(f"{a}{k}") for k in range(3))) for a in "abc"]
    rows = [f"{10 + k},{cell}" for k, cell in enumerate(cells)]
    path = write(tmp_path, "train.csv", "landmark_id,images", *rows)
    data = open_data(path)
    assert ids(data) == [f"train/{name}.png" for name in FILES]
    assert labels(data) == [str(10 + k // 3) for k in range(9)]
    assert data.samples.groups is None  # a row holds a class: it can't stay in one split
    assert data.notes[0] == (
        f"cells of {path} list several images: each has the label of its row, 9 images in all"
    )


def test_images_of_a_row_stay_in_one_split_where_classes_have_several_rows(tmp_path):
    plant(tmp_path, *(f"{name}.png" for name in FILES))
    rows = [f"{a}0.png {a}1.png {a}2.png,{label}" for a, label in zip("abc", "xyx", strict=True)]
    data = open_data(write(tmp_path, "t.csv", "image,label", *rows))
    assert data.samples.groups.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_names_with_spaces_are_names(tmp_path):
    plant(tmp_path, "a b.png", "a c.png", "a.png")
    data = open_data(write(tmp_path, "t.csv", "image,label", "a b.png,x", "a c.png,y", "a.png,x"))
    assert ids(data) == ["a b.png", "a c.png", "a.png"]
