"""Tests of choosing one of the files that a cell may mean."""

from pathlib import Path

import numpy as np
import pytest

from torchloupe.data.sources.image_matches import Match, choose_matches
from torchloupe.errors import DataError


def of(*paths):
    return [Match(path, f"{path.rpartition('/')[0]}/*") for path in paths]


def chosen(matches, given=None, labels=()):
    found = choose_matches(Path("t.csv"), matches, given, labels)
    return [match.path for match in found.values()]


def test_the_only_match_and_the_place_of_all_rows_are_taken():
    assert chosen({0: of("a/1"), 1: of("b/2")}) == ["a/1", "b/2"]
    assert chosen({0: of("a/1", "b/1"), 1: of("b/2")}) == ["b/1", "b/2"]


def test_labels_and_splits_decide_where_several_places_fit():
    both = {0: of("cat/1", "dog/1"), 1: of("cat/2", "dog/2")}
    assert chosen(both, labels=["dog", "cat"]) == ["dog/1", "cat/2"]
    split = {0: of("train/1", "test/1"), 1: of("train/2", "test/2")}
    assert chosen(split, np.array([0, 2], np.int8)) == ["train/1", "test/2"]
    with pytest.raises(DataError, match="fit files in several places"):
        chosen(both, labels=["dog", "bird"])
