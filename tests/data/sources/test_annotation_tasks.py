"""Label Studio: answers to one question are labels; to several, columns of which one is chosen."""

import json

import pytest
from trees import fail, labels, plant, write

from torchloupe.data.sources import open_data
from torchloupe.data.sources.annotation_tasks import are_tasks, read_tasks

SPECIES = ["cat", "dog", "dog", "cat"]


def choice(question, *names, **more):
    return {"from_name": question, "type": "choices", "value": {"choices": list(names), **more}}


def box(*names):
    value = {"x": 1, "y": 2, "width": 3, "height": 4, "rectanglelabels": list(names)}
    return {"from_name": "part", "type": "rectanglelabels", "value": value}


def task(k, *results):
    return {"data": {"image": f"{k}.png"}, "annotations": [{"result": list(results)}]}


def save(folder, tasks):
    plant(folder, *(f"{k}.png" for k in range(4)))
    return write(folder, "tasks.json", json.dumps(tasks))


def test_several_questions_are_refused_until_one_is_chosen(tmp_path):
    tasks = [
        task(k, choice("species", name), choice("quality", "good" if k else "bad"))
        for k, name in enumerate(SPECIES)
    ]
    path = save(tmp_path, tasks)
    error = fail(path)
    assert "'answers.species', 'answers.quality'" in error.message
    assert "data.label_column=" in error.hint
    assert labels(open_data(path, label_column="answers.species")) == SPECIES
    assert labels(open_data(path, label_column="answers.quality")) == ["bad", *["good"] * 3]


def test_several_answers_to_one_question_are_several_labels(tmp_path):
    tasks = [task(k, choice("species", name, "emu")) for k, name in enumerate(SPECIES)]
    assert labels(open_data(save(tmp_path, tasks))) == [f"{name}+emu" for name in SPECIES]


@pytest.mark.parametrize(
    "other",
    [
        box("ear", "tail"),
        choice("part", "ear", x=1, y=2, width=3, height=4),
        {"from_name": "part", "type": "rating", "value": {"rating": 4}},
    ],
)
def test_answers_about_the_whole_image_come_first(tmp_path, other):
    tasks = [task(k, other, choice("species", name)) for k, name in enumerate(SPECIES)]
    data = open_data(save(tmp_path, tasks))
    assert labels(data) == SPECIES
    assert "the answers to 'species' are read, and those to 'part' are not used" in data.notes


@pytest.mark.parametrize(
    ("result", "label"),
    [
        (box("cat"), "cat"),
        ({"type": "rating", "value": {"rating": 4}}, "4"),
        ({"type": "taxonomy", "value": {"taxonomy": [["pet", "cat"]]}}, "pet > cat"),
    ],
)
def test_other_answers_count_where_there_are_no_choices(result, label):
    assert read_tasks([task(0, result)]) == ([{"file_name": "0.png", "label": label}], ())


def test_people_may_answer_in_another_order(tmp_path):
    tasks = [task(k, choice("species", name, "emu")) for k, name in enumerate(SPECIES)]
    tasks[0]["annotations"] *= 2
    tasks[0]["annotations"][1] = {"result": [choice("species", "emu", "cat")]}
    assert read_tasks(tasks)[0][0]["label"] == ["cat", "emu"]


def test_other_objects_are_no_tasks():
    assert are_tasks([task(0)])
    assert not are_tasks([])
    assert not are_tasks([{"image": "1.png", "label": "cat"}])
