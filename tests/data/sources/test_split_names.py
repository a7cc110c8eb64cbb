"""Names that name a split, and those that only sound like it."""

import pytest

from torchloupe.data.sources.split_names import (
    is_held_back,
    is_vague_name,
    read_split,
    read_split_name,
)
from torchloupe.data.split import TEST, TRAIN, VAL


@pytest.mark.parametrize(
    ("text", "part"),
    [
        *((name, TRAIN) for name in ("train", "Training", "TRAIN", "train_set", "trainval")),
        *((name, TRAIN) for name in ("Training set", "train-images", "TrainSet", "train_val")),
        *((name, VAL) for name in ("val", "valid", "Validation", "dev", "development", "valset")),
        *((name, TEST) for name in ("test", "Testing", "test_labels", "testdata", "Test Images")),
        *((name, None) for name in ("", "trains", "steam train", "train_test", "contest", "0")),
        *((name, None) for name in ("invalid", "validity", "testament", "PublicTest", "devil")),
    ],
)
def test_read_split_takes_what_names_a_split_and_nothing_else(text, part):
    assert read_split(text) == part


def test_read_split_name_keeps_the_other_words():
    assert read_split_name("seg_train").frame == ("seg",)
    assert read_split_name("train2017").frame == ("2017",)
    assert read_split_name("cats") is None


@pytest.mark.parametrize(
    ("text", "is_vague"),
    [
        ("eval", True),
        ("seg_pred", True),
        ("unlabeled data", True),
        ("evaluate", False),
        ("a", False),
    ],
)
def test_is_vague_name(text, is_vague):
    assert is_vague_name(text) == is_vague


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("test", True),
        ("Test images", True),
        ("val_256", True),
        ("eval", True),
        ("evaluate", True),
        ("hold-out", True),
        ("unlabeled data", True),
        ("train", False),
        ("test_tube", False),
        ("art_gallery", False),
        ("images", False),
    ],
)
def test_is_held_back(text, is_one):
    assert is_held_back(text) == is_one
