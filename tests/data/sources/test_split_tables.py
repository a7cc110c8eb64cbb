"""A table for each split: given as a pair, in one folder, or each in a folder of its split."""

import pytest
from trees import fail, ids, labels, plant, write

from torchloupe.data.sources import open_data
from torchloupe.errors import DataError, UsageError


@pytest.fixture
def folder(tmp_path):
    plant(tmp_path, *(f"img/{k}.png" for k in range(6)))
    write(tmp_path, "train.csv", "image,label", "img/0.png,a", "img/1.png,b")
    write(tmp_path, "val.csv", "image,label", "img/2.png,b", "img/3.png,a")
    return tmp_path


def check(data):
    assert ids(data) == [f"img/{k}.png" for k in range(4)]
    assert labels(data) == ["a", "b", "b", "a"]
    assert data.given.tolist() == [0, 0, 1, 1]
    assert data.reader.read(3)[:4] == b"\x89PNG"


def test_a_pair_of_tables_is_train_and_val(folder):
    check(open_data((folder / "train.csv", folder / "val.csv")))
    check(open_data([str(folder / "train.csv"), str(folder / "val.csv")]))
    check(open_data({"train": folder / "train.csv", "valid": folder / "val.csv"}))


def test_a_folder_of_tables_is_what_their_names_say(folder):
    check(open_data(folder))
    (folder / "train.csv").rename(folder / "my_train.csv")
    (folder / "val.csv").rename(folder / "my_val.csv")
    check(open_data(folder))


def test_a_table_without_labels_is_no_split(folder):
    write(folder, "test.csv", "image", "img/4.png")
    write(folder, "sample_submission.csv", "image,label", "img/4.png,a")
    check(open_data(folder))
    (folder / "val.csv").unlink()
    error = fail(folder)
    assert error.message == f"{folder} has only one class folder, 'img'"
    assert error.hint == f"did you mean '{folder}/train.csv'?"


def test_tables_in_folders_of_splits_with_a_column_a_class(tmp_path):
    plant(tmp_path, "train/1.jpg", "train/2.jpg", "valid/1.jpg", "test/9.jpg")
    write(tmp_path, "train/_classes.csv", "filename, cat, dog", "1.jpg, 1, 0", "2.jpg, 0, 1")
    write(tmp_path, "valid/_classes.csv", "filename, cat, dog", "1.jpg, 0, 1")
    write(tmp_path, "test/_classes.csv", "filename, cat, dog", "9.jpg, 1, 0")
    data = open_data(tmp_path)
    assert ids(data) == ["train/1.jpg", "train/2.jpg", "valid/1.jpg", "test/9.jpg"]
    assert (labels(data), data.given.tolist()) == (["cat", "dog", "dog", "cat"], [0, 0, 1, 2])
    write(tmp_path, "train/_classes.csv", "filename, cat, dog", "1.jpg, 1, 1", "2.jpg, 0, 1")
    assert labels(open_data(tmp_path)) == ["cat+dog", "dog", "dog", "cat"]


def test_tables_in_folders_of_splits_with_a_label_column(tmp_path):
    plant(tmp_path, "train/1.jpg", "train/2.jpg", "test/3.jpg")
    write(tmp_path, "train/metadata.csv", "file_name,label", "1.jpg,a", "2.jpg,b")
    write(tmp_path, "test/metadata.csv", "file_name,label", "3.jpg,b")
    data = open_data(tmp_path)
    assert (labels(data), data.given.tolist()) == (["a", "b", "b"], [0, 0, 2])


def test_class_folders_in_two_splits_say_more_than_tables(tmp_path):
    plant(tmp_path, *(f"{split}/{name}/1.png" for split in ("train", "val") for name in "ab"))
    for split in ("train", "val"):
        write(tmp_path, f"{split}.csv", "image,label", f"{split}/a/1.png,x", f"{split}/b/1.png,y")
    assert open_data(tmp_path).samples.class_names == ("a", "b")


def test_tables_beside_flat_test_images_say_more_than_class_folders(tmp_path):
    plant(tmp_path, "Train/0/1.png", "Train/1/1.png", "Test/1.png", "Test/2.png")
    write(tmp_path, "Train.csv", "Width,ClassId,Path", "3,0,Train/0/1.png", "3,1,Train/1/1.png")
    write(tmp_path, "Test.csv", "Width,ClassId,Path", "3,0,Test/1.png", "3,1,Test/2.png")
    data = open_data(tmp_path)
    assert (labels(data), data.given.tolist()) == (["0", "1", "0", "1"], [0, 0, 2, 2])
    assert data.notes == ()


def test_options_are_used_for_every_table(folder):
    for name in ("train.csv", "val.csv"):
        path = folder / name
        path.write_text(path.read_text().replace("image,label", "photo,is").replace("img/", ""))
    check(open_data(folder, image_column="photo", label_column="is", image_folder="img"))


def test_two_folders_of_classes_are_train_and_val(tmp_path):
    plant(tmp_path, *(f"{place}/{name}/1.png" for place in ("old", "new") for name in "ab"))
    data = open_data((tmp_path / "old", tmp_path / "new"))
    assert ids(data) == ["old/a/1.png", "old/b/1.png", "new/a/1.png", "new/b/1.png"]
    assert data.given.tolist() == [0, 0, 1, 1]


def test_a_file_in_two_splits_keeps_two_ids(folder):
    write(folder, "val.csv", "image,label", "img/0.png,a", "img/1.png,b")
    data = open_data(folder)
    assert ids(data) == ["img/0.png", "img/1.png", "img/0.png#2", "img/1.png#2"]
    assert data.reader.read(2) == data.reader.read(0)


def test_tables_of_splits_are_refused_where_they_contradict(folder):
    write(folder, "train_labels.csv", "image,label", "img/0.png,a", "img/1.png,b")
    error = fail(folder)
    assert isinstance(error, DataError)
    assert error.message == (
        f"{folder} has several tables for train: 'train.csv', 'train_labels.csv'"
    )
    assert error.hint == "keep one of them, or give the table to use"
    write(folder, "val.csv", "image,label,split", "2.png,b,train", "3.png,a,train", "1.png,a,val")
    error = fail((folder / "train.csv", folder / "val.csv"))
    assert error.message == "the val data has splits of its own"
    assert error.hint == "give that source alone, or remove its split column"


def test_other_files_are_no_split_of_their_own(folder):
    (folder / "a.npy").write_bytes(b"x")
    error = fail((folder / "train.csv", folder / "a.npy"))
    assert isinstance(error, UsageError)
    told = "neither a table nor a folder of classes, nor an archive"
    assert error.message == f"{folder}/a.npy is {told}"
    assert error.hint == "open it with open_data, or give arrays"


def test_metadata_of_hugging_face_label_a_folder(tmp_path):
    plant(tmp_path, "1.png", "2.png")
    write(tmp_path, "metadata.csv", "file_name,label", "1.png,a", "2.png,b")
    assert labels(open_data(tmp_path)) == ["a", "b"]
    plant(tmp_path, "cat/1.png", "dog/2.png")
    assert labels(open_data(tmp_path)) == ["cat", "dog"]


def test_pixels_with_an_id_alone_are_no_split(tmp_path):
    names = ",".join(f"pixel{k}" for k in range(16))
    zeros = ",0" * 16
    write(tmp_path, "train.csv", f"label,{names}", f"0{zeros}", f"1{zeros}")
    write(tmp_path, "test.csv", f"id,{names}", f"7{zeros}")
    assert "train.csv" in fail(tmp_path).hint


@pytest.mark.parametrize(("shared", "torn"), [(True, 4), (False, 0)])
def test_groups_in_two_tables_are_those_of_one_column(tmp_path, shared, torn):
    for name, start in (("train", 0), ("val", 16)):
        rows = range(start, start + 16)
        plant(tmp_path, *(f"images/{k}.png" for k in rows))
        cells = [f"{k}.png,{'ab'[k % 2]},P{k % 4 + (0 if shared else start)}" for k in rows]
        write(tmp_path, f"{name}.csv", "image,label,patient_id", *cells)
    data = open_data(tmp_path)
    groups = [set(data.samples.groups[data.given == part].tolist()) for part in (0, 1)]
    assert len(groups[0] & groups[1]) == torn
    assert not any("stay in one split" in note for note in data.notes)
    note = "images of one 'patient_id' are in several splits, for 4 of 4"
    assert sum(note in told for told in data.notes) == bool(torn)


@pytest.mark.parametrize("both", ["trainval", "train_val"])
def test_a_table_of_train_and_val_together_is_left_out(folder, both):
    write(folder, f"{both}.csv", "image,label", *(f"img/{k}.png,{'ab'[k % 2]}" for k in range(4)))
    data = open_data(folder)
    assert data.given.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(("label", "splits"), [(",kind", None), ("", [0] * 8 + [2] * 4)])
def test_folders_of_paths_are_labels_where_train_has_no_others(tmp_path, label, splits):
    files = [f"img/{kind}/{k}.png" for kind in ("cat", "dog") for k in range(6)]
    plant(tmp_path, *files)
    rows = [f"{file},{file[4]}" if label else file for file in files]
    write(tmp_path, "train.csv", f"path{label}", *rows[:4], *rows[6:10])
    write(tmp_path, "test.csv", "path", *files[4:6], *files[10:])
    given = open_data(tmp_path).given
    assert (given is None) if splits is None else given.tolist() == splits


def test_tables_and_images_in_folders_of_each_split(tmp_path):
    for part, split in enumerate(("Training", "Validation", "Test")):
        plant(tmp_path, *(f"X_{split}_Input/{part}{k}.jpg" for k in range(4)))
        rows = [f"{part}{k},{k % 2},{1 - k % 2}" for k in range(4)]
        write(tmp_path, f"X_{split}_GroundTruth/X_{split}_GroundTruth.csv", "image,MEL,NV", *rows)
    data = open_data(tmp_path)
    assert data.given.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert labels(data) == ["NV", "MEL"] * 6
    assert data.reader.read(11) == (tmp_path / "X_Test_Input/23.jpg").read_bytes()


@pytest.mark.parametrize("is_there", [True, False])
def test_ids_of_test_are_not_files_of_train(tmp_path, is_there):
    plant(tmp_path, *(f"train_images/{k}.png" for k in range(8)))
    plant(tmp_path, *(f"test_images/{k}.png" for k in range(4 * is_there)))
    for name, count in (("train", 8), ("test", 4)):
        rows = [f"{k},{'ab'[k % 2]}" for k in range(count)]
        write(tmp_path, f"{name}.csv", "id,label", *rows)
    if is_there:
        assert ids(open_data(tmp_path))[8:] == [f"test_images/{k}.png" for k in range(4)]
    else:
        error = fail(tmp_path)
        assert error.message.startswith("4 images of 4 of test are found to be files of train")
