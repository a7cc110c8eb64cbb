"""Lists of images in text files: paths and labels, paths alone, numbered lists."""

import pytest
from trees import fail, ids, labels, plant, write

from torchloupe.data.sources import open_data
from torchloupe.data.sources.text_lists import is_listing, read_list
from torchloupe.errors import DataError

NAMES = [f"{kind}/{number}.png" for kind in ("cat", "dog") for number in range(3)]


@pytest.mark.parametrize(
    ("lines", "columns"),
    [
        (["a/0.png 0", "b/0.png 1"], {"image": ["a/0.png", "b/0.png"], "label": ["0", "1"]}),
        (["a b.png\t0", "c.png\t1"], {"image": ["a b.png", "c.png"], "label": ["0", "1"]}),
        (["a b.png 0", "c.png 1"], {"image": ["a b.png", "c.png"], "label": ["0", "1"]}),
        (['"a b.png" x', "c.png y"], {"image": ["a b.png", "c.png"], "label": ["x", "y"]}),
        (["a.png,x", "b.png,y"], {"image": ["a.png", "b.png"], "label": ["x", "y"]}),
        (["0 a.png", "1 b.png", "1 c.png"],
         {"label": ["0", "1", "1"], "image": ["a.png", "b.png", "c.png"]}),
        (["image label", "a.png x", "b.png y"], {"image": ["a.png", "b.png"], "label": ["x", "y"]}),
        (["# remark", "", "x_1 1 2", "y_1 2 2"],
         {"image": ["x_1", "y_1"], "label": ["1", "2"], "column 3": ["2", "2"]}),
        (["cat/0", "dog/0"], {"image": ["cat/0", "dog/0"], "label": ["cat", "dog"]}),
        (["2", "soft red", "a.png -1 1", "b.png 1 -1"],
         {"image": ["a.png", "b.png"], "soft": ["-1", "1"], "red": ["1", "-1"]}),
        (["a.png", "b.png"], {"image": ["a.png", "b.png"]}),
        (['"file" "kind"', '"1" "a.png" "x"', '"2" "b.png" "y"'],  # as R writes a frame
         {"file": ["a.png", "b.png"], "kind": ["x", "y"]}),
        (["a.png 1 0 1", "b.png 0 0 1"],
         {"image": ["a.png", "b.png"], "label": ["[1, 0, 1]", "[0, 0, 1]"]}),
        (["a.png 1 0", "b.png 0 1"], {"image": ["a.png", "b.png"], "label": ["[1, 0]", "[0, 1]"]}),
        (["a.png 1 0", "b.png 1 1"],
         {"image": ["a.png", "b.png"], "label": ["1", "1"], "column 3": ["0", "1"]}),
    ],
)  # fmt: skip
def test_lists_are_columns(tmp_path, lines, columns):
    assert read_list(write(tmp_path, "list.txt", *lines))[0] == columns


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["cat/0.png 0", "dog/0.png"], "line 2 has another number of cells than the first"),
        (["one", "two"], "no column holds paths or names of files"),
        (["1 2", "2 2"], "no column holds paths or names of files"),
        ([], "line 1 has another number of cells than the first"),
    ],
)
def test_other_texts_are_no_lists(tmp_path, lines, message):
    path = write(tmp_path, "list.txt", *lines)
    error = fail(path)
    assert isinstance(error, DataError)
    assert error.message == f"{path} is no list of images: {message}"
    assert error.hint == "write `path label` into each line, or image,label into a .csv"


def test_lists_are_opened_like_tables(tmp_path):
    plant(tmp_path, *NAMES)
    data = open_data(write(tmp_path, "list.txt", *(f"{n} {n[:3]}" for n in NAMES)))
    assert data.samples.class_names == ("cat", "dog")
    assert data.samples.ids.tolist() == NAMES


def test_lists_for_each_split_divide_a_folder(tmp_path):
    plant(tmp_path, *(f"im/{name}" for name in NAMES))
    for split, rows in (("train", NAMES[::2] + NAMES[1:2]), ("val", NAMES[3:4])):
        write(tmp_path, f"{split}.txt", *(f"im/{n} {n[:3]}" for n in rows))
    write(tmp_path, "README.txt", "Two kinds of animals, and their pictures.", "Enjoy them.")
    data = open_data(tmp_path)
    assert data.given.tolist() == [0, 0, 0, 0, 1]


def test_lists_find_images_in_the_folder_of_images_beside(tmp_path):
    plant(tmp_path, *(f"images/{name}" for name in NAMES))
    names = [name.removesuffix(".png") for name in NAMES]
    write(tmp_path, "meta/train.txt", *names[:2], *names[3:5])
    write(tmp_path, "meta/test.txt", names[2], names[5])
    write(tmp_path, "meta/train.json", '{"cat": ["cat/0", "cat/1"]}')
    data = open_data(tmp_path / "meta")
    assert data.samples.class_names == ("cat", "dog")
    assert data.given.tolist() == [0, 0, 0, 0, 2, 2]
    assert data.samples.ids[0] == "../images/cat/0.png"
    assert data.reader.read(5)
    assert data.notes[0].endswith("meta/train.txt were found as '../images/*.png'")


def test_numbered_lists_are_joined(tmp_path):
    plant(tmp_path, *(f"images/{name}" for name in NAMES))
    write(tmp_path, "images.txt", *(f"{k} {name}" for k, name in enumerate(NAMES, 1)))
    write(tmp_path, "image_class_labels.txt", *(f"{k} {1 + (k > 3)}" for k in range(1, 7)))
    write(tmp_path, "train_test_split.txt", *(f"{k} {int(k % 3 > 0)}" for k in range(1, 7)))
    write(tmp_path, "classes.txt", "1 001.cat", "2 002.dog")
    write(tmp_path, "boxes.txt", *(f"{k} 1 2 3 4" for k in range(1, 7)))
    data = open_data(tmp_path / "images.txt")
    assert data.samples.class_names == ("001.cat", "002.dog")
    assert data.given.tolist() == [0, 0, 2, 0, 0, 2]
    (tmp_path / "image_class_labels.txt").unlink()
    message = fail(tmp_path / "images.txt").message
    assert message.endswith("and no list beside it has a label for each number")


@pytest.mark.parametrize(
    ("name", "text", "is_one"),
    [
        ("a.txt", "cat/1.png 0\ndog/1.png 1\n", True),
        ("a.txt", "cat_1 1 2\ncat_2 1 2\n", True),
        ("a.txt", "cat/1\ndog/1\n", True),
        ("a.txt", '"a cat.png" 0\n', True),
        ("a.txt", "1.png\n2.png\n", False),  # no labels
        ("a.txt", "The pictures are in images/.\nHave fun.\n", False),
        ("requirements.txt", "numpy==2.0\ntorch\n", False),
        ("a.json", '{"images/1.png": "cat"}', True),
        ("a.json", '{"0": "cat", "1": "dog"}', False),
    ],
)
def test_listings_are_told_from_other_texts(tmp_path, name, text, is_one):
    (tmp_path / name).write_text(text)
    assert is_listing(tmp_path / name) is is_one


def test_labels_of_several_words_follow_the_id(tmp_path):
    plant(tmp_path, *(f"images/{k:07d}.jpg" for k in (481847, 12, 13)))
    path = write(tmp_path, "images_variant_train.txt", "0481847 Cessna 172", "0000012 707-320",
                 "0000013 Gulfstream IV")  # fmt: skip
    data = open_data(path)
    assert labels(data) == ["Cessna 172", "707-320", "Gulfstream IV"]
    assert ids(data)[0] == "images/0481847.jpg"
    path = write(tmp_path, "boxes.txt", "0481847 1 2 3 4", "0000012 1 2 3 4 5 6", "0000013 1 2 3 4")
    assert "line 2 has another number of cells" in fail(path).message
    path = write(tmp_path, "names.txt", "1 great white shark", "2 tench", "3 hen")
    assert "has another number of cells" in fail(path).message


def test_a_number_before_the_image_is_no_label(tmp_path):
    plant(tmp_path, *(f"train/{k}.png" for k in range(6)))
    lines = [f"{k // 2} {k}.png {'sick' if k % 3 else 'well'} ricord" for k in range(6)]
    data = open_data(write(tmp_path, "train_COVIDx.txt", *lines))
    assert labels(data) == ["well", "sick", "sick"] * 2
    lines = [f"{'sick' if k % 3 else 'well'}\t{k}.png\t{100 + k}" for k in range(6)]
    assert labels(open_data(write(tmp_path, "list.txt", *lines))) == ["well", "sick", "sick"] * 2


def test_the_index_of_mxnet_is_no_label(tmp_path):
    plant(tmp_path, *(f"images/{k}.jpg" for k in range(6)))
    lines = [f"{k}\t{k % 3}.000000\timages/{k}.jpg" for k in range(6)]
    assert labels(open_data(write(tmp_path, "train.lst", *lines))) == ["0", "1", "2"] * 2


def test_a_count_before_the_list_is_no_image(tmp_path):
    plant(tmp_path, "a.png", "b.png")
    for first in ("2", "2 7"):
        columns, _ = read_list(write(tmp_path, "list.txt", first, "a.png 0", "b.png 1"))
        assert columns == {"image": ["a.png", "b.png"], "label": ["0", "1"]}


def test_labels_may_stand_before_paths(tmp_path):
    files = ["img/a b.png", "img/c.png", "img/d.png"]
    plant(tmp_path, *files)
    lines = [f"{label} {file}" for label, file in zip(("cat", "dog", "cat"), files, strict=True)]
    columns, _ = read_list(write(tmp_path, "list.txt", *lines))
    assert columns == {"label": ["cat", "dog", "cat"], "image": files}
    plant(tmp_path, "cat img/a.png")  # a folder with a space in its name
    assert read_list(write(tmp_path, "whole.txt", "cat img/a.png"))[0] == {
        "image": ["cat img/a.png"],
        "label": ["cat img"],
    }


@pytest.mark.parametrize(
    ("rows", "note"),
    [
        ("{i}.png {i3} {i7}", "cell 2 of each line is taken as the label"),
        ("{i}.png {i3} 7", ""),
        ("{i}.png {i3} {i}", ""),
        ("{i}.png {i3}", ""),
    ],
)
def test_a_second_column_of_numbers_is_noted(tmp_path, rows, note):
    lines = [rows.format(i=i, i3=i % 3, i7=i % 7) for i in range(20)]
    columns, notes = read_list(write(tmp_path, "list.txt", *lines))
    assert columns["label"][:4] == ["0", "1", "2", "0"]
    assert "".join(notes).startswith(note)
    assert bool(notes) == bool(note)


def test_two_flags_that_are_not_one_hot_are_refused(tmp_path):
    path = write(tmp_path, "list.txt", "a.png 0 1", "b.png 1 1", "c.png 0 0", "d.png 1 0")
    with pytest.raises(DataError, match="two cells of 0 or 1"):
        read_list(path)
    path.write_text("a.png 0 1\nb.png 1 1\nc.png 0 1\n")
    assert read_list(path)[0]["label"] == ["0", "1", "0"]


@pytest.mark.parametrize("folder", ["", "images/"])
@pytest.mark.parametrize("sign", [" ", ",", "\t"])
def test_files_whose_names_begin_with_a_hash_are_no_remarks(tmp_path, folder, sign):
    plant(tmp_path, f"{folder}#1.jpg", f"{folder}n2.jpg", f"{folder}#3.jpg", f"{folder}4.jpg")
    rows = [f"{name}{sign}{k % 2}" for k, name in enumerate(("#1.jpg", "n2.jpg", "#3.jpg"))]
    path = write(tmp_path, "l.txt", "# a remark", *rows, f"#4.jpg{sign}1", f"#n2.jpg{sign}1")
    assert labels(open_data(path)) == ["0", "1", "0"]
