"""Tables of files: CSV in its dialects, TSV, Parquet; columns found, cells kept as text."""

import gc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from torchloupe.data.image.formats import ImageError
from torchloupe.data.sources import open_data
from torchloupe.errors import DataError, LoupeError, UsageError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "img").mkdir()
    for k in range(6):
        Image.new("L", (4, 4), k).save(tmp_path / "img" / f"{k}.png")
    return tmp_path


def write(folder, text, name="labels.csv", encoding="utf-8"):
    path = Path(folder, name)
    path.write_bytes(text.encode(encoding))
    return path


def fail(source, **options):
    with pytest.raises(LoupeError) as caught:
        open_data(source, **options)
    return caught.value


ROWS = "img/0.png,cat\nimg/1.png,dog\nimg/2.png,cat\n"


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("a.csv", "image,label\n" + ROWS, "utf-8"),
        ("a.csv", "image,label\r\n" + ROWS.replace("\n", "\r\n"), "utf-8"),
        ("a.csv", "image,label\n" + ROWS, "utf-8-sig"),
        ("a.csv", ("image,label\n" + ROWS).replace(",", ";"), "utf-8"),
        ("a.CSV", ("image,label\n" + ROWS).replace(",", "\t"), "utf-8"),
        ("a.tsv", ("image,label\n" + ROWS).replace(",", "\t"), "utf-8"),
        ("a.csv", "image, label\n" + ROWS.replace(",", ", "), "utf-8"),
        ("a.csv", "\n".join(f"{k},{row},x" for k, row in enumerate(
            ["FilePath,Category", *ROWS.split()])) + "\n", "utf-8"),
        ("a.csv", "label,whatever\n" + "".join(
            f"{b},{a}\n" for a, b in (row.split(",") for row in ROWS.split())), "utf-8"),
        ("a.csv", "first,second\n" + ROWS, "utf-8"),
        ("a.csv", ROWS, "utf-8"),
        ("a.csv", "".join(f"{b},{a}\n" for a, b in (row.split(",") for row in ROWS.split())),
         "utf-8"),
        ("a.csv", '"image","label"\n' + "".join(
            f'"{a}","{b}"\n' for a, b in (row.split(",") for row in ROWS.split())), "utf-8"),
    ],
)  # fmt: skip
def test_tables_give_the_same_data_in_every_dialect(folder, name, text, encoding):
    data = open_data(write(folder, text, name, encoding))
    assert (data.name, data.kind, data.given) == ("a", "table", None)
    assert data.samples.ids.tolist() == ["img/0.png", "img/1.png", "img/2.png"]
    assert data.samples.class_names == ("cat", "dog")
    assert data.samples.labels.tolist() == [0, 1, 0]
    assert data.reader.read(2) == (folder / "img/2.png").read_bytes()


def test_tables_keep_labels_as_text(folder):
    data = open_data(write(folder, "image,label\nimg/0.png,007\nimg/1.png,10\nimg/2.png,1e3\n"))
    assert data.samples.class_names == ("007", "10", "1e3")
    data = open_data(write(folder, "image,label\nimg/0.png,10\nimg/1.png,9\nimg/2.png,9\n"))
    assert data.samples.class_names == ("9", "10")
    data = open_data(
        write(folder, "image,label\nimg/0.png,1\nimg/1.png,0\n"), class_names=["a", "b"]
    )
    assert data.samples.class_names == ("a", "b")
    assert data.samples.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("column", "names"),
    [
        (pa.array([2, 1, 10]), ("1", "2", "10")),
        (pa.array([2.0, 1.0, 10.0]), ("1", "2", "10")),
        (pa.array(["b", "a", "c"]).dictionary_encode(), ("a", "b", "c")),
        (pa.array([True, False, True]), ("false", "true")),
        (pa.array(["b", "a", "c"], pa.large_string()), ("a", "b", "c")),
    ],
)
def test_tables_read_parquet_labels_of_every_type(folder, column, names):
    path = folder / "t.parquet"
    pa.parquet.write_table(
        pa.table({"image": ["img/0.png", "img/1.png", "img/2.png"], "label": column}), path
    )
    assert open_data(path).samples.class_names == names


def test_tables_take_columns_that_are_asked_for(folder):
    path = write(folder, "image,a,b\nimg/0.png,img/5.png,x\nimg/1.png,img/4.png,y\n")
    data = open_data(path, image_column="a", label_column="b")
    assert data.samples.ids.tolist() == ["img/5.png", "img/4.png"]
    assert data.samples.class_names == ("x", "y")


def test_tables_read_absolute_paths_and_paths_that_leave_the_folder(folder):
    (folder / "sub").mkdir()
    path = write(folder, f"image,label\n{folder}/img/0.png,a\n../img/1.png,b\n", "sub/t.csv")
    data = open_data(path)
    assert data.reader.read(0) == (folder / "img/0.png").read_bytes()
    assert data.reader.read(1) == (folder / "img/1.png").read_bytes()


def test_tables_take_splits_and_groups_from_their_columns(folder):
    rows = ["img/0.png,a,Train,p1", "img/1.png,b,training,p2", "img/2.png,a,valid,p1"]
    data = open_data(
        write(folder, "\n".join(["image,label,split,group", *rows, "img/3.png,b,TEST,p3"]))
    )
    assert data.given.tolist() == [0, 0, 1, 2]
    assert data.samples.groups.tolist() == [0, 1, 0, 2]
    assert data.notes == ("val has no image of 'b'", "test has no image of 'a'")


def test_tables_read_cells_with_several_labels(folder):
    path = write(
        folder, "image,label\nimg/0.png,sea|sky\nimg/1.png,sky\nimg/2.png,\nimg/3.png,sea\n"
    )
    data = open_data(path)
    assert data.samples.class_names == ("sea", "sky")
    assert data.samples.labels.tolist() == [[1, 1], [0, 1], [0, 0], [1, 0]]
    assert data.samples.labels.dtype == np.float32
    assert data.notes == ("label cells with | hold several labels: this is multi-label, 2 labels",)


def test_tables_read_several_columns_of_labels(folder):
    path = write(folder, "image,sea,sky\nimg/0.png,1,0\nimg/1.png,True,1\nimg/2.png,0,FALSE\n")
    data = open_data(path, label_column="sky,sea")
    assert data.samples.class_names == ("sky", "sea")
    assert data.samples.labels.tolist() == [[0, 1], [1, 1], [0, 0]]


def test_tables_note_files_that_are_missing_when_they_are_few(folder):
    path = write(folder, "image,label\n" + ROWS + "img/9.png,dog\n")
    data = open_data(path)
    assert data.notes == (f"{path} lists 1 file of 4 that can't be found: 'img/9.png'",)
    with pytest.raises(ImageError, match="there is no such file"):
        data.reader.read(3)


def test_tables_note_files_that_are_listed_twice_and_keep_ids_apart(folder):
    data = open_data(write(folder, "image,label\n" + ROWS + "img/0.png,dog\n"))
    assert data.samples.ids.tolist() == ["img/0.png", "img/1.png", "img/2.png", "img/0.png#2"]
    assert data.reader.read(3) == data.reader.read(0)
    assert data.notes == (
        "1 file is listed more than once: 'img/0.png'",
        "1 file is listed with labels that differ: 'img/0.png'; where an image has several labels, "
        "write them into one cell (a|b)",
    )


def test_tables_stamp_follows_the_files_and_not_the_labels(folder):
    first = open_data(write(folder, "image,label\n" + ROWS)).stamp
    assert open_data(write(folder, "image,label\n" + ROWS.replace("dog", "cow"))).stamp == first
    Image.new("L", (9, 9)).save(folder / "img/2.png")
    assert open_data(folder / "labels.csv").stamp != first


@pytest.mark.parametrize(
    ("text", "kind", "message", "hint"),
    [
        ("", DataError, "{path} is empty", "give it a header line, such as image,label"),
        ("image,label\n", DataError, "{path} lists no image",
         "add one row per image below the header"),
        ("image,label\n" + "x.png,cat\ny.png,dog\n", DataError,
         "{path} lists 2 files of 2 that can't be found: 'x.png', 'y.png'",
         "paths are relative to the table's folder, {folder}; "
         "data.image_folder=FOLDER names another"),
        ("image,label\nimg/0.png,cat\nimg/1.png,\n", DataError,
         "{path} has 1 empty cell in column 'label', the first in row 2 below the header",
         "fill the cell or take the row out"),
        ("image,label\n,cat\nimg/1.png,dog\n", DataError,
         "{path} has 1 empty cell in column 'image', the first in row 1 below the header",
         "fill the cell or take the row out"),
        ("a,b,c\n1,2,3\n", DataError,
         "{path} has no column that is surely the image: its columns are 'a', 'b', 'c'",
         "say which: data.image_column=NAME"),
        ("image,b,c\n1,2,3\n", DataError,
         "{path} has no column that is surely the label: its columns are 'image', 'b', 'c'",
         "say which: data.label_column=NAME"),
        ("image,label,label\n1,2,3\n", DataError,
         "{path} has several columns named 'label'", "give every column a name of its own"),
        ("image,label,split\nimg/0.png,a,train\nimg/1.png,b,later\n", DataError,
         "{path}: column 'split' holds 'later'",
         "say which are for what: data.split_column=split:test=later; "
         "data.split_column=none uses no column"),
        ("image,label,split\nimg/0.png,a,train\nimg/1.png,b,val\n", DataError,
         "val has a class that train lacks: 'b'",
         "add training images of it, or take it out of val"),
    ],
)  # fmt: skip
def test_tables_refuse_with_one_thing_to_do(folder, text, kind, message, hint):
    path = write(folder, text)
    error = fail(path)
    assert type(error) is kind
    assert error.message == message.format(path=path)
    assert error.hint == hint.format(folder=folder)


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"image_column": "imgae"}, "{path} has no column 'imgae' (data.image_column)",
         "did you mean 'image'?"),
        ({"label_column": "labl"}, "{path} has no column 'labl' (data.label_column)",
         "did you mean 'label'?"),
        ({"label_column": "label,nope"}, "{path} has no column 'nope' (data.label_column)",
         "known: image, label"),
        ({"layout": "NHWC"}, "data.layout=NHWC is for arrays, and {path} is none",
         "leave layout out"),
        ({"label_column": "label,image", "class_names": ["a"]},
         "data.class_names has 1 names for 2 label columns",
         "leave class_names out: the columns' names are the classes"),
    ],
)  # fmt: skip
def test_tables_refuse_options_that_do_not_fit(folder, options, message, hint):
    path = write(folder, "image,label\n" + ROWS)
    error = fail(path, **options)
    assert isinstance(error, UsageError)
    assert (error.message, error.hint) == (message.format(path=path), hint)


def test_tables_refuse_label_columns_that_hold_no_flags(folder):
    path = write(folder, "image,a,b\nimg/0.png,1,2\n")
    assert fail(path, label_column="a,b").message == (
        f"{path}: label column 'b' holds '2', not 0 or 1"
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", b"image,label\nimg/0.png,cat,more\n"),
        ("t.csv", b"image,label\nimg/0.png,\xff\xfe\n"),
        ("t.csv", b"\xff\xfeimage\x00,label\n"),
        ("t.parquet", b"PAR1 not at all"),
        ("t.parquet", b""),
    ],
)
def test_tables_refuse_damaged_files(folder, name, content):
    (folder / name).write_bytes(content)
    error = fail(folder / name)
    assert isinstance(error, DataError)
    assert "can't be read as a" in error.message
    assert "\n" not in error.message


def test_tables_leave_parquet_files_with_images_in_them_to_their_own_reader(folder):
    path = folder / "t.parquet"
    column = pa.array([{"bytes": b"x", "path": "a"}])
    pa.parquet.write_table(pa.table({"image": column, "label": [1]}), path)
    assert open_data(path).reader.read(0) == b"x"


def test_tables_take_odd_cells_as_data(folder):
    odd = folder / "img" / "-a b\n'ü.png"
    odd.write_bytes(b"bytes")
    path = write(folder, f'image,label\n"img/{odd.name}","=1+1"\nimg/0.png,"<b>\x1b[1m"\n')
    data = open_data(path)
    assert data.reader.read(0) == b"bytes"
    assert data.samples.class_names == ("<b>\x1b[1m", "=1+1")


def test_tables_reader_leaves_no_file_open(folder):
    (folder / "img" / "folder.png").mkdir()
    data = open_data(write(folder, "image,label\nimg/0.png,a\nimg/folder.png,b\nimg/1.png,b\n"))
    gc.collect()  # files that earlier tests left to the collector
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        data.reader.read(0)
        with pytest.raises(ImageError, match="not a regular file"):
            data.reader.read(1)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
