"""The split: exact shares, one side for one content, the data's own splits, and refusals."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchloupe.data.samples import Samples, make_ids
from torchloupe.data.split import TEST, TRAIN, VAL, split_samples
from torchloupe.errors import DataError


def make_samples(counts, *, groups=None, names=None):
    labels = np.repeat(np.arange(len(counts)), counts)
    names = names or tuple(f"class {k}" for k in range(len(counts)))
    return Samples(make_ids([f"img{k}" for k in range(len(labels))]), labels, names, groups)


def rows_of(splits):
    return [splits.train.tolist(), splits.val.tolist(), splits.test.tolist()]


def test_split_shares_each_class_by_the_fractions():
    samples = make_samples([100, 40, 20])
    splits = split_samples(samples, val_fraction=0.1, test_fraction=0.15, seed=3)
    assert samples.take(splits.val).class_counts().tolist() == [10, 4, 2]
    assert samples.take(splits.test).class_counts().tolist() == [15, 6, 3]
    assert sorted(chain(*rows_of(splits))) == list(range(160))
    assert splits.notes == ()


def test_split_depends_on_seed_and_ids_and_not_on_the_order_of_the_list():
    samples = make_samples([50, 50])
    first = split_samples(samples, seed=1)
    again = split_samples(samples, seed=1)
    assert rows_of(first) == rows_of(again)
    assert rows_of(split_samples(samples, seed=2)) != rows_of(first)
    turned = np.arange(100)[::-1].copy()
    moved = split_samples(samples.take(turned), seed=1)
    assert set(samples.ids[first.val]) == set(samples.take(turned).ids[moved.val])
    assert set(samples.ids[first.test]) == set(samples.take(turned).ids[moved.test])


def test_split_golden_rows():
    splits = split_samples(make_samples([10, 10]), seed=0)
    assert splits.val.tolist() == [2, 13]
    assert splits.test.tolist() == [0, 3, 15, 17]


def test_split_moves_few_when_a_sample_is_added():
    small, large = make_samples([200, 200]), make_samples([200, 201])
    before, after = split_samples(small, seed=0), split_samples(large, seed=0)
    moved = set(before.test.tolist()) ^ set(after.test.tolist())
    assert len(moved) <= 2


@settings(deadline=None, max_examples=60)
@given(
    counts=st.lists(st.integers(1, 12), min_size=2, max_size=6),
    copies=st.integers(1, 4),
    seed=st.integers(0, 1000),
    val=st.sampled_from([0.0, 0.1, 0.45]),
    test=st.sampled_from([0.0, 0.15, 0.45]),
)
def test_split_always_holds_its_promises(counts, copies, seed, val, test):
    samples = make_samples(counts)
    content = (np.arange(len(samples)) // copies).astype(np.uint64)  # copies cross classes too
    splits = split_samples(
        samples, content=content, val_fraction=val, test_fraction=test, seed=seed
    )
    assert sorted(chain(*rows_of(splits))) == list(range(len(samples)))
    assert (samples.take(splits.train).class_counts() > 0).all()
    sides = [set(content[rows]) for rows in (splits.train, splits.val, splits.test)]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    if val == 0:
        assert len(splits.val) == 0
    if test == 0:
        assert len(splits.test) == 0


def test_split_keeps_groups_and_copies_on_one_side_also_through_a_chain():
    # Rows 0 and 1 are one group, 1 and 2 one content, 2 and 3 one group: all four stay together.
    groups = np.array([0, 0, 1, 1, *range(2, 38)])
    content = np.arange(40, dtype=np.uint64)
    content[2] = content[1]
    samples = make_samples([20, 20], groups=groups)
    for seed in range(20):
        splits = split_samples(
            samples, content=content, val_fraction=0.3, test_fraction=0.3, seed=seed
        )
        side = np.zeros(40, int)
        side[splits.val], side[splits.test] = VAL, TEST
        assert len(set(side[:4])) == 1


def test_split_gives_thousands_of_tiny_classes_their_share_of_validation():
    splits = split_samples(make_samples([4] * 1000), val_fraction=0.1, test_fraction=0.1)
    assert len(splits.val) == 400
    assert len(splits.test) == 400
    assert "1,000 classes have fewer than 5 images" in splits.notes[0]


@pytest.mark.parametrize("counts", [[1, 1], [1, 30], [2, 2], [3, 3, 3]])
def test_split_leaves_every_class_a_training_image_when_classes_are_small(counts):
    samples = make_samples(counts)
    splits = split_samples(samples, val_fraction=0.4, test_fraction=0.5)
    assert (samples.take(splits.train).class_counts() > 0).all()


def test_split_says_so_when_there_is_nothing_to_hold_back():
    splits = split_samples(make_samples([1, 1]))
    assert splits.notes == (
        "2 classes have fewer than 5 images: 'class 0' (1), 'class 1' (1); expect mistakes there, "
        "and uncertain scores: a class has one test image or none",
        "too few images to hold some back for val and test",
    )


def test_split_respects_given_splits():
    samples = make_samples([10, 10])
    given = np.tile([TRAIN, TRAIN, VAL, TEST, TEST], 4).astype(np.int8)
    splits = split_samples(samples, given=given)
    assert rows_of(splits) == [np.flatnonzero(given == part).tolist() for part in (0, 1, 2)]


def test_split_carves_val_from_train_when_only_test_is_given():
    samples = make_samples([40, 40])
    given = np.tile([TRAIN, TRAIN, TRAIN, TEST], 20).astype(np.int8)
    splits = split_samples(samples, given=given, val_fraction=0.1)
    assert splits.test.tolist() == np.flatnonzero(given == TEST).tolist()
    assert samples.take(splits.val).class_counts().tolist() == [3, 3]
    assert not set(splits.val) & set(splits.test)


def test_split_leaves_test_empty_when_only_val_is_given():
    given = np.tile([TRAIN, VAL], 10).astype(np.int8)
    splits = split_samples(make_samples([10, 10]), given=given)
    assert len(splits.test) == 0
    assert splits.notes == (
        "the data has no test split: results are those of the validation images",
    )


def test_split_carves_both_when_all_is_given_as_train():
    samples = make_samples([40, 40])
    given = np.zeros(80, dtype=np.int8)
    assert rows_of(split_samples(samples, given=given)) == rows_of(split_samples(samples))


def test_split_names_images_that_given_splits_share():
    samples = make_samples([4, 4])
    given = np.array([0, 0, 0, 1, 0, 0, 2, 2], dtype=np.int8)
    content = np.array([1, 2, 3, 2, 5, 6, 7, 5], dtype=np.uint64)
    notes = split_samples(samples, given=given, content=content).notes
    assert "1 image of val is also in train, for example img3 = img1" in notes
    assert "1 image of test is also in train, for example img7 = img4" in notes


def test_split_names_identical_images_with_different_labels():
    content = np.arange(20, dtype=np.uint64)
    content[12] = content[3]
    notes = split_samples(make_samples([10, 10]), content=content).notes
    assert notes == (
        "1 image repeats another one's content under a different label, for example img12 = img3",
    )


def test_split_shares_multi_label_images_by_their_rarest_label():
    labels = np.zeros((100, 3), dtype=np.float32)
    labels[:, 0] = 1
    labels[:20, 1] = 1
    labels[90:, :] = 0  # no label at all
    samples = Samples(make_ids(range(100)), labels, ("all", "rare", "odd"))
    labels[40, 2] = 1
    splits = split_samples(samples, val_fraction=0.1, test_fraction=0.1)
    assert labels[splits.val][:, 1].sum() == 2
    assert labels[splits.test][:, 1].sum() == 2
    assert labels[splits.train][:, 2].sum() == 1
    assert sorted(chain(*rows_of(splits))) == list(range(100))


@pytest.mark.parametrize(
    ("counts", "names", "message"),
    [
        ([], (), "there is no image to learn from"),
        ([5], ("cat",), "there is only one class: 'cat'"),
        ([5, 0], ("cat", "d\x1b[1mog"), "no training image of 'd\\x1b[1mog'"),
    ],
)
def test_split_refuses_by_name(counts, names, message):
    with pytest.raises(DataError) as caught:
        split_samples(make_samples(counts, names=names))
    assert caught.value.message == message
    assert caught.value.hint


def test_split_refuses_a_class_that_is_only_in_val():
    with pytest.raises(DataError, match="no training image of 'class 1'"):
        split_samples(make_samples([4, 2]), given=np.array([0, 0, 0, 1, 1, 1], dtype=np.int8))


def test_numbered_classes_with_gaps_are_told_how_to_be_numbered():
    with pytest.raises(DataError) as caught:
        split_samples(make_samples([4, 0, 4], names=("0", "1", "2")))
    assert "np.unique(labels, return_inverse=True)[1]" in caught.value.hint


def test_a_number_far_above_the_others_may_mark_what_the_loss_ignores():
    names = tuple(map(str, range(8)))
    with pytest.raises(DataError, match="no training image of '3'") as caught:
        split_samples(make_samples([5, 5, 5, 0, 0, 0, 0, 4], names=names))
    assert caught.value.hint == (
        "where 7 marks what the loss ignores, take these rows out of the data: labels != 7; else "
        "number the classes from 0 without gaps: np.unique(labels, return_inverse=True)[1]"
    )


def test_split_works_on_a_hundred_thousand_images_of_ten_thousand_classes():
    splits = split_samples(make_samples([10] * 10_000), seed=5)
    assert len(splits.val) == 10_000
    assert len(splits.test) == 20_000  # 1.5 images a class round to 2


@pytest.mark.parametrize("counts", [[20, 31, 7], [3, 2, 50], [5] * 40])
def test_folds_test_each_image_once_and_share_out_each_class(counts):
    samples, folds = make_samples(counts), 5
    parts = [split_samples(samples, fold=(number, folds)) for number in range(1, folds + 1)]
    tested = np.concatenate([part.test for part in parts])
    assert sorted(tested) == list(range(len(samples)))
    sizes = [len(part.test) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    for part in parts:
        assert not set(part.train) & set(part.test)
        assert len(part.train) + len(part.val) + len(part.test) == len(samples)
        of_class = np.bincount(samples.labels[part.test], minlength=len(counts))
        assert (np.abs(of_class - np.array(counts) / folds) < 1).all()


def test_folds_keep_the_only_image_of_a_class_for_training():
    samples = make_samples([12, 1])
    for number in range(1, 4):
        assert 12 in split_samples(samples, fold=(number, 3)).train


def test_folds_keep_identical_images_together():
    samples = make_samples([12, 12])
    content = np.repeat(np.arange(8, dtype=np.uint64), 3)
    for number in range(1, 5):
        splits = split_samples(samples, content=content, fold=(number, 4))
        tested = set(content[splits.test])
        assert tested
        assert not tested & set(content[np.concatenate([splits.train, splits.val])])


def test_folds_are_refused_where_the_data_is_split_or_too_small():
    samples = make_samples([6, 6])
    with pytest.raises(DataError, match="names its own val or test images"):
        split_samples(samples, given=np.array([0, 1] * 6, np.int8), fold=(1, 3))
    with pytest.raises(DataError, match="50 folds of 12 images leave folds empty"):
        split_samples(samples, fold=(1, 50))


def deal_all(samples, folds, **facts):
    parts = [split_samples(samples, fold=(k, folds), **facts) for k in range(1, folds + 1)]
    tested = np.concatenate([part.test for part in parts])
    assert sorted(tested) == list(range(len(samples)))
    return [samples.class_counts(part.test) for part in parts], parts[0].notes


def test_folds_stay_even_where_a_picture_is_there_many_times():
    samples = make_samples([200, 150, 100])
    content = np.arange(450, dtype=np.uint64)
    content[:30] = 0
    content[200:240] = 200 + np.arange(40) // 4
    counts, notes = deal_all(samples, 5, content=content)
    assert [counted.tolist() for counted in counts] == [[40, 30, 20]] * 5
    assert notes == (
        "59 images are copies of others, most of them of img0 (30); data.copies=once trains on one "
        "of each",
    )


def test_folds_share_out_the_rest_where_one_picture_is_more_than_a_fold():
    samples = make_samples([138, 100])
    content = np.arange(238, dtype=np.uint64)
    content[:115] = 0
    counts, _ = deal_all(samples, 5, content=content)
    assert sorted(counted[0] for counted in counts) == [5, 6, 6, 6, 115]
    assert [counted[1] for counted in counts] == [20] * 5


def test_folds_stay_even_where_groups_hold_several_classes():
    groups = np.arange(600) * 7919 % 97 % 40
    samples = make_samples([300, 200, 100], groups=groups)
    counts, _ = deal_all(samples, 5)
    for counted in counts:
        assert (np.abs(counted - np.array([60, 40, 20])) <= 8).all()


def test_folds_of_images_without_copies_are_dealt_as_ever():
    samples = make_samples([12, 9])
    assert split_samples(samples, fold=(1, 3), seed=4).test.tolist() == [3, 4, 8, 10, 12, 14, 19]


@pytest.mark.parametrize("given_parts", [False, True])
def test_copies_once_leaves_one_of_each_in_train(given_parts):
    samples = make_samples([40, 40])
    content = np.arange(80, dtype=np.uint64) // 4
    given = np.tile([TRAIN] * 4 + [VAL] * 4, 10).astype(np.int8) if given_parts else None
    kept = split_samples(samples, content=content, given=given)
    once = split_samples(samples, content=content, given=given, copies="once")
    assert len(set(content[once.train])) == len(once.train) == len(set(content[kept.train]))
    assert set(once.train) < set(kept.train)
    assert (once.val.tolist(), once.test.tolist()) == (kept.val.tolist(), kept.test.tolist())
