"""Tables with a row for each image and label, and a column that says whether the label holds."""

import pytest
from trees import fail, ids, labels, plant, write

from torchloupe.data.sources import open_data

# As Open Images has them: verified labels, positive and negative.
VERIFIED = (
    "ImageID,Source,LabelName,Confidence",
    "0a,verification,/m/cat,1",
    "0a,verification,/m/dog,0",
    "0b,verification,/m/dog,1",
    "0b,crowdsource,/m/cat,1",
    "0c,verification,/m/cat,0",
    "0d,verification,/m/dog,1",
    "0d,crowdsource,/m/dog,0",
)
NOTE = (
    "column 'Confidence' says whether a label holds: 3 rows of 7 say that it does not; the labels "
    "of an image are joined, 4 images in all"
)


def test_rows_of_0_say_what_an_image_does_not_show(tmp_path):
    plant(tmp_path, *(f"train/0{k}.jpg" for k in "abcd"))
    data = open_data(write(tmp_path, "labels.csv", *VERIFIED))
    assert ids(data) == [f"train/0{k}.jpg" for k in "abcd"]
    assert labels(data) == ["/m/cat", "/m/cat+/m/dog", "", "/m/dog"]
    assert NOTE in data.notes
    assert "1 label of an image with 0 and 1 in 'Confidence' count as 1" in data.notes


def test_images_with_one_label_each_stay_of_one_class(tmp_path):
    plant(tmp_path, "a.png", "b.png", "c.png")
    rows = ("image,label,present,split", "a.png,cat,1,train", "a.png,dog,0,train")
    more = ("b.png,cat,false,train", "b.png,dog,TRUE,train", "c.png,cat,1,test")
    data = open_data(write(tmp_path, "t.csv", *rows, *more), label_separator="none")
    assert labels(data) == ["cat", "dog", "cat"]
    assert not data.samples.is_multi_label
    assert data.given.tolist() == [0, 0, 2]


def test_numbers_of_labels_get_their_names_before_they_are_joined(tmp_path):
    plant(tmp_path, "a.png", "b.png")
    write(tmp_path, "classes.txt", "cat", "dog")
    rows = ("image,label,present", "a.png,0,1", "a.png,1,0", "b.png,0,1", "b.png,1,1")
    assert labels(open_data(write(tmp_path, "t.csv", *rows))) == ["cat", "cat+dog"]


def test_of_one_row_an_image_only_a_confidence_counts(tmp_path):
    plant(tmp_path, "a.png", "b.png", "c.png")
    rows = ("a.png,cat,1", "b.png,dog,1", "c.png,dog,0")
    data = open_data(write(tmp_path, "t.csv", "image,label,Confidence", *rows))
    assert labels(data) == ["cat", "dog", ""]
    data = open_data(write(tmp_path, "t.csv", "image,label,positive", *rows))
    assert labels(data) == ["cat", "dog", "dog"]
    assert data.notes == (
        "column 'positive' is 0 in 1 row of 3, which are used with their labels like the others: "
        "if 0 says that the label is wrong, take these rows out",
    )


@pytest.mark.parametrize(
    "rows",
    [
        ("image,label,confidence", "a.png,cat,0.9", "b.png,dog,0.2"),
        ("image,label,confidence", "a.png,cat,1", "b.png,dog,1"),
        ("image,label,other", "a.png,cat,1", "b.png,dog,0"),
    ],
)
def test_other_columns_say_nothing(tmp_path, rows):
    plant(tmp_path, "a.png", "b.png")
    data = open_data(write(tmp_path, "t.csv", *rows))
    assert labels(data) == ["cat", "dog"]
    assert data.notes == ()


def test_a_column_so_called_may_be_the_label(tmp_path):
    plant(tmp_path, "a.png", "b.png")
    data = open_data(write(tmp_path, "t.csv", "image,present", "a.png,1", "b.png,0"))
    assert labels(data) == ["1", "0"]
    write(tmp_path, "t.csv", "image,label,present", "a.png,cat,1", "b.png,,0")
    assert "1 empty cell in column 'label'" in fail(tmp_path / "t.csv").message
