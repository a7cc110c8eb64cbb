"""The smallest difference that a test set shows, against simulated tests."""

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar

from torchloupe.errors import UsageError
from torchloupe.evaluation.paired_tests import apply_mcnemar
from torchloupe.evaluation.power import describe_power, fewest_flips, smallest_difference


def test_fewest_flips_are_where_the_exact_test_becomes_significant():
    least = fewest_flips()
    p = [mcnemar([[50, 0], [flips, 50]], exact=True).pvalue for flips in (least - 1, least)]
    assert p[0] > 0.05 >= p[1]


@pytest.mark.parametrize(("images", "disagreement"), [(1000, 0.1), (300, 0.3), (5000, 0.05)])
def test_the_smallest_difference_is_found_in_four_of_five_simulated_tests(images, disagreement):
    difference = smallest_difference(images, disagreement)
    shares = ((disagreement + difference) / 2, (disagreement - difference) / 2)
    random = np.random.default_rng(0)
    found = 0
    for _ in range(1000):
        kind = random.choice(3, images, p=[*shares, 1 - disagreement])
        found += apply_mcnemar(kind != 1, kind != 0).p_value <= 0.05
    # The exact test is somewhat cautious: about 0.75 where the formula says 0.80.
    assert 0.70 < found / 1000 < 0.84


def test_more_images_show_smaller_differences():
    found = [smallest_difference(images, 0.1) for images in (200, 2000, 20_000)]
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.01


@pytest.mark.parametrize(("images", "disagreement"), [(20, 0.1), (1000, 0.0), (50, 0.1)])
def test_small_test_sets_show_nothing(images, disagreement):
    assert smallest_difference(images, disagreement) is None


def test_description_takes_the_error_rate_as_disagreement():
    found = describe_power(1000, 0.9)
    assert found["disagreement"] == pytest.approx(0.1)
    assert found["smallest_difference"] == pytest.approx(smallest_difference(1000, 1 - 0.9))
    assert (found["images"], found["fewest_flips"]) == (1000, 6)


def test_power_refuses_no_images():
    with pytest.raises(UsageError, match="no test of 0 images"):
        smallest_difference(0, 0.1)
