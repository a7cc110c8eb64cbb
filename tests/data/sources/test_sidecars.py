"""Files that stand for one image each: named, with what to do, and never read in silence."""

import json

import pytest
from trees import fail, plant, write

from torchloupe.data.sources.sidecars import lists_ids

DARWIN = '{"item": {"name": "0.jpg"}, "annotations": [{"name": "cat", "tag": {}}]}'
SHAPES = json.dumps({"shapes": [{"label": "cat", "points": [[1, 2]], "shape_type": "rectangle"}]})
XML = "<annotation><object><name>cat</name><bndbox><xmin>1</xmin></bndbox></object></annotation>"


@pytest.mark.parametrize(
    ("image", "file", "text", "is_detection"),
    [
        ("{}.jpg", "{}.json", '{"label": "cat"}', False),
        ("train/{}.jpg", "train/{}.txt", "cat", False),
        ("images/{}.jpg", "labels/{}.txt", "3", False),
        ("ds/img/{}.jpg", "ds/ann/{}.jpg.json", '{"tags": [{"name": "cat"}]}', False),
        ("images/train/{}.jpg", "labels/train/{}.txt", "0 0.5 0.5 0.1 0.2", True),
        ("images/{}.jpg", "labels/{}.txt", "0 0.5 0.5 0.1 0.2\n1 0 0 0.1 0.2 0.3 0.4", True),
        ("JPEGImages/{}.jpg", "Annotations/{}.xml", XML, True),
        ("{}.jpg", "{}.json", SHAPES, True),
        ("images/{}.jpg", "annotations/{}.json", DARWIN, False),  # V7 Darwin
        ("photos/{}.jpg", "anno/{}.jpg.json", DARWIN, False),
        ("images/{}.jpg", "annotations/{}.json", DARWIN.replace("tag", "bounding_box"), True),
        ("train/images/{}.jpg", "train/annotations/{}.json", DARWIN, False),
        ("images/{}.jpg", "csv/{}.csv", "image,label", False),
    ],
)
def test_a_file_for_each_image_is_named(tmp_path, image, file, text, is_detection):
    for k in range(4):
        plant(tmp_path, image.format(k))
        write(tmp_path, file.format(k), text)
    error = fail(tmp_path)
    assert f"for each image, such as '{file.format(0)}'" in error.message.replace("../", "")
    assert ("labels of object detection" in error.message) == is_detection
    assert ("cut the boxes out" if is_detection else "into one labels.csv") in error.hint


def test_a_file_for_each_image_is_named_beside_masks_and_in_splits(tmp_path):
    for k in range(4):
        plant(tmp_path / "one", f"images/{k}.jpg", f"masks/{k}.png")
        write(tmp_path / "one", f"annotations/{k}.json", DARWIN)
        plant(tmp_path / "two", f"train/images/{k}.jpg", f"valid/images/{k}.jpg")
        write(tmp_path / "two", f"valid/annotations/{k}.json", DARWIN)
    for name in ("one", "two"):
        assert "has a file for each image, such as" in fail(tmp_path / name).message


def test_a_table_beside_such_files_is_still_named(tmp_path):
    for k in range(4):
        plant(tmp_path, f"images/{k}.jpg")
        write(tmp_path, f"annotations/{k}.json", DARWIN)
    table = write(tmp_path, "annotations/labels.csv", "image,label", "0.jpg,cat")
    assert fail(tmp_path).hint == f"did you mean '{table}'?"


def test_a_few_such_files_say_nothing(tmp_path):
    plant(tmp_path, *(f"{k}.jpg" for k in range(4)))
    write(tmp_path, "0.txt", "cat")
    assert fail(tmp_path).message == f"{tmp_path} holds 4 images but no class folders"


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.txt", "001 cat\n002 dog\n003 cat", True),
        ("a.txt", "001\n002\n003", False),  # no labels
        ("a.txt", "some words on 001", False),
        ("a.json", '{"classes": ["cat"], "labels": {"001": 0, "002": 0, "003": 0}}', True),
        ("a.json", '{"author": "me"}', False),
        ("a.md", "001 cat\n002 dog", False),
    ],
)
def test_lists_of_ids_are_known(tmp_path, name, text, found):
    plant(tmp_path, *(f"images/00{k}.jpg" for k in range(1, 4)))
    path = write(tmp_path, name, text)
    assert lists_ids(path, tmp_path / "images") == found
    if found:
        assert fail(tmp_path).hint == f"did you mean '{path}'?"
