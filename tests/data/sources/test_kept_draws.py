"""Datasets that keep what they drew are noted; those that keep what they read are not."""

import pytest
import torch
from torch.utils.data import DataLoader, Subset

from torchloupe.data.sources import open_data

IMAGES = torch.rand(12, 1, 6, 6)


class Keeping:
    """Keeps items by row; noise is drawn before they are kept, after it, or not at all."""

    def __init__(self, draws="before", tells=True):
        self.kept, self.names, self.draws = {}, {0: "a", 1: "b", 2: "c"}, draws
        if tells:
            self.targets = [row % 3 for row in range(12)]

    def __len__(self):
        return 12

    def __getitem__(self, row):
        assert self.names[row % 3]
        if row not in self.kept:
            noise = torch.randn(1, 6, 6) if self.draws == "before" else 0
            self.kept[row] = IMAGES[row] + noise
        return self.kept[row] + (torch.randn(1, 6, 6) if self.draws == "after" else 0), row % 3


@pytest.mark.parametrize(
    "wrap",
    [
        lambda dataset: dataset,
        lambda dataset: Subset(dataset, range(2, 11)),
        lambda dataset: DataLoader(dataset, 4),
    ],
)
@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize("draws", ["before", "after", "never"])
def test_a_dataset_that_keeps_what_it_drew_is_noted(draws, tells, wrap):
    dataset = Keeping(draws, tells)
    notes = [note for note in open_data(wrap(dataset)).notes if "keeps rows" in note]
    assert len(notes) == (draws == "before")
    assert all("`kept` of Keeping" in note for note in notes)
    assert dataset.names == {0: "a", 1: "b", 2: "c"}
