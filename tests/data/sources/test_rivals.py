"""Two columns of a table that both name files."""

import pytest
from trees import fail, ids, plant, write

from torchloupe.data.sources import open_data

ORDER = [5, 2, 0, 7, 1, 4, 3, 6]


def table(folder, header, cells):
    plant(folder, *(f"images/{k}.jpg" for k in range(8)))
    rows = [cells(row, k) for row, k in enumerate(ORDER)]
    return write(folder, "t.csv", header, *rows)


@pytest.mark.parametrize("names", ["id,name", "image,key", "image_id,name"])
def test_two_columns_that_name_other_files_are_an_error(tmp_path, names):
    path = table(tmp_path, f"{names},label", lambda row, k: f"{row},{k},{'ab'[k % 2]}")
    first, second = names.split(",")
    error = fail(path)
    assert f"the cells of '{first}', '{second}' are all names of files" in error.message
    assert error.hint == f"say which: data.image_column={second}"
    assert ids(open_data(path, image_column=second))[0] == "images/5.jpg"


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("id,number,label", "{k},{row},{label}"),  # the second counts the rows
        ("id,code,label", "{k},{k:03d},{label}"),  # of the same files
        ("id,path_there,label", "{k},/data/x/{k},{label}"),
        ("id,price,label", "{k},{other},{label}"),  # no files
    ],
)
def test_one_column_that_names_files_is_taken(tmp_path, header, cells):
    path = table(
        tmp_path,
        header,
        lambda row, k: cells.format(k=k, row=row, other=row * 7 + 100, label="ab"[k % 2]),
    )
    assert ids(open_data(path)) == [f"images/{k}.jpg" for k in ORDER]


def test_a_column_that_names_no_file_gives_way(tmp_path):
    hashes = [f"{k:08x}ab" for k in range(8)]
    plant(tmp_path, *(f"images/{name}.jpg" for name in hashes))
    rows = [f"{n},{'ab'[k % 2]},http://x/{n}.jpg,x{n}.jpg" for k, n in enumerate(hashes)]
    data = open_data(write(tmp_path, "t.csv", "md5hash,label,url,url_alphanum", *rows))
    assert ids(data)[0] == "images/00000000ab.jpg"


def test_numbers_with_zeros_are_names_of_files_before_those_without(tmp_path):
    plant(tmp_path, *(f"images/{k:05d}.jpg" for k in range(8)))
    rows = [f"{row},{k:05d},{'ab'[k % 2]}" for row, k in enumerate(ORDER)]
    data = open_data(write(tmp_path, "t.csv", "id,name,label", *rows))
    assert ids(data) == [f"images/{k:05d}.jpg" for k in ORDER]
