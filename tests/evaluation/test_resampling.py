"""Scores of a classifier under bootstrap weights, against scikit-learn on resampled images."""

import warnings

import numpy as np
import pytest
import sklearn
import sklearn.metrics as sk
from answers import make_answers, make_several, random_counts

from torchloupe.evaluation import resampling
from torchloupe.evaluation.resampling import Answers, WeightedScores, bootstrap, draw_weights


@sklearn.config_context(skip_parameter_validation=True)
def by_scikit_learn(answers):
    """The scores of one label an image."""
    labels, found, p = answers.labels, answers.predictions, answers.probabilities.astype(float)
    truth = labels[:, None] == np.arange(answers.classes)
    return {
        "accuracy": sk.accuracy_score(labels, found),
        "macro_f1": sk.f1_score(labels, found, average="macro", zero_division=0),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, found),
        "mcc": sk.matthews_corrcoef(labels, found),
        "kappa": sk.cohen_kappa_score(labels, found),
        "auroc": np.mean([sk.roc_auc_score(t, q) for t, q in zip(truth.T, p.T, strict=True)]),
        "average_precision": sk.average_precision_score(truth, p, average="macro"),
    }


def measure(answers, weights):
    scores = WeightedScores(answers)
    return {**scores.measure(weights), **scores.measure_ranks(weights)}


def test_scores_equal_scikit_learn_on_200_random_cases():
    for seed in range(200):
        random = np.random.default_rng(seed)
        answers = make_answers(
            random_counts(random), random.uniform(0, 3), seed, digits=(None, 2)[seed % 2]
        )
        ones = np.ones((len(answers.labels), 1), np.float32)
        given = {name: float(v[0]) for name, v in measure(answers, ones).items()}
        assert given == pytest.approx(by_scikit_learn(answers), abs=1e-9)


def test_scores_of_a_draw_are_those_of_its_images_on_200_random_cases():
    """An image with weight k stands k times in the resampled images."""
    for seed in range(200):
        random = np.random.default_rng(seed)
        counts = random_counts(random)
        answers = make_answers(counts, random.uniform(0, 3), seed)
        (weights,) = draw_weights(answers.strata, 1, seed)
        rows = np.repeat(np.arange(len(weights)), weights[:, 0].astype(int))
        strata = answers.strata
        assert np.bincount(strata[rows]).tolist() == np.bincount(strata).tolist()
        resampled = Answers(
            answers.labels[rows],
            answers.predictions[rows],
            answers.probabilities[rows],
            answers.classes,
        )
        given = {name: float(v[0]) for name, v in measure(answers, weights).items()}
        assert given == pytest.approx(by_scikit_learn(resampled), abs=1e-6)


def test_multi_label_scores_equal_scikit_learn():
    for seed in range(10):
        answers = make_several(seed=seed)
        labels, found, p = answers.labels, answers.predictions, answers.probabilities
        ones = np.ones((len(labels), 1), np.float32)
        given = {name: float(v[0]) for name, v in measure(answers, ones).items()}
        assert given == pytest.approx(
            {
                "accuracy": sk.accuracy_score(labels, found),
                "macro_f1": sk.f1_score(labels, found, average="macro", zero_division=0),
                "auroc": sk.roc_auc_score(labels, p, average="macro"),
                "mean_average_precision": sk.average_precision_score(labels, p, average="macro"),
            },
            abs=1e-6,
        )


def test_draws_are_those_of_numpy_and_of_the_seed():
    """Counting drawn images in pieces changes nothing: sizes of strata, and the same seed."""
    strata = np.array([0] * 5 + [1] * 3)
    weights = np.concatenate(list(draw_weights(strata, 500, seed=1)), axis=1)
    assert weights.shape == (8, 500)
    assert (weights[:5].sum(axis=0) == 5).all()
    assert (weights[5:].sum(axis=0) == 3).all()
    # A multinomial count has mean 1 and variance 1 - 1/n.
    assert weights[:5].var() == pytest.approx(1 - 1 / 5, abs=0.06)
    again = np.concatenate(list(draw_weights(strata, 500, seed=1)), axis=1)
    other = np.concatenate(list(draw_weights(strata, 500, seed=2)), axis=1)
    assert (weights == again).all()
    assert (weights != other).any()


def test_pieces_cover_all_draws(monkeypatch):
    monkeypatch.setattr(resampling, "WEIGHTS_AT_ONCE", 80)
    pieces = list(draw_weights(np.zeros(8, int), 25))
    assert [piece.shape[1] for piece in pieces] == [10, 10, 5]


def test_models_share_the_images_of_every_draw():
    first = make_answers((40, 40), 1.0)
    same = bootstrap([first, first], draws=50)
    assert all((same[0][1][name] == same[1][1][name]).all() for name in same[0][1])


def test_ranks_are_left_out_of_draws_that_would_take_minutes(monkeypatch):
    monkeypatch.setattr(resampling, "MOST_RANKED", 100)
    scores, draws = bootstrap([make_answers((20, 20))], draws=10)[0]
    assert "auroc" in scores
    assert set(scores) - set(draws) == {"auroc", "average_precision"}


def test_ranks_have_fewer_draws_where_all_would_take_minutes(monkeypatch):
    answers = make_answers((20, 20), 1.0)
    whole = bootstrap([answers], draws=500)[0][1]
    monkeypatch.setattr(resampling, "MOST_RANKED", 80 * 300)
    monkeypatch.setattr(resampling, "WEIGHTS_AT_ONCE", 40 * 500)
    fewer = bootstrap([answers], draws=500)[0][1]
    assert (len(fewer["auroc"]), len(fewer["mcc"])) == (300, 500)
    assert (fewer["auroc"] == whole["auroc"][:300]).all()


def test_mean_of_values_is_a_score():
    answers = make_answers((5, 5))
    given = Answers(
        answers.labels, answers.predictions, None, 2, {"nll": np.arange(10, dtype=float)}
    )
    scores, draws = bootstrap([given], draws=40)[0]
    assert scores["nll"] == 4.5
    assert 0 <= draws["nll"].min() < draws["nll"].max() <= 9
    assert "auroc" not in scores


def test_undefined_scores_are_nan_without_a_warning():
    one = Answers(np.zeros(4, int), np.zeros(4, int), np.array([[0.9, 0.1]] * 4), 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores, _ = bootstrap([one], draws=5)[0]
    assert (scores["accuracy"], scores["balanced_accuracy"], scores["mcc"]) == (1.0, 1.0, 0.0)
    assert np.isnan(scores["kappa"])
    assert "auroc" not in scores


def test_classes_of_one_image_share_their_draws_and_so_have_a_spread():
    labels = np.array([0] * 9 + [1] * 8 + [2, 3, 4, 5])
    answers = Answers(labels, labels, None, 7)  # of the last class there is none
    strata = answers.strata
    assert (strata[:9] == 0).all()
    assert (strata[9:17] == 1).all()
    assert len(set(strata[17:])) == 1
    assert strata[17] not in (0, 1)
    alone = Answers(np.array([0] * 9 + [1] * 8 + [2]), np.zeros(18, np.int64), None, 3).strata
    assert alone[-1] == alone[9] != alone[0]  # one image alone is drawn with the smallest class
    whole = Answers(np.array([0, 0, 0, 1, 1, 1]), np.zeros(6, np.int64), None, 2).strata
    assert len(set(whole)) == 2


def test_a_score_of_single_images_has_an_interval():
    random = np.random.default_rng(0)
    p = random.random((60, 60)).astype(np.float32)
    p /= p.sum(axis=1, keepdims=True)
    answers = Answers(np.arange(60), p.argmax(axis=1), p, 60)
    scores, drawn = bootstrap([answers], draws=100)[0]
    for name in ("auroc", "average_precision", "mcc"):
        assert np.nanstd(drawn[name]) > 0, name
    assert scores["auroc"] == pytest.approx(0.5, abs=0.1)


def test_one_image_of_one_class_can_be_drawn():
    answers = Answers(np.array([0]), np.array([0]), None, 1)
    assert answers.strata.tolist() == [0]
    answers = Answers(np.array([1]), np.array([0]), None, 2)
    assert answers.strata.tolist() == [1]
