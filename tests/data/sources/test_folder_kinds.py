"""What kind of source a folder is, and where in it the data are if not at its top."""

import json
import zipfile

import pytest
from trees import fail, ids, labels, plant, write

from torchloupe.data.sources import open_data
from torchloupe.data.sources.kinds import unfit_options


def write_food(folder):
    """A small Food-101, in a folder with any name."""
    for part, numbers in (("train", (1, 2)), ("test", (3,))):
        listed = {pie: [f"{pie}/{k}" for k in numbers] for pie in ("apple_pie", "waffles")}
        plant(folder, *(f"images/{name}.jpg" for names in listed.values() for name in names))
        write(folder, f"meta/{part}.txt", *(name for names in listed.values() for name in names))
        write(folder, f"meta/{part}.json", json.dumps(listed))
    write(folder, "meta/classes.txt", "apple_pie", "waffles")
    write(folder, "meta/labels.txt", "Apple pie", "Waffles")
    write(folder, "README.txt", "how it was made")
    return folder


def test_lists_beside_images_give_the_splits(tmp_path):
    data = open_data(write_food(tmp_path / "my food"))
    assert labels(data) == ["apple_pie", "apple_pie", "waffles", "waffles", "apple_pie", "waffles"]
    assert data.given.tolist() == [0] * 4 + [2] * 2
    assert data.name == "my-food"
    assert "the splits are those of the lists in meta/, the images are in images/" in data.notes


def test_the_first_of_several_divisions_is_used_and_named(tmp_path):
    plant(tmp_path, *(f"images/{kind}/{kind}_{k}.jpg" for kind in ("dots", "lines") for k in "abc"))
    for number in (1, 2, 10):
        for part, k in zip(("train", "val", "test"), "abc" if number == 1 else "cab", strict=True):
            lines = (f"{kind}/{kind}_{k}.jpg" for kind in ("dots", "lines"))
            write(tmp_path, f"labels/{part}{number}.txt", *lines)
    write(tmp_path, "labels/labels_joint_anno.txt", "dots/dots_a.jpg dots fine")
    data = open_data(tmp_path)
    by_id = dict(zip((name[-5] for name in ids(data)), data.given.tolist(), strict=True))
    assert by_id == {"a": 0, "b": 1, "c": 2}
    assert labels(data) == ["dots", "lines"] * 3
    (note,) = [note for note in data.notes if "divisions" in note]
    assert note == "'train1.txt', 'val1.txt', 'test1.txt' are used, the first of 3 divisions"


def test_lists_that_leave_images_out_are_told(tmp_path):
    folder = plant(write_food(tmp_path), "images/waffles/9.jpg")
    assert "1 image in images/ is in none of the lists, and not used" in open_data(folder).notes


def test_folders_without_such_lists_stay_class_folders(tmp_path):
    plant(tmp_path, "images/a/1.png", "images/a/2.png", "images/b/1.png", "images/b/2.png")
    write(tmp_path, "meta/notes.txt", "how it was made")
    write(tmp_path, "labels/1.txt", "0 0.5 0.5 1 1")
    assert open_data(tmp_path).samples.class_names == ("a", "b")
    folder = plant(tmp_path / "classes", "images/1.png", "other/2.png")
    assert open_data(folder).samples.class_names == ("images", "other")


@pytest.mark.parametrize("deep", ["data", "data/raw"])
def test_metadata_of_each_split_further_down_are_found(tmp_path, deep):
    for part, count in (("train", 4), ("test", 2)):
        plant(tmp_path / deep / part, *(f"{part}{k}.png" for k in range(count)))
        rows = (f"{part}{k}.png,{'cat' if k % 2 else 'dog'}" for k in range(count))
        write(tmp_path / deep / part, "metadata.csv", "file_name,label", *rows)
    write(tmp_path, "README.md", "a card")
    write(tmp_path, "dataset_infos.json", '{"default": {"features": {}}}')
    write(tmp_path, "LICENSE.txt", "as you like")
    data = open_data(tmp_path)
    assert data.given.tolist() == [0] * 4 + [2] * 2
    assert labels(data) == ["dog", "cat"] * 3
    assert data.notes[0] == f"the data are in {deep}/"
    data = open_data(tmp_path, label_column="label")
    assert len(data.samples) == 6


def test_metadata_of_one_split_further_down_are_found(tmp_path):
    plant(tmp_path / "data/train", "1.png", "2.png")
    write(tmp_path / "data/train", "metadata.jsonl", *(
        json.dumps({"file_name": f"{k}.png", "label": word}) for k, word in ((1, "a"), (2, "b"))
    ))  # fmt: skip
    data = open_data(tmp_path)
    assert labels(data) == ["a", "b"]
    assert data.notes[0] == "the data are in data/train/"


def test_a_table_beside_the_only_folder_is_still_named(tmp_path):
    plant(tmp_path / "data/train", "1.png", "2.png")
    write(tmp_path, "labels.csv", "image,label", "data/train/1.png,a", "data/train/2.png,b")
    assert "labels.csv" in fail(tmp_path).hint


def test_a_typed_pattern_reads_the_folder_and_no_lists(tmp_path):
    folder = write_food(tmp_path / "food")
    data = open_data(folder, label_pattern="images/([^_/]+)")
    assert data.given is None
    assert data.samples.class_names == ("apple", "waffles")
    assert "label_pattern" in unfit_options(folder)
    assert "label_pattern" not in unfit_options(folder, by_pattern=True)


def test_archives_of_splits_further_down_are_entered(tmp_path):
    plant(tmp_path, "README.md")
    (tmp_path / "data").mkdir()
    for split in ("train", "test"):
        with zipfile.ZipFile(tmp_path / f"data/{split}.zip", "w") as file:
            for name in ("cat", "dog"):
                file.writestr(f"{name}/1.png", b"x")
    data = open_data(tmp_path)
    assert (data.samples.class_names, set(data.given.tolist())) == (("cat", "dog"), {0, 2})
    assert "the data are in data/" in data.notes
