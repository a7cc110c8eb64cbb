"""Files that a set should have and lacks."""

from pathlib import PurePath

import pytest

from torchloupe.data.sources.missing_files import note_missing, note_missing_batches


@pytest.mark.parametrize(
    ("names", "note"),
    [
        (
            ["train-00000-of-00003.parquet", "train-00002-of-00003.parquet"],
            ("1 of 3 files is missing: 'train-00001-of-00003.parquet'",),
        ),
        (
            ["a-1-of-3.tar", "a-3-of-3.tar", "b-00000-of-00001.tar"],
            ("1 of 3 files is missing: 'a-2-of-3.tar'",),
        ),
        (
            ["train-00000-of-00004-abc.parquet"],
            (
                "3 of 4 files are missing: 'train-00001-of-00004-abc.parquet', "
                "'train-00002-of-00004-abc.parquet', 'train-00003-of-00004-abc.parquet'",
            ),
        ),
        (["000000.tar", "000001.tar", "000003.tar"], ("1 of 4 files is missing: '000002.tar'",)),
        (["000001.tar", "000002.tar"], ()),
        (["set-2012.tar", "set-2020.tar"], ()),
        (["train/000.tar", "val/002.tar"], ()),
        (["a.tar", "b.tar"], ()),
    ],
)
def test_names_say_which_files_are_missing(names, note):
    assert note_missing(map(PurePath, names)) == note


@pytest.mark.parametrize("ending", ["", ".bin"])
def test_batches_that_are_missing_are_named(ending):
    names = [f"{name}{ending}" for name in ("data_batch_1", "data_batch_2", "data_batch_3")]
    assert note_missing_batches([*names, f"data_batch_4{ending}", f"test_batch{ending}"]) == (
        f"1 file of the set is missing: 'data_batch_5{ending}'",
    )
    more = [*names, *(f"data_batch_{k}{ending}" for k in (4, 5)), f"test_batch{ending}"]
    assert note_missing_batches(more) == ()
    assert note_missing_batches(["train", "test", "meta"]) == ()
