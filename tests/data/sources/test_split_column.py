"""Split columns under any name: used where their cells are certain, pointed out where not."""

import pytest
from trees import fail, plant, write

from torchloupe.data.sources import open_data
from torchloupe.errors import DataError


@pytest.fixture
def folder(tmp_path):
    return plant(tmp_path, *(f"{k}.png" for k in range(8)))


def table(folder, header, *rows):
    lines = [f"{k}.png,{'ab'[k % 2]},{row}" for k, row in enumerate(rows)]
    return write(folder, "t.csv", f"image,label,{header}", *lines)


@pytest.mark.parametrize(
    ("name", "cells", "given"),
    [
        ("is_valid", "False False False False True True", [0, 0, 0, 0, 1, 1]),
        ("is_valid", "0 0 0 0 1 1", [0, 0, 0, 0, 1, 1]),
        ("IsTest", "no no no no yes yes", [0, 0, 0, 0, 2, 2]),
        ("set", "train train train train test test", [0, 0, 0, 0, 2, 2]),
        ("fold", "train train train train val val", [0, 0, 0, 0, 1, 1]),
        ("phase", "TRAIN TRAIN VAL VAL TEST TEST", [0, 0, 1, 1, 2, 2]),
        ("partition", "training training dev dev test_set test_set", [0, 0, 1, 1, 2, 2]),
        ("data set", "train train valid valid test test", [0, 0, 1, 1, 2, 2]),
        ("Usage", "Training Training PublicTest PublicTest PrivateTest PrivateTest",
         [0, 0, 1, 1, 2, 2]),
        ("Usage", "Training Training Training Training PublicTest PublicTest", [0, 0, 0, 0, 2, 2]),
        ("anything", "train train train train test test", [0, 0, 0, 0, 2, 2]),
        ("is_train", "1 1 1 1 0 0", [0, 0, 0, 0, 2, 2]),
        ("isTrain", "True True False True True False", [0, 0, 2, 0, 0, 2]),
        ("partition", "0 0 0 0 1 1 2 2", [0, 0, 0, 0, 1, 1, 2, 2]),
        ("set", "0 0 0 0 1 1 2 2", [0, 0, 0, 0, 1, 1, 2, 2]),
        ("subset", "tr tr va va te te", [0, 0, 1, 1, 2, 2]),
        ("set", "learning learning learning learning test test", [0, 0, 0, 0, 2, 2]),
        ("category", "train train train train test test", [0, 0, 0, 0, 2, 2]),
        ("istest", "False False False False True True", [0, 0, 0, 0, 2, 2]),
        ("split", "dev dev dev dev test test", [0, 0, 0, 0, 2, 2]),
        ("part", "development development development development test test",
         [0, 0, 0, 0, 2, 2]),
        ("is_val", "0 0 0 0 1 1", [0, 0, 0, 0, 1, 1]),
    ],
)  # fmt: skip
def test_split_columns_are_used_under_any_name(folder, name, cells, given):
    data = open_data(table(folder, name, *cells.split()))
    assert data.given.tolist() == given
    assert data.samples.class_names == ("a", "b")
    words = ("train", "val", "test")
    counts = [f"{given.count(k)} {word}" for k, word in enumerate(words) if k in given]
    assert data.notes == (f"the split is that of column '{name}': {', '.join(counts)}",)


@pytest.mark.parametrize(
    ("name", "cells", "seen", "typed", "given"),
    [
        ("fold", "0 1 2 0 1 2", "'0', '1', '2'", "fold:test=2", [0, 0, 2, 0, 0, 2]),
        ("partition", "0 0 1 1 2 2", "'0', '1', '2'", "partition:test=2", [0, 0, 0, 0, 2, 2]),
        ("set", "1 1 1 1 0 0", "'0', '1'", "set:test=0", [0, 0, 0, 0, 2, 2]),
        # of records that are sound, it may be
        ("valid", "1 1 1 1 1 0", "'0', '1'", "valid:test=0", [0, 0, 0, 0, 0, 2]),
        ("is_valid", "1 1 1 1 1 0", "'0', '1'", "is_valid:test=0", [0, 0, 0, 0, 0, 2]),
        ("eval", "0 0 0 0 1 1", "'0', '1'", "eval:test=1", [0, 0, 0, 0, 2, 2]),
        ("phase", "day night night day day night", "'day', 'night'", "phase:test=night",
         [0, 2, 2, 0, 0, 2]),
    ],
)  # fmt: skip
def test_split_columns_that_are_not_certain_are_named_with_the_setting_that_uses_them(
    folder, name, cells, seen, typed, given
):
    path = table(folder, name, *cells.split())
    data = open_data(path)
    assert data.given is None
    assert data.notes == (
        f"column '{name}' looks like a split column but is not used: it holds {seen}; "
        f"--set data.split_column={typed} tests with the rows of '{typed.partition('=')[2]}'",
    )
    assert open_data(path, split_column=typed).given.tolist() == given
    assert open_data(path, split_column="none").notes == ()


@pytest.mark.parametrize(
    ("name", "cells", "typed", "given"),
    [
        ("fold", "0 1 2 3 4 0", "fold:val=3:test=0,4", [2, 0, 0, 1, 2, 2]),
        ("partition", "0 0 1 1 2 2", "partition", [0, 0, 1, 1, 2, 2]),
        ("mine", "train train test test train val", "mine", [0, 0, 2, 2, 0, 1]),
        ("is_valid", "0 0 1 1 1 1", "is_valid", [0, 0, 1, 1, 1, 1]),
    ],
)
def test_split_column_says_which_column_and_which_cells(folder, name, cells, typed, given):
    data = open_data(table(folder, name, *cells.split()), split_column=typed)
    assert data.given.tolist() == given
    assert data.notes[0].startswith(f"the split is that of column '{name}': ")


@pytest.mark.parametrize(
    ("typed", "message", "hint"),
    [
        ("flod", "{path} has no column 'flod' (data.split_column)", "did you mean 'fold'?"),
        ("fold:test=7", "{path}: column 'fold' holds no '7' (data.split_column)",
         "known: 0, 1, 2"),
        ("fold:rest=2", "data.split_column=fold:rest=2 can't be read",
         "for example data.split_column=fold:val=3:test=4"),
        ("fold", "{path}: column 'fold' holds '0', '1', '2'",
         "say which are for what: data.split_column=fold:test=2; "
         "data.split_column=none uses no column"),
    ],
)  # fmt: skip
def test_split_column_refuses_what_the_table_lacks(folder, typed, message, hint):
    path = table(folder, "fold", *"012011")
    error = fail(path, split_column=typed)
    assert (error.message, error.hint) == (message.format(path=path), hint)


def test_split_columns_of_flags_are_used_together(folder):
    rows = ["1,0,0", "1,0,0", "1,0,0", "1,0,0", "0,1,0", "0,0,1"]
    data = open_data(table(folder, "train,val,test", *rows))
    assert data.given.tolist() == [0, 0, 0, 0, 1, 2]


def test_split_columns_are_no_labels(folder):
    lines = [f"{k}.png,{'train' if k < 4 else 'test'},{'ab'[k % 2]}" for k in range(6)]
    data = open_data(write(folder, "t.csv", "file,usage,kind", *lines))
    assert data.samples.class_names == ("a", "b")
    assert data.given.tolist() == [0, 0, 0, 0, 2, 2]


@pytest.mark.parametrize(
    ("name", "cells", "message", "hint"),
    [
        ("set", "train train train test test extra", "{path}: column 'set' holds 'extra'",
         "say which are for what: data.split_column=set:test=test trains with the rows of 'extra', "
         "data.split_column=set:val=extra:test=test does not; "
         "data.split_column=none uses no column"),
        ("mine,yours", "train,train train,test train,train train,test test,test test,train",
         "{path} has several columns of splits: 'mine', 'yours'",
         "say which: data.split_column=mine"),
    ],
)  # fmt: skip
def test_split_columns_refuse_what_contradicts(folder, name, cells, message, hint):
    path = table(folder, name, *cells.split())
    error = fail(path)
    assert isinstance(error, DataError)
    assert (error.message, error.hint) == (message.format(path=path), hint)


def test_the_hint_on_unknown_cells_keeps_what_is_known(tmp_path):
    plant(tmp_path, *(f"{k}.png" for k in range(6)))
    words = ["training", "training", "evaluation", "testing", "training", "training"]
    rows = [f"{k}.png,{'ab'[k % 2]},{word}" for k, word in enumerate(words)]
    path = write(tmp_path, "t.csv", "image,label,mode", *rows)
    error = fail(path)
    assert "data.split_column=mode:val=evaluation:test=testing;" in error.hint
    data = open_data(path, split_column="mode:val=evaluation:test=testing")
    assert data.given.tolist() == [0, 0, 1, 2, 0, 0]


@pytest.mark.parametrize("name", ["kfold", "cv_fold", "KFold"])
def test_folds_are_noted(tmp_path, name):
    plant(tmp_path, *(f"{k}.png" for k in range(6)))
    rows = [f"{k}.png,{'ab'[k % 2]},{k % 3}" for k in range(6)]
    data = open_data(write(tmp_path, "t.csv", f"image,label,{name}", *rows))
    assert f"column '{name}' looks like a split column but is not used" in data.notes[0]
