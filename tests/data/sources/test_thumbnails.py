"""Small copies beside their pictures are no images of their own."""

import pytest
from trees import ids, plant, write

from torchloupe.data.sources import open_data
from torchloupe.data.sources.thumbnails import is_thumbnail_folder


def test_names_of_folders_of_small_copies():
    for name in ("thumbs", "Thumbnails", "resized", "resized_224", "resized-64x64", "thumb images"):
        assert is_thumbnail_folder(name)
    for name in ("small", "224", "thumb tacks", "images"):
        assert not is_thumbnail_folder(name)


@pytest.mark.parametrize(
    "copy", ["thumbs/1.png", "thumbs/1_thumb.jpg", "1-150x150.png", "1_thumb.png", "thumb_1.png"]
)
def test_copies_inside_a_class_are_left_out(tmp_path, copy):
    for name in ("cat", "dog"):
        plant(tmp_path, f"{name}/1.png", f"{name}/2.png", f"{name}/{copy}")
    data = open_data(tmp_path)
    assert ids(data) == ["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"]
    where = "in thumbs/" if "/" in copy else "named after their pictures"
    assert data.notes == (
        f"2 small copies {where}, such as 'cat/{copy}': not used, their pictures are",
    )


def test_copies_beside_the_folder_of_originals_are_left_out(tmp_path):
    for name in ("cat", "dog"):
        plant(tmp_path, f"{name}/original/1.jpg", f"{name}/resized_64/1.png")
    assert ids(open_data(tmp_path)) == ["cat/original/1.jpg", "dog/original/1.jpg"]


def test_images_in_such_a_folder_stay_where_there_is_no_other(tmp_path):
    plant(tmp_path, "cat/resized/1.png", "dog/resized/1.png", "dog/2.png", "dog/3-64x64.png")
    assert len(open_data(tmp_path).samples) == 4


def test_a_folder_of_copies_beside_the_classes_is_left_out(tmp_path):
    plant(tmp_path, "cat/1.png", "dog/2.png", "thumbs/1.png", "thumbs/2.png")
    data = open_data(tmp_path)
    assert data.samples.class_names == ("cat", "dog")
    assert data.notes == ("'thumbs' holds small copies, not used",)


def test_tables_find_the_pictures_and_not_the_copies(tmp_path):
    plant(tmp_path, *(f"images/{place}{k}.png" for place in ("", "thumbs/") for k in "12"))
    path = write(tmp_path, "t.csv", "id,label", "1,a", "2,b")
    assert ids(open_data(path)) == ["images/1.png", "images/2.png"]
