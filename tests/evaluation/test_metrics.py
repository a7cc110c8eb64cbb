"""Scores against scikit-learn and formulas by hand."""

import numpy as np
import pytest
import sklearn.metrics as sk
import torch

from torchloupe.errors import DataError, NumericError, UsageError
from torchloupe.evaluation.intervals import wilson_interval
from torchloupe.evaluation.metrics import Scores


def score(logits, labels, batch=37, **keywords):
    scores = Scores([f"c{k}" for k in range(logits.shape[1])], **keywords)
    for start in range(0, len(logits), batch):
        scores.update(logits[start : start + batch], labels[start : start + batch])
    return scores.result()


def make_answers(classes=7, count=500, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (count,), generator=generator)
    logits = torch.randn(count, classes, generator=generator)
    logits[torch.arange(count), labels] += 1.5
    return logits, labels


@pytest.mark.parametrize("classes", [2, 3, 7, 30])
def test_scores_equal_scikit_learn(classes):
    logits, labels = make_answers(classes)
    answers, wanted = logits.argmax(1).numpy(), labels.numpy()
    given = score(logits, labels)
    assert given["accuracy"] == sk.accuracy_score(wanted, answers)
    assert given["confusion"] == sk.confusion_matrix(wanted, answers).tolist()
    assert given["count"] == 500
    precision, recall, f1, counts = sk.precision_recall_fscore_support(wanted, answers)
    for k in range(classes):
        found = given["per_class"][f"c{k}"]
        assert found == pytest.approx(
            {"precision": precision[k], "recall": recall[k], "f1": f1[k], "count": counts[k]}
        )
    assert given["macro_f1"] == pytest.approx(sk.f1_score(wanted, answers, average="macro"))
    if classes > 5:
        top5 = sk.top_k_accuracy_score(wanted, logits.numpy(), k=5)
        assert given["top5_accuracy"] == pytest.approx(top5)
    else:
        assert "top5_accuracy" not in given


def test_scores_equal_scikit_learn_when_a_class_is_absent():
    logits, labels = make_answers(4)
    labels = torch.where(labels == 2, 1, labels)
    logits[:, 3] = -100.0
    answers = logits.argmax(1)
    given = score(logits, labels)
    assert given["per_class"]["c2"]["count"] == 0
    assert given["per_class"]["c2"]["recall"] == 0.0
    assert given["per_class"]["c3"]["precision"] == 0.0
    expected = sk.f1_score(labels, answers, average="macro", zero_division=0)
    assert given["macro_f1"] == pytest.approx(expected)


def test_scores_do_not_depend_on_the_batches():
    logits, labels = make_answers()
    whole = score(logits, labels, batch=500)
    parts = score(logits, labels, batch=1)
    assert parts.pop("ece") == pytest.approx(whole.pop("ece"), abs=1e-6)
    assert parts == whole


def test_calibration_error_equals_the_formula():
    """Guo et al. 2017, eq. 3: the mean gap of confidence and accuracy over 15 equal bins."""
    logits, labels = make_answers(5, 2000)
    confidence, answers = (part.numpy() for part in logits.softmax(1).max(1))
    right = answers == labels.numpy()
    bins = np.minimum((confidence * 15).astype(int), 14)
    expected = sum(
        abs(right[bins == b].mean() - confidence[bins == b].mean()) * (bins == b).mean()
        for b in range(15)
        if (bins == b).any()
    )
    assert score(logits, labels)["ece"] == pytest.approx(expected, abs=1e-5)


def test_soft_labels_count_as_their_largest_share():
    logits, labels = make_answers()
    rows = torch.nn.functional.one_hot(labels, 7) * 0.9 + 0.01
    assert score(logits, rows) == score(logits, labels)


def test_scores_of_logits_in_half_precision():
    logits, labels = make_answers()
    given = score(logits.bfloat16(), labels.int())
    assert given == score(logits.bfloat16().float(), labels)


def test_scores_tell_close_logits_apart_when_softmax_does_not():
    logits = torch.tensor([[100.0, 100.00001, 0.0]])
    assert score(logits, torch.tensor([1]))["accuracy"] == 1.0


def test_scores_inside_inference_mode_are_readable_outside():
    logits, labels = make_answers()
    scores = Scores([str(k) for k in range(7)])
    with torch.inference_mode():
        scores.update(logits.clone(), labels)
    scores.update(logits, labels)
    assert scores.result()["count"] == 1000


def test_scores_of_many_classes_have_no_confusion_matrix():
    logits = torch.eye(1001)
    given = score(logits, torch.arange(1001), batch=500)
    assert given["confusion"] is None
    assert given["accuracy"] == given["top5_accuracy"] == 1.0
    assert len(given["per_class"]) == 1001


def test_multi_label_scores_equal_scikit_learn():
    generator = torch.Generator().manual_seed(1)
    labels = (torch.rand(300, 4, generator=generator) > 0.6).float()
    logits = torch.randn(300, 4, generator=generator) + 2 * labels - 1
    answers, wanted = (logits > 0).numpy(), labels.numpy()
    given = score(logits, labels, multi_label=True)
    assert given["accuracy"] == sk.accuracy_score(wanted, answers)
    assert given["confusion"] is None
    precision, recall, f1, counts = sk.precision_recall_fscore_support(wanted, answers)
    for k in range(4):
        assert given["per_class"][f"c{k}"] == pytest.approx(
            {"precision": precision[k], "recall": recall[k], "f1": f1[k], "count": counts[k]}
        )
    expected = sk.average_precision_score(wanted, logits.numpy(), average="macro")
    assert given["mean_average_precision"] == pytest.approx(expected, abs=1e-5)


def test_multi_label_scores_survive_a_class_without_images():
    labels = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    given = score(torch.tensor([[2.0, -1.0], [-1.0, -2.0]]), labels, multi_label=True)
    assert given["mean_average_precision"] == 1.0
    assert given["accuracy"] == 1.0


@pytest.mark.parametrize(("successes", "count"), [(0, 10), (1, 3), (5, 10), (98, 100), (7, 7)])
def test_wilson_interval_solves_its_equation(successes, count):
    """Its ends are the shares p that lie 1.96 standard errors, taken at p, from the one seen."""
    seen = successes / count
    low, high = wilson_interval(successes, count)
    assert 0 <= low <= seen <= high <= 1
    for end in (low, high):
        error = (end * (1 - end) / count) ** 0.5
        assert abs(seen - end) == pytest.approx(1.959963984540054 * error, abs=1e-9)


def test_wilson_interval_stands_in_the_scores():
    logits, labels = make_answers()
    given = score(logits, labels)
    right = round(given["accuracy"] * 500)
    assert given["accuracy_ci95"] == list(wilson_interval(right, 500))


def test_scores_refuse_what_says_nothing():
    with pytest.raises(DataError, match="there is nothing to score: no images"):
        Scores(["a", "b"]).result()
    with pytest.raises(DataError, match="no share of 0 in 0"):
        wilson_interval(0, 0)
    with pytest.raises(UsageError, match="two classes or more"):
        Scores(["a"])
    with pytest.raises(UsageError, match="same name"):
        Scores(["a", "a"])
    with pytest.raises(UsageError, match=r"logits are \[2, 3\], scores want \[batch, 2\]"):
        Scores(["a", "b"]).update(torch.zeros(2, 3), torch.zeros(2))
    logits, labels = make_answers()
    logits[3, 2] = float("nan")
    logits[9, 0] = float("inf")
    with pytest.raises(NumericError, match="NaN or infinity for 2 of 500 images"):
        score(logits, labels)
