"""Mistakes in splits as people make them; sound splits give no verdict."""

import numpy as np
from numpy.typing import NDArray

from torchloupe.checks.near_copies import NearCopy
from torchloupe.checks.splits import (
    find_contradictions,
    find_missing_classes,
    find_shared_images,
    find_torn_groups,
    judge_near_copies,
)
from torchloupe.data.groups import with_groups
from torchloupe.data.samples import Samples, make_ids
from torchloupe.data.split import Splits, split_samples

PATIENTS = [f"class{p % 2}/patient{p}_{k}.png" for p in range(40) for k in range(5)]


def make_samples(labels: list[int], names: tuple[str, ...] = ("a", "b", "c")) -> Samples:
    return Samples(make_ids(range(len(labels))), np.array(labels), names)


def splits_of(count: int, val: list[int], test: list[int]) -> Splits:
    train = np.setdiff1d(np.arange(count), [*val, *test])
    return Splits(train, np.array(val, np.int64), np.array(test, np.int64))


def keys(count: int) -> NDArray[np.uint64]:
    return np.arange(count).astype(np.uint64)


def test_classes_without_images_in_a_split_are_named() -> None:
    samples = make_samples([0, 1, 2] * 4)
    found = find_missing_classes(samples, splits_of(12, val=[3, 4, 5], test=[0, 1]))
    assert [(v.verdict, v.level, v.where) for v in found] == [
        ("class-never-tested", "warning", "test")
    ]
    found = find_missing_classes(samples, splits_of(12, val=[3], test=[0, 1, 2]))
    assert [(v.verdict, v.level) for v in found] == [("class-never-validated", "note")]
    assert found[0].seen == "2 classes of 3 without an image in the val split: b, c"
    assert find_missing_classes(samples, splits_of(12, val=[], test=[0, 1, 2])) == []


def test_labels_that_count_from_one_are_recognised() -> None:
    (found,) = find_missing_classes(make_samples([1, 2] * 4), splits_of(8, [], []))
    assert found.verdict == "class-without-images"
    assert "count classes from 0" in found.remedy
    (found,) = find_missing_classes(make_samples([0, 1] * 4), splits_of(8, [], []))
    assert "take them out of the class names" in found.remedy


def test_multi_label_classes_are_counted() -> None:
    labels = np.array([[1, 0], [1, 1], [1, 0], [0, 1]], dtype=np.float32)
    samples = Samples(make_ids(range(4)), labels, ("a", "b"))
    (found,) = find_missing_classes(samples, splits_of(4, val=[], test=[0, 2]))
    assert found.seen.endswith("test split: b")


def test_test_images_that_are_all_in_train_are_an_error() -> None:
    content = keys(40)
    content[30:] = content[:10]
    splits = splits_of(40, val=[], test=list(range(30, 40)))
    (found,) = find_shared_images(make_samples([0, 1] * 20), splits, content)
    assert (found.verdict, found.level) == ("test-within-training", "error")
    assert found.samples[0] == "30"


def test_some_shared_images_are_a_warning_and_few_of_many_a_note() -> None:
    samples = make_samples([0, 1] * 500)
    for copies, level in ((10, "warning"), (2, "note")):
        content = keys(1000)
        content[700 : 700 + copies] = content[:copies]
        splits = splits_of(1000, val=[], test=list(range(700, 1000)))
        (found,) = find_shared_images(samples, splits, content)
        assert (found.verdict, found.level) == ("images-in-two-splits", level)
    assert find_shared_images(samples, splits, keys(1000)) == []


def test_one_image_under_two_labels_is_named() -> None:
    content = keys(6)
    content[5] = content[0]
    (found,) = find_contradictions(make_samples([0, 1, 2, 0, 1, 2]), content)
    assert (found.verdict, found.samples) == ("same-image-other-label", ("5",))
    content[5] = content[2]
    assert find_contradictions(make_samples([0, 1, 2, 0, 1, 2]), content) == []


def test_near_copies_count_only_across_splits() -> None:
    samples, splits = make_samples([0, 1] * 20), splits_of(40, val=[30, 31], test=[35, 36, 37, 38])
    rows = np.arange(40)
    within = [NearCopy(0, 1, 0.99, False), NearCopy(35, 36, 0.99, True)]
    assert judge_near_copies(samples, splits, rows, within) == []
    across = [NearCopy(k, 35 + k, 0.99, False) for k in range(3)]
    (found,) = judge_near_copies(samples, splits, rows, [*within, *across])
    assert (found.verdict, found.level, found.where) == (
        "near-copies-in-two-splits",
        "warning",
        "train and test",
    )
    assert found.samples == ("35", "36", "37")
    (found,) = judge_near_copies(samples, splits, rows, across[:1])
    assert found.level == "note"


def test_torn_groups_are_named_with_the_setting_that_mends_them() -> None:
    labels = np.array([int(name.startswith("class1")) for name in PATIENTS])
    samples = Samples(make_ids(PATIENTS), labels, ("class0", "class1"))
    (found,) = find_torn_groups(samples, split_samples(samples))
    assert (found.verdict, found.level) == ("groups-torn", "warning")
    pattern = found.remedy.partition("data.group=")[2].partition("'")[0]
    mended = with_groups(samples, pattern)
    assert find_torn_groups(mended, split_samples(mended)) == []
    silent = with_groups(samples, "none")
    assert find_torn_groups(silent, split_samples(silent)) == []


def test_groups_of_the_data_that_its_own_splits_tear_are_named() -> None:
    samples = Samples(make_ids(range(40)), np.arange(40) % 2, ("a", "b"), groups=np.arange(40) // 4)
    given = (np.arange(40) % 4 == 3).astype(np.int8) * 2
    (found,) = find_torn_groups(samples, split_samples(samples, given=given))
    assert "10 of 10 groups of the data have images in several splits" in found.seen
