"""The ranking of training samples by how they were learned."""

import numpy as np

from torchloupe.trained.samples import SampleTable

# Epochs down, samples across: always right; forgotten once; twice; never learned; learned last.
RIGHT = np.array(
    [
        [1, 1, 1, 0, 0],
        [1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1],
    ],
    dtype=np.float16,
)


def table_of(right: np.ndarray) -> SampleTable:
    margin = np.where(np.isnan(right), np.nan, 2 * right - 1)
    values = np.stack([-margin, margin, right], axis=2).astype(np.float16)
    ids = np.array([f"s{k}" for k in range(right.shape[1])], dtype=object)
    return SampleTable(ids, np.array(["a"] * right.shape[1], dtype=object), values)


def test_samples_are_ranked_by_how_they_were_learned() -> None:
    table = table_of(RIGHT)
    assert table.forgotten().tolist() == [0, 1, 2, 0, 0]
    assert table.learned_epoch().tolist() == [0, 2, -1, -1, 3]
    ranked = {kind: places.tolist() for kind, places in table.rank().items()}
    assert ranked == {"forgotten": [2, 1], "never_learned": [3], "learned_last": [4, 1]}
    assert table.describe(3) == {
        "id": "s3",
        "label": "a",
        "forgotten": 0,
        "learned_epoch": None,
        "mean_margin": -1.0,
    }


def test_epochs_that_did_not_read_a_sample_are_passed_over() -> None:
    right = RIGHT.copy()
    right[1, 1] = np.nan
    table = table_of(right)
    assert table.forgotten()[1] == 0
    assert table.learned_epoch()[1] == 0
    assert table.mean_margin()[1] == 1.0
    unread = table_of(np.full((2, 1), np.nan, dtype=np.float16))
    assert [len(places) for places in unread.rank().values()] == [0, 0, 0]
