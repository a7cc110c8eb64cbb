"""Logits agree where they differ by little of what images change in them."""

import numpy as np
import pytest

from torchloupe.evaluation.agreement import find_gap

LOGITS = np.random.default_rng(0).normal(0, 3, (20, 5)).astype(np.float32)
TOLERANCE = 1e-3


def test_rounding_agrees_and_tells() -> None:
    gap = find_gap(LOGITS * np.float32(1 + 1e-6), LOGITS)
    assert gap.is_within(TOLERANCE)
    assert gap.tells(TOLERANCE)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_another_network_that_is_as_sure_does_not_agree(offset: float) -> None:
    sure = LOGITS.copy()
    sure[:, 2] += 100 + offset  # a softmax of it is 1 in float32, whatever the others are
    gap = find_gap(sure + np.random.default_rng(1).normal(0, 0.1, sure.shape), sure)
    assert not gap.is_within(TOLERANCE)
    assert gap.tells(TOLERANCE)


def test_logits_that_are_the_same_for_all_images_tell_nothing() -> None:
    same = np.tile(LOGITS[:1], (20, 1))
    gap = find_gap(same, same)
    assert gap.is_within(TOLERANCE)
    assert not gap.tells(TOLERANCE)
    assert not find_gap(np.zeros((3, 2)), np.zeros((3, 2))).tells(TOLERANCE)


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_what_is_no_number_never_agrees(odd: float) -> None:
    wrong = LOGITS.copy()
    wrong[3, 1] = odd
    assert not find_gap(wrong, LOGITS).is_within(TOLERANCE)
    assert not find_gap(wrong, wrong).is_within(TOLERANCE)
