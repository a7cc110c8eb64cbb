"""Copies: what is said of them, and which of them are found."""

import numpy as np

from torchloupe.data.copies import describe_copies, find_copies
from torchloupe.data.samples import Samples, make_ids


def make(labels):
    labels = np.asarray(labels)
    names = ("a", "b", "c")
    return Samples(make_ids([f"img{k}" for k in range(len(labels))]), labels, names)


def test_copies_are_described_by_the_largest_groups():
    content = np.arange(40, dtype=np.uint64)
    content[3:13], content[20:26], content[30:32] = 3, 20, 30
    samples = make(np.arange(40) % 3)
    assert describe_copies(samples, content, is_once=False) == (
        "15 images are copies of others, most of them of img3 (10), img20 (6); data.copies=once "
        "trains on one of each",
    )
    assert describe_copies(samples, content, is_once=True)[0].endswith("; train has one of each")


def test_few_copies_are_not_described():
    content = np.array([0, 0, 0, 0, 1, 2], dtype=np.uint64)
    assert describe_copies(make([0] * 6), content, is_once=False) == ()


def test_copies_are_found_but_one_for_each_content_and_label():
    content = np.array([7, 7, 7, 8, 9, 9], dtype=np.uint64)
    samples = make([0, 0, 1, 0, 2, 2])
    found = find_copies(samples, content, np.arange(6))
    assert len(found) == 2
    assert set(found) < {0, 1, 4, 5} and len(set(found) & {0, 1}) == 1
    assert find_copies(samples, content, np.array([0, 2, 3, 4])).tolist() == []


def test_copies_are_found_whatever_the_order_of_the_list():
    content = np.repeat(np.arange(10, dtype=np.uint64), 3)
    samples = make(np.zeros(30, dtype=np.int64))
    turned = np.arange(30)[::-1].copy()
    found = set(samples.ids[find_copies(samples, content, np.arange(30))])
    moved = samples.take(turned)
    again = set(moved.ids[find_copies(moved, content[turned], np.arange(30))])
    assert found == again and len(found) == 20


def test_copies_of_images_with_several_labels_are_told_apart_by_all_of_them():
    labels = np.array([[1, 0, 1], [1, 0, 1], [1, 1, 1]], dtype=np.float32)
    content = np.zeros(3, dtype=np.uint64)
    assert len(find_copies(make(labels), content, np.arange(3))) == 1
