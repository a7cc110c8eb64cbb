"""Tests of groups of images by a column."""

import numpy as np
import pytest
from trees import fail, plant, write

from torchloupe.data.sources import open_data


def table(folder, header, rows):
    plant(folder, *(f"{k}.png" for k in range(len(rows))))
    lines = [",".join((f"{k}.png", *map(str, row))) for k, row in enumerate(rows)]
    return write(folder, "t.csv", header, *lines)


def rows(count, groups):
    return [("ab"[k % 2], (k // 2) % groups) for k in range(count)]


@pytest.mark.parametrize(("column", "groups"), [("patient_id", 6), ("session", 12), ("Case", 12)])
def test_groups_stay_together(tmp_path, column, groups):
    data = open_data(table(tmp_path, f"image,label,{column}", rows(48, groups)))
    assert len(np.unique(data.samples.groups)) == groups
    assert data.notes[0].startswith(f"images of one '{column}' stay in one split")


@pytest.mark.parametrize(("column", "groups"), [("session", 4), ("video", 9)])
def test_few_groups_by_a_doubtful_name_are_none(tmp_path, column, groups):
    data = open_data(table(tmp_path, f"image,label,{column}", rows(48, groups)))
    assert data.samples.groups is None
    assert data.notes == ()


@pytest.mark.parametrize(
    "column",
    [
        *("eye_id", "exam_id", "AccessionNumber", "SeriesInstanceUID", "empi_anon"),
        *("anon_patientid", "scan_id", "biopsy_id", "tumor_id", "plant_id", "tree_id"),
        *("source_image", "original_image", "parent_id"),
    ],
)
def test_groups_have_many_names(tmp_path, column):
    data = open_data(table(tmp_path, f"image,label,{column}", rows(48, 12)))
    assert len(np.unique(data.samples.groups)) == 12


@pytest.mark.parametrize("column", ["obs_id", "tile_id", "location", "camera", "household", "site"])
def test_columns_that_may_be_groups_are_noted(tmp_path, column):
    data = open_data(table(tmp_path, f"image,label,{column}", rows(48, 12)))
    assert data.samples.groups is None
    assert data.notes == (
        f"column '{column}' may say which images belong together, and is not used: call it group "
        "to keep those of one value in one split",
    )


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("obs_id", rows(48, 4)),  # few values
        ("obs_id", [("ab"[k % 2], k) for k in range(48)]),  # each is one image
        ("genus_id", [(f"c{k % 12}", k % 12) for k in range(48)]),  # as the classes
        ("colour", rows(48, 12)),
        ("obs_id,split", [("ab"[k % 2], f"{k // 2 % 12},{'train' if k < 24 else 'test'}") for k in
                          range(48)]),
    ],
)  # fmt: skip
def test_other_columns_are_not_noted_as_groups(tmp_path, column, cells):
    assert open_data(table(tmp_path, f"image,label,{column}", cells)).notes == ()


def test_groups_that_are_classes_are_noted(tmp_path):
    whole = [("ab"[k % 2], f"{'ab'[k % 2]}{k % 10}") for k in range(40)]
    assert open_data(table(tmp_path, "image,label,patient", whole)).samples.groups is not None
    whole = [("abcd"[k % 4], k % 4) for k in range(40)]
    data = open_data(table(tmp_path, "image,label,patient", whole))
    assert data.samples.groups is None
    assert data.notes == (
        "images of one 'patient' are not kept in one split: a class has only one",
    )


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("image,animal,colour", ("cat dog", "red blue")),
        ("image,result,operator", ("valid invalid", "ann bob")),
        ("image,vehicle,colour", ("car train", "red blue")),
        ("image,stage,sex", ("I II", "f m")),
        ("image,role,gender", ("nurse doctor", "f m")),
    ],
)
def test_columns_that_may_be_the_label_are_not_taken_away(tmp_path, header, cells):
    words = [cell.split() for cell in cells]
    listed = [(words[0][k % 2], words[1][(k // 2) % 2]) for k in range(12)]
    error = fail(table(tmp_path, header, listed))
    assert "no column that is surely the label" in error.message
