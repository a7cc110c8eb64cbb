"""Paired tests against statsmodels and scipy on random cases."""

import numpy as np
import pytest
import scipy.stats
from answers import make_answers, random_counts
from statsmodels.stats.contingency_tables import cochrans_q, mcnemar
from statsmodels.stats.multitest import multipletests

from torchloupe.errors import UsageError
from torchloupe.evaluation.paired_tests import (
    adjust_by_holm,
    apply_cochran_q,
    apply_mcnemar,
    compare_scores,
)
from torchloupe.evaluation.resampling import Answers


def right_answers(random, models, images):
    """Which images each model has right: some are easy for all."""
    easy = random.random(images)
    return [random.random(images) < 0.3 + 0.6 * easy + 0.1 * k for k in range(models)]


def test_mcnemar_equals_statsmodels_and_scipy_on_200_random_cases():
    for seed in range(200):
        random = np.random.default_rng(seed)
        first, second = right_answers(random, 2, int(random.integers(1, 300)))
        given = apply_mcnemar(first, second)
        table = [[(a & b).sum() for b in (second, ~second)] for a in (first, ~first)]
        assert given.p_value == pytest.approx(mcnemar(table, exact=True).pvalue, abs=1e-12)
        assert (given.only_first, given.only_second) == (table[0][1], table[1][0])
        apart = given.only_first + given.only_second
        if apart:
            expected = scipy.stats.binomtest(given.only_first, apart).pvalue
            assert given.p_value == pytest.approx(expected, abs=1e-9)


def test_mcnemar_of_equal_answers_is_one():
    assert apply_mcnemar(np.ones(5, bool), np.ones(5, bool)).p_value == 1.0


def test_cochran_q_equals_statsmodels_on_200_random_cases():
    for seed in range(200):
        random = np.random.default_rng(seed)
        right = right_answers(random, int(random.integers(2, 6)), int(random.integers(5, 200)))
        given = apply_cochran_q(right)
        expected = cochrans_q(np.array(right, int).T)
        assert given.statistic == pytest.approx(expected.statistic, abs=1e-9)
        assert given.p_value == pytest.approx(expected.pvalue, abs=1e-12)
        assert given.degrees == expected.df


def test_cochran_q_of_equal_answers_is_no_difference():
    given = apply_cochran_q([np.array([True, False])] * 3)
    assert (given.statistic, given.degrees, given.p_value) == (0.0, 2, 1.0)


def test_holm_equals_statsmodels():
    for seed in range(3):
        random = np.random.default_rng(seed)
        p = list(random.random(random.integers(5, 12)).round(2))
        assert adjust_by_holm(p) == pytest.approx(multipletests(p, method="holm")[1].tolist())
    assert adjust_by_holm([]) == []


class SameDraws(np.random.Generator):
    """Gives scipy, which draws rows of images, the columns of images that are drawn here."""

    def integers(self, low, high=None, size=None, **options):
        return super().integers(low, high, size[::-1], **options).T


def test_paired_difference_equals_scipy_bootstrap_on_200_random_cases():
    """With one class the strata are one, as scipy's; the same draws give the same interval."""
    for seed in range(200):
        random = np.random.default_rng(seed)
        images = int(random.integers(5, 120))
        values = random.gamma(2.0, size=(2, images))
        labels = np.zeros(images, int)
        models = [Answers(labels, labels, None, 2, {"nll": part}) for part in values]
        given = {part.name: part for part in compare_scores(*models, draws=100, seed=seed)}["nll"]
        expected = scipy.stats.bootstrap(
            (values[1] - values[0],),
            np.mean,
            method="percentile",
            n_resamples=100,
            rng=SameDraws(np.random.PCG64(seed)),
        ).confidence_interval
        assert given.difference == pytest.approx(values[1].mean() - values[0].mean())
        assert given.interval == pytest.approx(tuple(expected), abs=1e-6)  # weights are float32


def test_the_difference_of_a_model_to_itself_is_zero():
    for seed in range(20):
        answers = make_answers(random_counts(np.random.default_rng(seed)), seed=seed)
        found = compare_scores(answers, answers, draws=20)
        assert {part.difference for part in found} == {0.0}
        assert {part.interval for part in found} == {(0.0, 0.0)}


@pytest.mark.parametrize(
    "test",
    [
        apply_mcnemar,
        lambda one, two: apply_cochran_q([one, two]),
    ],
)
def test_paired_tests_refuse_other_images(test):
    with pytest.raises(UsageError, match=r"same images of every model, got \[3, 4\]"):
        test(np.ones(3, bool), np.ones(4, bool))


def test_paired_difference_refuses_other_labels():
    one = make_answers((3, 4))
    with pytest.raises(UsageError, match="other labels"):
        compare_scores(one, make_answers((4, 3)))


def test_cochran_q_refuses_one_model():
    with pytest.raises(UsageError, match="fewer than two models"):
        apply_cochran_q([np.ones(3, bool)])
