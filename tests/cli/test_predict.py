"""Predictions as table, CSV, JSON and Parquet; names are data in each."""

import csv
import io
import json
import os
from pathlib import Path

import pytest
from pyarrow import parquet

from torchloupe.cli.predict import choose_format, refuse_failures, render, write_whole
from torchloupe.errors import DataError, ResourceError, UsageError
from torchloupe.trained.prediction import Prediction
from torchloupe.trained.prediction_rows import column_names, unicode_path

ODD = 'new\nline, "quoted" \x1b[31m.png'
PREDICTIONS = [
    Prediction("a.jpg", "cat", 0.9, {"cat": 0.9, "dog": 0.1}, ("cat",)),
    Prediction(ODD, "=1+1", 0.6, {"=1+1": 0.6, "cat": 0.4}, ("=1+1",)),
    Prediction("-bad.txt", error="not an image"),
    Prediction("b\udcff.jpg", "dog", 0.7, {"dog": 0.7, "cat": 0.3}, ("dog", "cat")),
]


def test_render_csv_is_read_back_as_it_was() -> None:
    text = render(PREDICTIONS, "csv", top=2).decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["path"] for row in rows] == ["a.jpg", ODD, "-bad.txt", "b%FF.jpg"]
    assert [row["label"] for row in rows] == ["cat", "=1+1", "", "dog|cat"]
    assert rows[0] == {
        "path": "a.jpg",
        "label": "cat",
        "confidence": "0.9",
        "label_2": "dog",
        "confidence_2": "0.1",
        "error": "",
    }
    assert rows[2]["error"] == "not an image"


def test_render_csv_keeps_its_columns_when_there_are_fewer_classes_than_top() -> None:
    lines = render(PREDICTIONS[:1], "csv", top=3).decode().splitlines()
    assert lines == [
        "path,label,confidence,label_2,confidence_2,label_3,confidence_3,error",
        "a.jpg,cat,0.9,dog,0.1,,,",
    ]


def test_render_json_is_read_back_as_it_was() -> None:
    found = json.loads(render(PREDICTIONS, "json", top=2))
    assert found[1] == {
        "path": ODD,
        "label": "=1+1",
        "labels": ["=1+1"],
        "confidence": 0.6,
        "probabilities": {"=1+1": 0.6, "cat": 0.4},
    }
    assert found[2] == {"path": "-bad.txt", "error": "not an image"}


def test_render_parquet_is_read_back_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "labels.parquet"
    write_whole(file, render(PREDICTIONS, "parquet", top=1))
    assert parquet.read_table(file).to_pylist() == [
        {"path": "a.jpg", "label": "cat", "confidence": 0.9, "error": None},
        {"path": ODD, "label": "=1+1", "confidence": 0.6, "error": None},
        {"path": "-bad.txt", "label": None, "confidence": None, "error": "not an image"},
        {"path": "b%FF.jpg", "label": "dog|cat", "confidence": 0.7, "error": None},
    ]


def test_render_table_has_one_printable_line_an_image() -> None:
    lines = render(PREDICTIONS, "table", top=2).decode().splitlines()
    assert len(lines) == len(PREDICTIONS)
    assert all(line.isprintable() for line in lines)
    assert lines[0].split() == ["a.jpg", "cat", "90.00", "%", "dog", "10.00", "%"]
    assert lines[2].split(maxsplit=2)[2] == "can't be read: not an image"


def test_column_names_follow_top() -> None:
    assert column_names(1) == ["path", "label", "confidence", "error"]
    assert column_names(2)[3:] == ["label_2", "confidence_2", "error"]


def test_unicode_path_spells_bytes_that_are_no_text() -> None:
    assert unicode_path(os.fsdecode(b"caf\xc3\xa9 \xff\x80.jpg")) == "café %FF%80.jpg"


@pytest.mark.parametrize(
    ("asked", "out", "kind"),
    [
        (None, None, "table"),
        ("json", "x.csv", "json"),
        (None, "x.CSV", "csv"),
        (None, "x.parquet", "parquet"),
        (None, "x.txt", "table"),
    ],
)
def test_choose_format_follows_what_was_asked_then_the_ending(
    asked: str | None, out: str | None, kind: str
) -> None:
    assert choose_format(asked, out) == kind


def test_choose_format_refuses_a_format_it_does_not_know() -> None:
    with pytest.raises(UsageError) as caught:
        choose_format("cvs", None)
    assert caught.value.message == "--format takes table, csv, json, parquet, got 'cvs'"
    assert caught.value.hint == "did you mean 'csv'?"


def test_refuse_failures_names_the_images_that_could_not_be_read() -> None:
    with pytest.raises(DataError) as caught:
        refuse_failures(PREDICTIONS)
    assert caught.value.message == "1 of 4 images can't be read: -bad.txt (not an image)"
    assert caught.value.hint == "its row has the reason; the others are labelled"


@pytest.mark.parametrize(
    ("count", "message", "hint"),
    [
        (1, "the image can't be read: -bad.txt (not an image)", "its row has the reason"),
        (
            2,
            "2 of 2 images can't be read: -bad.txt (not an image); ",
            "their rows have the reason",
        ),
    ],
)
def test_refuse_failures_knows_that_no_image_was_read(count: int, message: str, hint: str) -> None:
    with pytest.raises(DataError) as caught:
        refuse_failures([Prediction("-bad.txt", error="not an image")] * count)
    assert caught.value.message.startswith(message) and caught.value.hint == hint


def test_refuse_failures_names_ten_of_many() -> None:
    many = [Prediction(f"{k}.txt", error="no image") for k in range(12)]
    with pytest.raises(DataError, match=r"^12 of 12 .*9\.txt \(no image\); and 2 more"):
        refuse_failures(many)


def test_write_whole_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("old")
    write_whole(file, b"new")
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


def test_write_whole_refuses_a_file_as_its_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match=r"can't write .*labels\.csv: Not a directory"):
        write_whole(tmp_path / "file" / "labels.csv", b"new")


def test_write_whole_refuses_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"can't write .*labels\.csv: No such file"):
        write_whole(tmp_path / "none" / "labels.csv", b"new")
