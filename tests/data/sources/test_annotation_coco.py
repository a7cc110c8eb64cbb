"""COCO: ids of images and categories, as numbers or texts, and ids that lead nowhere."""

import json

import pytest
from trees import fail, ids, labels, plant, write

from torchloupe.data.sources import open_data
from torchloupe.data.sources.annotation_coco import is_coco, read_coco

NAMES = ["cat", "dog", "emu"]


def coco(*annotations, first=1, images=6):
    return {
        "images": [{"id": k, "file_name": f"{k}.png"} for k in range(images)],
        "categories": [{"id": k, "name": name} for k, name in enumerate(NAMES, first)],
        "annotations": [{"image_id": i, "category_id": c} for i, c in annotations],
    }


def save(folder, content):
    plant(folder, *(f"{k}.png" for k in range(6)))
    return write(folder, "labels.json", json.dumps(content))


@pytest.mark.parametrize(
    ("first", "given", "message", "hint"),
    [
        (1, 0, "'0'; its ids are '1', '2', '3'", "add 1 to each category_id"),
        (0, 1, "'3'; its ids are '0', '1', '2'", "subtract 1 from each category_id"),
        (1, 7, "'7', '8', '9'; its ids are '1', '2', '3'", "add 7 to `categories`"),
    ],
)
def test_categories_that_are_not_listed_are_refused(tmp_path, first, given, message, hint):
    content = coco(*((k, given + k % 3) for k in range(6)), first=first)
    error = fail(save(tmp_path, content))
    assert "annotations have a category_id that `categories` lacks: " + message in error.message
    assert hint in error.hint


@pytest.mark.parametrize("kind", [str, float, int])
def test_ids_are_numbers_or_texts(tmp_path, kind):
    content = coco(*((kind(k), kind(k % 3 + 1)) for k in range(6)))
    assert labels(open_data(save(tmp_path, content))) == NAMES * 2


@pytest.mark.parametrize("name", ["images/{}.png", "{}.png", "{}"])
def test_images_are_named_by_file(tmp_path, name):
    plant(tmp_path / "images", *(f"{k}.png" for k in range(6)))
    content = coco(*((name.format(k), k % 3 + 1) for k in range(6)))
    content["images"] = [{"file_name": f"images/{k}.png"} for k in range(6)]
    data = open_data(write(tmp_path, "labels.json", json.dumps(content)))
    assert labels(data) == NAMES * 2


def test_herbarium(tmp_path):
    plant(tmp_path, *(f"train_images/{k}/00000__{k}.jpg" for k in range(6)))
    content = {
        "annotations": [{"genus_id": 1, "institution_id": 0, "category_id": str(k % 3),
                         "image_id": f"00000__{k}"} for k in range(6)],
        "images": [{"image_id": f"00000__{k}", "file_name": f"{k}/00000__{k}.jpg", "license": 0}
                   for k in range(6)],
        "categories": [{"category_id": k, "scientificName": name, "genus": "x"}
                       for k, name in enumerate(NAMES)],
        "genera": [{"genus_id": 1, "genus": "x"}],
        "institutions": [{"institution_id": 0, "collectionCode": "A"}],
        "distances": [[0, 1, 2.0]],
    }  # fmt: skip
    data = open_data(write(tmp_path, "train_metadata.json", json.dumps(content)))
    assert labels(data) == NAMES * 2
    assert ids(data)[0] == "train_images/0/00000__0.jpg"


def test_images_that_are_not_listed_are_noted_or_refused(tmp_path):
    content = coco(*((k, k % 3 + 1) for k in range(6)), (9, 1))
    data = open_data(save(tmp_path, content))
    assert data.notes == ("annotations of 1 image that `images` lacks are not used",)
    shifted = coco(*((k + 1, k % 3 + 1) for k in range(6)))
    error = fail(save(tmp_path, shifted))
    assert "annotations have an image_id that `images` lacks: '6'" in error.message
    assert "counted from the same number" in error.hint


def test_categories_of_one_name_are_noted():
    content = coco((0, 1), (1, 2))
    content["categories"][2]["name"] = "cat"
    assert "several categories have one name and are one class: 'cat'" in read_coco(content)[1]


@pytest.mark.parametrize(("categories", "names"), [(NAMES, NAMES), ([], ["1", "2", "3"])])
def test_categories_may_be_plain_names_or_lack(categories, names):
    content = {**coco(*((k, k + 1) for k in range(3))), "categories": categories}
    assert [record["label"] for record in read_coco(content)[0]] == names


def test_other_lists_are_no_coco():
    assert is_coco(coco())
    assert not is_coco({"images": ["a.png"], "annotations": [{"label": "cat"}]})
    assert not is_coco({"images": [{"file_name": "a.png"}]})


@pytest.mark.parametrize(
    ("image", "category"), [("{:05}", None), (None, NAMES), ("{:05}", NAMES), ("{}", None)]
)
def test_ids_may_be_padded_and_categories_named(tmp_path, image, category):
    content = coco(*((image.format(k) if image else k, category[k % 3] if category else k % 3 + 1)
                     for k in range(6)))  # fmt: skip
    assert labels(open_data(save(tmp_path, content))) == NAMES * 2


def test_names_that_no_category_has_are_refused(tmp_path):
    error = fail(save(tmp_path, coco((0, "cat"), (1, "cow"))))
    assert "a category_id that `categories` lacks: 'cat', 'cow'" in error.message
    assert "add cat to `categories`" in error.hint
