"""Images among their neighbours: planted wrong labels and planted copies are found, no others."""

import numpy as np
import pytest
import torch

from torchloupe.checks.neighbours import find_near_duplicates, find_suspected_labels


@pytest.fixture(scope="module")
def clouds():
    """Features [90, 16] in three clouds of thirty, and their labels."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(3, 16, generator=generator)
    labels = np.arange(90) % 3
    spread = 0.2 * torch.randn(90, 16, generator=generator)
    return centres[torch.from_numpy(labels)] + spread, labels


def test_nothing_strays_where_labels_are_right(clouds):
    features, labels = clouds
    assert find_suspected_labels(features, labels) == []


def test_planted_labels_are_found_with_the_class_they_look_like(clouds):
    features, labels = clouds
    planted = labels.copy()
    planted[[4, 40, 71]] = (labels[[4, 40, 71]] + 1) % 3
    found = find_suspected_labels(features, planted)
    assert {(stray.row, stray.among) for stray in found} == {
        (row, int(labels[row])) for row in (4, 40, 71)
    }
    assert all(labels[stray.nearest] == stray.among for stray in found)
    assert [stray.margin for stray in found] == sorted((s.margin for s in found), reverse=True)
    assert find_suspected_labels(features, planted, most=1) == found[:1]


def test_class_of_a_few_images_is_left_alone(clouds):
    features, labels = clouds
    few = labels.copy()
    few[[5, 8]] = 3  # two images that can't have three neighbours of their own
    assert find_suspected_labels(features, few) == []


def test_copies_are_not_asked(clouds):
    features, labels = clouds
    copied = torch.cat([features, features[:1].expand(6, -1)])  # six copies with a wrong label
    found = find_suspected_labels(copied, np.append(labels, [1] * 6))
    assert {stray.row for stray in found} == set(range(90, 96))


def test_twins_across_parts_are_found_once_each_and_within_a_part_never(clouds):
    features, _ = clouds
    noise = 0.01 * torch.randn(2, 16, generator=torch.Generator().manual_seed(1))
    both = torch.cat([0.0 * features + torch.eye(16)[:6].repeat(15, 1), features[:2] + noise])
    both[:2] = features[:2]
    parts = np.zeros(92, np.int8)
    parts[[90, 91]] = [1, 2]
    assert [(twin.row, twin.other) for twin in find_near_duplicates(both, parts)] in (
        [(90, 0), (91, 1)],
        [(91, 1), (90, 0)],
    )
    assert find_near_duplicates(both, np.zeros(92, np.int8)) == []
