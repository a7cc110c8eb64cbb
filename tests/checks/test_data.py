"""Verdicts on data, each from a set that has the mistake and one that hasn't."""

import numpy as np

from torchloupe.checks.data import DataEvidence, check_data
from torchloupe.data.contract import Contract
from torchloupe.data.samples import Samples, make_ids
from torchloupe.data.split import Splits


def evidence(labels: list[int], test: list[int]) -> DataEvidence:
    rows = np.arange(len(labels))
    samples = Samples(make_ids(range(len(labels))), np.array(labels), ("bird", "cat", "dog"))
    train = np.setdiff1d(rows, test)
    return DataEvidence(
        samples=samples,
        splits=Splits(train, np.zeros(0, np.int64), np.array(test, dtype=np.int64)),
        contract=Contract("L", 1, (8, 8), class_names=samples.class_names),
        pixels=None,
        read=lambda _rows: [],
    )


def test_a_class_without_test_images_is_named() -> None:
    (found,) = check_data(evidence([0, 1, 2, 0, 1, 2], test=[0, 1]))
    assert (found.verdict, found.level, found.where) == ("class-never-tested", "warning", "test")
    assert found.seen == "1 class of 3 without an image in the test split: dog"


def test_nothing_is_said_where_all_classes_are_tested_or_none() -> None:
    assert check_data(evidence([0, 1, 2, 0, 1, 2], test=[0, 1, 2])) == []
    assert check_data(evidence([0, 1, 2, 0, 1, 2], test=[])) == []
