"""Rows that are one row of the dataset below are kept in one split, or told."""

import numpy as np
import torch
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from torchloupe.data.sources import open_data
from torchloupe.data.split import split_samples


def whole(count=40):
    return TensorDataset(torch.rand(count, 3, 4, 4), torch.arange(count) % 2)


def test_repeated_rows_stay_in_one_split():
    data = open_data(Subset(whole(), [*range(40), *range(20)]))
    assert data.notes == (
        "20 rows are of the dataset again, by repeated indices: all rows of one image are kept in "
        "one split",
    )
    splits = split_samples(data.samples, seed=0)
    parts = [set((rows % 40).tolist()) for rows in (splits.train, splits.val, splits.test)]
    assert all(parts) and sum(map(len, parts)) == 40


def test_a_dataset_joined_with_itself_is_known():
    data = open_data(ConcatDataset([base := whole(6), base]))
    assert data.samples.groups.tolist() == [*range(6), *range(6)]


def test_subsets_that_overlap_are_told():
    base = whole()
    data = open_data((Subset(base, range(30)), Subset(base, np.arange(20, 40))))
    assert data.notes[-1].startswith("10 of 20 rows of val are rows of another split too")
    assert data.samples.groups is None


def test_nothing_is_said_of_other_datasets():
    base = whole()
    assert open_data((Subset(base, range(30)), Subset(base, range(30, 40)))).notes == ()
    assert open_data(whole()).samples.groups is None


def test_one_dataset_given_for_two_splits_is_told_without_subsets():
    dataset = whole()
    (note,) = [note for note in open_data((dataset, dataset)).notes if "another split" in note]
    assert note == (
        "40 of 40 rows of val are rows of another split too, of the same dataset: the score is too "
        "good; give each split a dataset"
    )
