"""Ids that name folders of images."""

from trees import fail, ids, labels, plant, write

from torchloupe.data.sources import open_data


def test_each_image_of_a_folder_has_its_label(tmp_path):
    plant(tmp_path, *(f"images/p{p}/{k}.png" for p in "12" for k in "ab"), "images/p1/thumbs/a.png")
    path = write(tmp_path, "t.csv", "patient,label", "p2,sick", "p1,sound")
    data = open_data(path)
    assert ids(data) == [f"images/p{p}/{k}.png" for p in "21" for k in "ab"]
    assert labels(data) == ["sick", "sick", "sound", "sound"]
    assert data.samples.groups.tolist() == [0, 0, 1, 1]
    assert data.notes == (
        f"2 ids of {path} name folders: each image in one has its label, 4 images in all, and "
        "those of a folder stay in one split",
    )


def test_folders_are_found_through_zeros_and_splits_go_with_them(tmp_path):
    plant(tmp_path, *(f"train/{p:05}/scan/{k}.png" for p in (2, 13) for k in "ab"))
    path = write(tmp_path, "t.csv", "id,label,split", "2,a,train", "13,b,train", "2,a,test")
    data = open_data(path)
    assert data.given.tolist() == [0, 0, 0, 0, 2, 2]
    assert f"2 ids of {path} lost zeros: 2 is train/00002/" in data.notes


def test_a_list_of_folders_without_a_header(tmp_path):
    plant(tmp_path, "M/train/p1/1.png", "M/train/p2/1.png")
    path = write(tmp_path, "M/t.csv", "M/train/p1/,1", "M/train/p2/,0")
    assert labels(open_data(path)) == ["1", "0"]


def test_an_id_of_two_folders_is_refused(tmp_path):
    plant(tmp_path, "a/p1/1.png", "b/p1/1.png", "a/p2/1.png")
    error = fail(write(tmp_path, "t.csv", "id,label", "p1,x", "p2,y"))
    assert "'p1', which may be the folders 'a/p1', 'b/p1'" in error.message
    assert error.hint == "say which: data.image_folder=a"
