"""The head: the same answer as scikit-learn's, and sensible where there is little to go by."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from torchloupe.model.head import balanced_weights, find_scale, fit_head, moderate
from torchloupe.system.counter_rng import make_keys


def blobs(count=60, classes=3, width=8, views=2, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    centres = rng.normal(size=(classes, width))
    values = centres[labels][:, None] + spread * rng.normal(size=(count, views, width))
    keys = make_keys(map(str, range(count)))
    return torch.from_numpy(values).float(), torch.from_numpy(labels), keys


@pytest.mark.parametrize(("count", "width"), [(60, 8), (24, 100)])
def test_head_is_the_logistic_regression_of_its_penalty(count, width, monkeypatch):
    monkeypatch.setattr("torchloupe.model.head.PENALTIES", (0.1, 0.03))
    features, labels, keys = blobs(count=count, width=width, spread=3.0)
    features = 3 * features * torch.arange(1, width + 1) + 7  # scales and offsets differ
    head = fit_head(features, labels, keys, classes=3)
    rows = features.mean(dim=1).numpy()
    standard = StandardScaler().fit(rows)
    strength = 1 / (head.penalty * len(rows))
    same = LogisticRegression(C=strength, tol=1e-8, max_iter=5000)
    same.fit(standard.transform(rows), labels.numpy())
    ours = features.mean(dim=1) @ head.weight.T + head.bias
    theirs = same.decision_function(standard.transform(rows))
    difference = (ours - ours.mean(1, keepdim=True)).numpy() - theirs
    assert np.abs(difference).max() < 0.01
    assert head.accuracy is not None
    assert 0.3 < head.accuracy <= 1


def test_head_passes_over_a_feature_that_never_varies():
    features, labels, keys = blobs()
    features[..., 3] = 0.25
    head = fit_head(features, labels, keys, classes=3)
    assert float(head.weight[:, 3].abs().max()) < 1e-4
    assert torch.isfinite(head.bias).all()


def test_balanced_weights_of_several_labels_raise_the_rare_one():
    features, labels, keys = blobs(count=90, classes=3, spread=3.0)
    several = torch.stack([labels == 0, labels != 2], dim=1).float()
    plain = fit_head(features, several, keys, classes=2)
    heavy = fit_head(features, several, keys, classes=2, class_weights=torch.tensor([4.0, 1.0]))
    assert (heavy.weight[0] - plain.weight[0]).abs().max() > 1e-3


def test_head_is_the_same_for_the_same_input_and_for_rows_in_another_order():
    features, labels, keys = blobs()
    head, again = (fit_head(features, labels, keys, classes=3) for _ in range(2))
    assert torch.equal(head.weight, again.weight)
    turn = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    other = fit_head(features[turn], labels[turn], keys[turn.numpy()], classes=3)
    assert other.penalty == head.penalty
    assert torch.allclose(other.weight, head.weight, atol=1e-2)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_head_of_a_few_images_has_a_usual_penalty_and_no_accuracy(count):
    features, labels, keys = blobs(count=count, classes=2, views=1)
    head = fit_head(features, labels, keys, classes=2)
    assert head.accuracy is None
    assert torch.isfinite(head.weight).all()
    assert ((features[:, 0] @ head.weight.T + head.bias).argmax(1) == labels).all()


def test_head_with_a_class_that_has_no_image_never_names_it():
    features, labels, keys = blobs()
    head = fit_head(features, labels, keys, classes=5)
    assert (features[:, 0] @ head.weight.T + head.bias).argmax(1).max() < 3


def test_head_for_several_labels_an_image():
    features, labels, keys = blobs(spread=0.1)
    several = torch.stack([labels == 0, labels != 2], dim=1).float()
    head = fit_head(features, several, keys, classes=2)
    logits = features[:, 0] @ head.weight.T + head.bias
    assert ((logits > 0) == (several > 0.5)).float().mean() > 0.95


def test_balanced_weights_move_the_border_towards_the_large_class():
    features, labels, keys = blobs(count=90, classes=2, views=1, spread=3.0)
    kept = torch.cat([torch.where(labels == 0)[0], torch.where(labels == 1)[0][:6]])
    few = labels[kept]
    counts = torch.bincount(few).tolist()

    def share_of_small(weights):
        head = fit_head(features[kept], few, keys[kept.numpy()], classes=2, class_weights=weights)
        return float(((features[:, 0] @ head.weight.T + head.bias).argmax(1) == 1).float().mean())

    assert share_of_small(balanced_weights(counts)) > share_of_small(None)
    assert balanced_weights([3, 1]).tolist() == pytest.approx([2 / 3, 2.0])


def test_many_classes_are_solved_in_few_iterations(monkeypatch):
    monkeypatch.setattr("torchloupe.model.head.MOST_WORK", 1.0)
    features, labels, keys = blobs(spread=0.1)
    head = fit_head(features, labels, keys, classes=3)
    assert head.accuracy is None
    assert ((features[:, 0] @ head.weight.T + head.bias).argmax(1) == labels).all()


@pytest.mark.parametrize(("most", "is_solved"), [(1, False), (300, True)])
def test_fit_that_ends_at_its_most_iterations_says_so(most, is_solved, monkeypatch):
    monkeypatch.setattr("torchloupe.model.head.MOST_ITERATIONS", most)
    features, labels, keys = blobs(spread=0.1)
    assert fit_head(features, labels, keys, classes=3).is_solved is is_solved


def test_rounding_of_a_nearly_constant_feature_is_not_made_a_feature():
    features, labels, keys = blobs()
    noise = torch.randn(features.shape[:2], generator=torch.Generator().manual_seed(0))
    features[..., 3] = 0.25 + 1e-5 * noise
    head = fit_head(features, labels, keys, classes=3)
    assert 1e-5 * float(head.weight[:, 3].abs().max()) < 0.05  # of a logit; 0.6 without a floor


def test_features_of_a_large_part_weigh_less_and_the_sum_is_as_without_parts():
    features, labels, keys = blobs(width=20)
    values = features.mean(dim=1)
    _, plain = find_scale(values)
    _, scale = find_scale(values, (4, 16))
    ratio = scale / plain
    assert torch.allclose(ratio[0] / ratio[-1], torch.tensor(16**0.25 / 4**0.25))
    assert ratio.square().mean() == pytest.approx(1)
    one = fit_head(features, labels, keys, classes=3)
    other = fit_head(features, labels, keys, classes=3, parts=(4, 16))
    shares = [head.weight[:, :4].norm() / head.weight[:, 4:].norm() for head in (one, other)]
    assert shares[1] > 1.1 * shares[0]


def test_images_that_are_one_and_the_same_share_a_fold_and_choose_no_penalty_by_a_copy():
    features, labels, keys = blobs()
    head = fit_head(features, labels, np.full_like(keys, keys[0]), classes=3)
    assert torch.isfinite(head.weight).all()


def test_classes_that_are_told_apart_at_once_need_no_weak_penalty():
    features, labels, keys = blobs(width=200, spread=0.2)
    head = fit_head(features, labels, keys, classes=3)
    assert head.accuracy == 1
    assert head.penalty >= 1e-3  # the weakest is 1e-5


def test_a_bounded_head_judges_moderated_features_of_each_view():
    generator = torch.Generator().manual_seed(0)
    features, labels, keys = blobs(spread=0.5)
    features = torch.cat([features, features + 0.1], dim=1)
    features[0, 0, 0] = 1e6  # one image would decide
    head = fit_head(features, labels, keys, classes=3, bounded=True)
    moderated = torch.stack([moderate(view, head.low, head.high) for view in features.unbind(1)])
    values = moderated.mean(dim=0)
    plain = fit_head(values[:, None], labels, keys, classes=3)
    assert torch.equal(head.weight, plain.weight) and torch.equal(head.bias, plain.bias)
    assert (head.penalty, plain.low) == (plain.penalty, None)
    some = torch.randn(50, features.shape[2], generator=generator)
    inside = moderate(some, head.low, head.high)
    assert bool(((inside >= head.low) & (inside <= head.high)).all())


def test_moderated_features_keep_their_sign_and_have_a_slope_everywhere():
    features = torch.tensor([-4.0, -1e-9, 0.0, 0.25, 100.0], requires_grad=True)
    found = moderate(features)
    assert torch.allclose(found, torch.tensor([-1.99, 0.0, 0.0, 0.49, 9.99]), atol=1e-3)
    found.sum().backward()
    assert bool(features.grad.isfinite().all())
    assert torch.equal(moderate(torch.zeros(2)), torch.zeros(2))
