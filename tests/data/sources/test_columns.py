"""Dialects of tables: Excel's first line, spaces around cells, quotes behind spaces."""

import pytest
from trees import fail, ids, labels, plant, write

from torchloupe.data.sources import open_data
from torchloupe.data.sources.columns import Table
from torchloupe.errors import DataError


@pytest.fixture
def folder(tmp_path):
    return plant(tmp_path, *(f"{k}.png" for k in range(3)))


@pytest.mark.parametrize(
    "lines",
    [
        ("sep=;", "image;label", "0.png;a", "1.png;b"),
        ('"sep=;"', "image;label", "0.png;a", "1.png;b"),
        ("\ufeffsep=;\r", "image;label\r", "0.png;a\r", "1.png;b\r"),
        ("SEP=\t", "image\tlabel", "0.png\ta", "1.png\tb"),
        ("sep=,", "0.png,a", "1.png,b"),
        ("image , label ", "0.png , a ", "1.png, b"),
        ("image, label", '"0.png", "a"', '"1.png", "b"'),
        ("sep=,", "image, label", '"0.png", "a"', "1.png, b"),
        (",image,label", "0,0.png,a", "1,1.png,b"),
        ("Unnamed: 0,image,kind", "0,0.png,a", "1,1.png,b"),
        ("index,picture_of,kind", "0,0.png,a", "1,1.png,b"),
        ("#;file;what", "1;0.png;a", "2;1.png;b"),
    ],
)
def test_tables_in_dialects_of_spreadsheets(folder, lines):
    data = open_data(write(folder, "t.csv", *lines))
    assert (ids(data), labels(data), data.notes) == (["0.png", "1.png"], ["a", "b"], ())


def test_spaces_are_stripped_in_every_column(folder):
    rows = ["0.png , a , train , g1", " 1.png, b, train , g2", "2.png ,a ,test, g1 "]
    data = open_data(write(folder, "t.csv", " image, label ,split , group", *rows))
    assert (ids(data), labels(data)) == (["0.png", "1.png", "2.png"], ["a", "b", "a"])
    assert data.given.tolist() == [0, 0, 2]
    assert data.samples.groups.tolist() == [0, 1, 0]


def test_quotes_behind_spaces_keep_separators_in_cells(folder):
    data = open_data(write(folder, "t.csv", "image, label", '0.png, "a, x"', '1.png, "b"'))
    assert labels(data) == ["a, x", "b"]


def test_rows_of_another_length_are_named_where_quotes_stand_behind_spaces(folder):
    path = write(folder, "t.csv", "image, label", '0.png, "a"', '1.png, "b", c')
    error = fail(path)
    assert error.message == (
        f"{path} can't be read as a table of text in UTF-8: row 2: expected 2 columns, got 3"
    )


def test_columns_are_known_by_their_names_without_spaces(folder):
    path = write(folder, "t.csv", "photo , kind ,more", "0.png,a,x", "1.png,b,y")
    assert Table(path).columns == ["photo", "kind", "more"]
    assert labels(open_data(path, label_column="kind")) == ["a", "b"]


def test_preview_holds_the_first_rows_of_every_column(folder):
    path = write(folder, "t.csv", "image,n", *(f"{k}.png, {k}" for k in range(1500)))
    preview = Table(path).preview
    assert list(preview) == ["image", "n"]
    assert preview["n"].tolist() == [str(k) for k in range(1000)]


@pytest.mark.parametrize("lines", [("image,label", "0.png,a"), ("image\tlabel", "0.png\té")])
def test_tables_in_utf_16_are_read(folder, lines):
    (folder / "t.csv").write_bytes("\n".join(lines).encode("utf-16"))
    assert labels(open_data(folder / "t.csv")) == [lines[1][-1]]


def test_tables_in_other_encodings_name_the_one_to_save(folder):
    (folder / "t.csv").write_bytes("image,label\n0.png,Käse\n".encode("latin-1"))
    error = fail(folder / "t.csv")
    assert error.message.startswith(f"{folder}/t.csv can't be read as a table of text in UTF-8: ")
    assert error.hint == "save it as UTF-8; in Excel that is the type CSV UTF-8"


def test_lines_of_remarks_before_the_header_are_left_out(tmp_path):
    path = write(tmp_path, "t.csv", "# made in 2020", "# by me", "image,label", "1.png,cat")
    table = Table(path)
    assert table.columns == ["image", "label"] and table.preview["label"].tolist() == ["cat"]
    assert Table(write(tmp_path, "u.csv", "#image,label", "1.png,cat")).columns[1] == "label"


@pytest.mark.parametrize(
    "above",
    [
        [""],
        ["My data set"],
        ['"Made by us, in 2021"', ""],
        ["Flowers of 2023,", ",", ""],
        ["", "# remark", "Title", '"with a quote"'],
    ],
)
@pytest.mark.parametrize("quoted", ["cat", ' "cat, black"'])  # the second is read by Python
def test_titles_and_blank_lines_above_the_header_are_left_out(tmp_path, above, quoted):
    rows = ["image,label", f"1.png,{quoted}", "2.png,dog;cat"]
    table = Table(write(tmp_path, "t.csv", *above, *rows))
    assert table.columns == ["image", "label"]
    assert table.preview["label"].tolist() == [quoted.strip(' "'), "dog;cat"]
    titles = [line.strip('",') for line in above if line.strip(",") and line[0] != "#"]
    assert all(title in str(table.notes) for title in titles)
    assert bool(table.notes) == bool(titles)


@pytest.mark.parametrize("sign", [";", "\t", "|", " "])
def test_a_header_without_commas_is_no_title_of_rows_with_some(tmp_path, sign):
    rows = [f"image{sign}label", *(f"{number}.png{sign}cat,black" for number in range(3))]
    table = Table(write(tmp_path, "t.csv", *rows))
    assert table.columns == ["image", "label"] and not table.notes


@pytest.mark.parametrize("sign", ["|", " "])
def test_bars_and_spaces_may_stand_between_cells(tmp_path, sign):
    table = Table(write(tmp_path, "t.csv", f"image{sign}label", f"1.png{sign}cat"))
    assert table.columns == ["image", "label"] and table.preview["label"].tolist() == ["cat"]


def test_a_row_with_more_cells_has_a_hint(tmp_path):
    with pytest.raises(DataError) as caught:
        Table(write(tmp_path, "t.csv", "image,label", "1.png,cat, black")).read(["label"])
    assert "stand in quotes" in caught.value.hint
