"""Lists of text whose labels are several words."""

import pytest
from trees import fail, labels, plant, write

from torchloupe.data.sources import open_data
from torchloupe.data.sources.text_lists import read_list

DOGS = ["German shepherd", "German pointer", "Border collie"] * 4


@pytest.mark.parametrize("row", ["images/{i}.jpg {dog}", "images/{i} {dog}", "{i}.jpg {dog}",
                                 "{dog} images/{i}.jpg", "{i} {dog}"])  # fmt: skip
@pytest.mark.parametrize("first", ["German shepherd", "pug"])
def test_the_rest_of_the_line_is_the_label(tmp_path, row, first):
    dogs = [first, *DOGS[1:]]
    plant(tmp_path, *(f"images/{i + 1}.jpg" for i in range(12)))
    lines = [row.format(i=i + 1, dog=dog) for i, dog in enumerate(dogs)]
    assert labels(open_data(write(tmp_path, "list.txt", *lines))) == dogs


@pytest.mark.parametrize(
    ("lines", "columns"),
    [
        (["a.png red big train", "b.png blue tiny test"],
         {"label": ["red big", "blue tiny"], "split": ["train", "test"]}),
        (["a.png train pug", "b.png test red fox"],
         {"label": ["pug", "red fox"], "split": ["train", "test"]}),
        (["a.png 3 red fox", "b.png 4 pug"],
         {"label": ["red fox", "pug"], "column 2": ["3", "4"]}),
        (["a.png red fox 3", "b.png sea lion 4"],
         {"label": ["red fox", "sea lion"], "column 4": ["3", "4"]}),
        (["a.png red fox 3 0.5", "b.png pug 4 0.7"],
         {"label": ["red fox", "pug"], "column 4": ["3", "4"]}),
        (["7 a.png red fox", "8 b.png pug"], {"column 1": ["7", "8"], "label": ["red fox", "pug"]}),
        (["image kind", "a.png red fox", "b.png pug"], {"kind": ["red fox", "pug"]}),
        (["image class part", "a.png red fox x", "b.png pug y"],
         {"class": ["red fox", "pug"], "part": ["x", "y"]}),
        (["2", "image_name  category", "a.png    3", "b.png    4"], {"category": ["3", "4"]}),
        (["7 a.png ill rsna", "8 b.png well ricord"], {"label": ["ill", "well"]}),
        (["a.png cat m1.png", "b.png dog m2.png"], {"label": ["cat", "dog"]}),
        (["a.png\tred\tbig", "b.png\tred\ttiny"], {"label": ["red", "red"]}),
    ],
)  # fmt: skip
def test_other_columns_stay_apart_from_the_words(tmp_path, lines, columns):
    read, _ = read_list(write(tmp_path, "list.txt", *lines))
    assert {**read, **columns} == read
    assert ["a.png", "b.png"] in read.values()


def test_words_joined_in_each_row_are_noted(tmp_path):
    _, notes = read_list(write(tmp_path, "list.txt", "a.png red big", "b.png blue tiny"))
    assert notes[0].startswith("the words beside each path are one label, such as 'blue tiny'")
    error = fail(write(tmp_path, "odd.txt", "a.png 1 2", "b.png 3"))
    assert "line 2 has another number of cells" in error.message
