"""Tests of finding the columns that say the split."""

import pytest
from trees import fail, plant, write

from torchloupe.data.sources import open_data


def table(folder, column, cells):
    plant(folder, *(f"{k}.png" for k in range(len(cells))))
    rows = [f"{k}.png,{'ab'[k % 2]},{cell}" for k, cell in enumerate(cells)]
    return write(folder, "t.csv", f"image,label,{column}", *rows)


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("mode", "train train eval eval train train"),
        ("kind", "train train train eval eval eval"),
        ("data", "tr tr te te tr tr"),
        ("holdout", "0 0 1 1 0 0"),
        ("cohort", "derivation derivation validation validation derivation derivation"),
    ],
)
def test_columns_of_few_words_about_splits_are_noted(tmp_path, column, cells):
    data = open_data(table(tmp_path, column, cells.split()))
    assert data.given is None
    assert data.notes[0].startswith(f"column '{column}' looks like a split column but is not used")
    assert "=train tests" not in data.notes[0] and "=tr tests" not in data.notes[0]


@pytest.mark.parametrize("cells", ["x y x y x y", "tr tr tr tr tr tr", "te a b c d tr"])
def test_other_columns_are_not_noted(tmp_path, cells):
    assert open_data(table(tmp_path, "kind", cells.split())).notes == ()


def test_a_class_called_train_is_a_label(tmp_path):
    plant(tmp_path, *(f"{k}.png" for k in range(6)))
    rows = [f"{k}.png,{('train', 'car')[k % 2]}" for k in range(6)]
    data = open_data(write(tmp_path, "t.csv", "image,kind", *rows))
    assert data.samples.class_names == ("car", "train")
    assert data.notes == ()


@pytest.mark.parametrize(
    ("cells", "hint"),
    [
        ("trian trian trian valid test test", "data.split_column=split:val=valid:test=test;"),
        ("train train vaild vaild test test", "data.split_column=split:val=vaild:test=test;"),
        ("train train test test Unused Unused", "take the rows of 'Unused' out"),
        ("train train test test unlabeled val", "take the rows of 'unlabeled' out"),
        ("train train test test calib calib", "split:test=test trains with the rows of 'calib'"),
        ("foo foo foo foo test test", "split:test=test trains with the rows of 'foo'"),
        ("train train test test eval eval", "data.split_column=split:val=eval:test=test;"),
        ("2 2 2 2 1 0", "train with the others: data.split_column=split:val=CELL:test=CELL;"),
        ("te va xy tr tr tr", "data.split_column=split:val=CELL:test=CELL;"),
        ("TRAIN TRAIN TRAIN UNASSIGNED TEST TEST", "take the rows of 'UNASSIGNED' out"),
    ],
)
def test_hints_for_cells_that_name_no_split(tmp_path, cells, hint):
    path = table(tmp_path, "split", cells.split())
    assert hint in fail(path).hint
    if "=test" in hint:
        typed = hint.removeprefix("data.split_column=").partition(" ")[0]
        open_data(path, split_column=typed.strip(";"))


def test_empty_cells_of_a_split_are_named(tmp_path):
    cells = ["train", "train", "test", "test", "", ""]
    assert fail(table(tmp_path, "split", cells)).hint.startswith("fill the empty cells or take")
