"""Exports of SageMaker Ground Truth and Labelbox, an object a line."""

import json

import pytest
from trees import fail, ids, labels, plant, write

from torchloupe.data.sources import open_data

CLASSES = ["cat", "dog", "dog", "cat"]


def manifest(number, name, **more):
    meta = {"class-name": name, "confidence": 0.9, "type": "groundtruth/image-classification"}
    return {"source-ref": f"s3://b/pics/{number}.png", "pet": 5, "pet-metadata": meta, **more}


def labelbox(number, name, question="animal", **more):
    answer = {"name": question, "radio_answer": {"name": name}}
    label = {"annotations": {"objects": [], "classifications": [answer]}}
    row = {"id": f"ck{number}", "external_id": f"{number}.png"}
    return {"data_row": row, "projects": {"p": {"name": "p", "labels": [label]}}, **more}


def lines(tmp_path, name, entries):
    plant(tmp_path, *(f"pics/{k}.png" for k in range(4)))
    return write(tmp_path, name, *map(json.dumps, entries))


@pytest.mark.parametrize("make", [manifest, labelbox])
@pytest.mark.parametrize("name", ["a.manifest", "a.ndjson", "a.jsonl"])
def test_names_of_classes_are_the_labels(tmp_path, make, name):
    data = open_data(lines(tmp_path, name, [make(k, c) for k, c in enumerate(CLASSES)]))
    assert ids(data) == [f"pics/{k}.png" for k in range(4)]
    assert labels(data) == CLASSES


def test_several_names_of_a_manifest_are_several_labels(tmp_path):
    meta = {"class-map": {"0": "cat", "3": "dog"}}
    entries = [manifest(k, c) for k, c in enumerate(CLASSES)]
    data = open_data(
        lines(tmp_path, "a.manifest", [{**entries[0], "pet-metadata": meta}, *entries[1:]])
    )
    assert data.samples.is_multi_label
    assert data.samples.labels.sum(axis=1).tolist() == [2, 1, 1, 1]


def test_images_without_an_answer_are_counted(tmp_path):
    entries = [labelbox(k, c) for k, c in enumerate(CLASSES)]
    entries[3]["projects"]["p"]["labels"] = []
    data = open_data(lines(tmp_path, "a.ndjson", entries))
    assert "1 image has no label and is not used" in data.notes
    assert labels(data) == CLASSES[:3]


def test_what_is_not_certain_is_refused(tmp_path):
    second = {"breed-metadata": {"class-name": "pug"}}
    error = fail(lines(tmp_path, "a.manifest", [manifest(k, "cat", **second) for k in range(4)]))
    assert "the labels of several jobs: 'pet', 'breed'" in error.message
    entries = [labelbox(k, c, f"question {k % 2}") for k, c in enumerate(CLASSES)]
    twice = entries[0]["projects"]["p"]["labels"] + entries[1]["projects"]["p"]["labels"]
    entries[0]["projects"]["p"]["labels"] = twice
    error = fail(lines(tmp_path, "b.ndjson", entries))
    assert "several questions about an image: 'question 0', 'question 1'" in error.message
    same = [labelbox(k, c) for k, c in enumerate(CLASSES)]
    same[0]["projects"]["p"]["labels"] += same[1]["projects"]["p"]["labels"]
    error = fail(lines(tmp_path, "c.ndjson", same))
    assert "people gave images different labels: '0.png'" in error.message
