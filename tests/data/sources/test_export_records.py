"""Records of exports: labels as texts or lists, and the splits that stand beside them."""

import json

import pytest
from trees import labels, plant, write

from torchloupe.data.sources import open_data
from torchloupe.data.sources.export_records import find_splits, make_records, pair_labels

SUBSETS = ["Train", "Train", "Validation", "Test"]
PARTS = [0, 0, 1, 2]


def cvat(subsets):
    images = [
        f'<image id="{k}" name="{k}.png" subset="{part}"><tag label="{"ab"[k % 2]}"/></image>'
        for k, part in enumerate(subsets)
    ]
    return "annotations.xml", "<annotations>" + "".join(images) + "</annotations>"


def coco(subsets, key="subset"):
    content = {
        "images": [{"id": k, "file_name": f"{k}.png", key: part} for k, part in enumerate(subsets)],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        "annotations": [{"image_id": k, "category_id": k % 2 + 1} for k in range(len(subsets))],
    }
    return "labels.json", json.dumps(content)


def datumaro(subsets):
    items = [
        {"id": str(k), "subset": part, "image": {"path": f"{k}.png"},
         "annotations": [{"type": "label", "label_id": k % 2}]}
        for k, part in enumerate(subsets)
    ]  # fmt: skip
    names = {"label": {"labels": [{"name": "a"}, {"name": "b"}]}}
    return "labels.json", json.dumps({"categories": names, "items": items})


def label_studio(subsets):
    tasks = [
        {"data": {"image": f"{k}.png", "split": part},
         "annotations": [{"result": [{"type": "choices", "value": {"choices": ["ab"[k % 2]]}}]}]}
        for k, part in enumerate(subsets)
    ]  # fmt: skip
    return "labels.json", json.dumps(tasks)


def labelbox(subsets):
    lines = []
    for k, part in enumerate(subsets):
        answer = {"name": "animal", "radio_answer": {"name": "ab"[k % 2]}}
        label = {"annotations": {"classifications": [answer]}}
        field = {"schema_name": "split", "value": [{"name": part}]}
        entry = {"data_row": {"external_id": f"{k}.png"}, "metadata_fields": [field],
                 "projects": {"p": {"labels": [label]}}}  # fmt: skip
        lines.append(json.dumps(entry))
    return "labels.ndjson", "\n".join(lines)


def via(subsets):
    files = {
        f"{k}.png9": {"filename": f"{k}.png", "regions": [],
                      "file_attributes": {"label": "ab"[k % 2], "subset": part}}
        for k, part in enumerate(subsets)
    }  # fmt: skip
    return "labels.json", json.dumps(files)


def fiftyone(subsets):
    samples = [
        {"filepath": f"/x/{k}.png", "tags": [part.lower()], "ground_truth": {"label": "ab"[k % 2]}}
        for k, part in enumerate(subsets)
    ]
    return "samples.json", json.dumps({"samples": samples})


@pytest.mark.parametrize("make", [cvat, coco, datumaro, label_studio, labelbox, via, fiftyone,
                                  lambda parts: coco(parts, "split")])  # fmt: skip
def test_subsets_of_exports_are_the_splits(tmp_path, make):
    plant(tmp_path, *(f"{k}.png" for k in range(8)))
    data = open_data(write(tmp_path, *make(SUBSETS * 2)))
    assert labels(data) == ["a", "b"] * 4
    assert data.given.tolist() == PARTS * 2


@pytest.mark.parametrize("make", [cvat, coco, datumaro])
def test_subsets_that_are_no_splits_are_noted(tmp_path, make):
    plant(tmp_path, *(f"{k}.png" for k in range(4)))
    data = open_data(write(tmp_path, *make(["north", "south"] * 2)))
    assert data.given is None
    assert "column 'subset' looks like a split column but is not used" in " ".join(data.notes)


@pytest.mark.parametrize("part", ["Train", "Test", "default"])
@pytest.mark.parametrize("make", [cvat, coco])
def test_one_subset_for_all_divides_nothing(tmp_path, make, part):
    plant(tmp_path, *(f"{k}.png" for k in range(4)))
    data = open_data(write(tmp_path, *make([part] * 4)))
    assert (data.given, data.notes) == (None, ())


def test_images_in_a_folder_for_each_subset_are_found(tmp_path):
    plant(tmp_path, *(f"images/{part}/{k}.png" for k, part in enumerate(SUBSETS * 2)))
    data = open_data(write(tmp_path, *cvat(SUBSETS * 2)))
    assert data.samples.ids[2] == "images/Validation/2.png"
    assert data.given.tolist() == PARTS * 2


def test_records_of_several_columns():
    columns = {"a": [["x"], [], []], "b": [["u", "v"], ["u"], []]}
    records, notes = make_records(["1.png", "2.png", "3.png"], columns)
    assert records == [
        {"file_name": "1.png", "a": "x", "b": ["u", "v"]},
        {"file_name": "2.png", "a": "", "b": ["u"]},
    ]
    assert notes == ("1 image has no label and is not used",)
    beside = [{"split": "train"}, {"split": "test"}]
    assert pair_labels([("1.png", ["x"]), ("2.png", ["y"])], beside)[0] == [
        {"file_name": "1.png", "label": "x", "split": "train"},
        {"file_name": "2.png", "label": "y", "split": "test"},
    ]


def test_cells_that_may_name_a_split():
    entry = {"id": 3, "Split": "train", "subset": "", "fold": 2, "is_train": True, "set": ["a"]}
    assert find_splits(entry) == {"Split": "train", "fold": 2, "is_train": True}
    assert find_splits(None) == {}
