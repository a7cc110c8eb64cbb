"""Ids that lost the zeros before a number."""

import pytest
from trees import fail, ids, plant, write

from torchloupe.data.sources import open_data
from torchloupe.data.sources.image_names import ImageNames


@pytest.mark.parametrize(
    ("header", "cells"), [("id", ("7", "17")), ("id", ("7.0", "17.0")), ("image", ("7.png", "17"))]
)
def test_ids_without_zeros_are_found(tmp_path, header, cells):
    plant(tmp_path, "img/007.png", "img/017.png", "img/170.png")
    path = write(tmp_path, "t.csv", f"{header},label", f"{cells[0]},a", f"{cells[1]},b")
    data = open_data(path)
    assert ids(data) == ["img/007.png", "img/017.png"]
    assert data.notes == (f"2 ids of {path} lost zeros: {cells[0]} is img/007.png",)


def test_ids_that_fit_two_files_are_refused(tmp_path):
    plant(tmp_path, "img/007.png", "img/07.png", "img/008.png")
    error = fail(write(tmp_path, "t.csv", "id,label", "7,a", "8,b"))
    assert "lists '7', which may be 'img/007.png', 'img/07.png'" in error.message
    assert error.hint == "write the names of the files with all their zeros into the table"


def test_a_file_of_the_very_name_comes_first(tmp_path):
    plant(tmp_path, "img/7.png", "img/007.png", "img/8.png")
    assert ids(open_data(write(tmp_path, "t.csv", "id,label", "7,a", "8,b"))) == [
        "img/7.png",
        "img/8.png",
    ]


def test_folders_are_found_by_name_and_number(tmp_path):
    plant(tmp_path, "a/007/x/1.png", "b/p8/1.png")
    names = ImageNames(str(tmp_path), is_alone=False)
    assert names.find_folders("7") == ["a/007"]
    assert names.find_folders("P8") == ["b/p8"]
    assert names.find_folders("8") == []
