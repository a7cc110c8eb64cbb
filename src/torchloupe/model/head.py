"""The linear head on fixed features: logistic regression, its penalty chosen by cross-validation.

Features are standardised; those of one part of the network share a scale by their number, so that
a large part doesn't decide alone. A pure function of features and labels: the same head for the
same input, with no steps to resume. It knows nothing of images; model/logistic.py solves.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from torchloupe.model.logistic import Regression, make_regression
from torchloupe.system.counter_rng import Keys, hash_parts

# Times half the squared weights of standardised features, on the mean loss; the strongest first.
PENALTIES = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
USUAL_PENALTY = 0.03  # where there are too few images to choose one
FOLDS = 4
TOLERANCE, SEARCH_TOLERANCE = 1e-6, 5e-4  # of the head, of a fit that only chooses the penalty
LEAST_GAIN = 1e-3  # of the left-out loss, in nats, for which a weaker penalty is taken
MOST_ITERATIONS = 300
USUAL_ITERATIONS = 100  # of the whole path of penalties
MOST_WORK = 4e12  # floating-point operations, for the head and for the choice of the penalty
ROOT_FLOOR = 1e-4  # added to a feature before its root, whose slope has to end somewhere
MOST_DEVIATIONS = 2.0  # standard deviations of a root around its mean
_FOLD_DRAW = 0xF01D5
_LEAST_STD = 0.02  # of a feature, relative to its mean: bf16 rounds to 0.004
_LEAST_OF_USUAL = 1e-3  # and relative to the usual standard deviation
_JITTER = 1e-7  # of the usual variance of an image, below which a direction is rounding


@dataclass(frozen=True, eq=False)
class Head:
    """A fitted head, and how it was chosen."""

    weight: Tensor  # [K, D]
    bias: Tensor  # [K]
    penalty: float  # on the weights of standardised features
    accuracy: float | None  # cross-validated; None where there were too few images
    low: Tensor | None = None  # [D], what features are limited to; None if they aren't
    high: Tensor | None = None
    is_solved: bool = True  # else the fit ended at its most iterations


def fit_head(
    features: Tensor,
    labels: Tensor,
    keys: Keys,
    *,
    classes: int,
    class_weights: Tensor | None = None,
    parts: Sequence[int] = (),
    bounded: bool = False,
) -> Head:
    """The head for `features` [N, V, D] (V views of each image) and `labels` [N] or [N, K].

    It is fitted to the mean over the views, which is what it judges later. Labels [N, K] are 0 or 1
    each, several an image. `keys` [N] assign images to the folds of the cross-validation that
    chooses the penalty; images with equal keys share a fold. `parts` are sizes of groups of
    features, D in all; one group if empty. If `bounded`, the head is that of `moderate`.
    """
    soft, several = _targets(labels, classes), labels.ndim == 2
    values, low, high = features.mean(dim=1), None, None
    if bounded:
        low, high = find_bounds(features)
        values = _mean_of_views(features, low, high)
    mean, scale = find_scale(values, parts)
    values = (values - mean).mul_(scale)
    inner, lower = _narrow(values)
    problem = make_regression(inner, soft, several=several, class_weights=class_weights)
    work = 4.0 * inner.numel() * classes  # of one iteration: two products of matrices
    penalty, accuracy, start = USUAL_PENALTY, None, None
    if len(features) >= 2 * FOLDS:
        most = int(len(features) * min(1.0, MOST_WORK / (work * USUAL_ITERATIONS * FOLDS)))
        if most >= 2 * FOLDS:  # chosen on some images, for as many the same strength
            chosen, accuracy, start = _choose_penalty(problem, _folds(keys), most)
            penalty = chosen * min(1.0, most / len(features))
    iterations = int(min(MOST_ITERATIONS, max(10, MOST_WORK / work)))
    all_rows = torch.ones(len(inner), 1)
    found = problem.solve(penalty, all_rows, start, tolerance=TOLERANCE, iterations=iterations)
    is_solved = bool(problem.gap(found, penalty, all_rows) <= SEARCH_TOLERANCE)
    solution = found[:, 0]
    weight = solution[:-1]
    if lower is not None:
        weight = (
            values.T @ torch.linalg.solve_triangular(lower.T, weight.double(), upper=True).float()
        )
    weight = weight.T * scale
    bias = solution[-1] - weight @ mean
    return Head(weight.contiguous(), bias, penalty, accuracy, low, high, is_solved)


def moderate(features: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """Signed square roots of features [..., D], within their bounds [D].

    A few images with large values then decide less. Sources: Perronnin, Sanchez and Mensink 2010,
    section 3.1 (power normalisation); winsorising.
    """
    roots = features.sign() * ((features.abs() + ROOT_FLOOR).sqrt() - math.sqrt(ROOT_FLOOR))
    if low is None or high is None:
        return roots
    return torch.minimum(torch.maximum(roots, low), high)


def find_bounds(features: Tensor) -> tuple[Tensor, Tensor]:
    """Least and largest root [D] of features [N, V, D]: MOST_DEVIATIONS around the mean."""
    mean, scale = find_scale(_mean_of_views(features))
    return mean - MOST_DEVIATIONS / scale, mean + MOST_DEVIATIONS / scale


def _mean_of_views(
    features: Tensor, low: Tensor | None = None, high: Tensor | None = None
) -> Tensor:
    """The mean [N, D] over the views of moderated features [N, V, D], one view after the other."""
    total = torch.zeros_like(features[:, 0])
    for view in features.unbind(dim=1):
        total += moderate(view, low, high)
    return total / features.shape[1]


def find_scale(values: Tensor, parts: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
    """Mean and scale [D] of features [N, D]: divided by their deviation, and by their part.

    Features of a part of n are divided by n ** 1/4, which lies between the same weight for each
    feature and the same for each part; the mean square of the scales is as without parts.
    """
    mean, std = values.mean(dim=0), values.std(dim=0, unbiased=False)
    std = std.maximum(_LEAST_STD * mean.abs()).maximum(_LEAST_OF_USUAL * std.median())
    std = torch.where(std == 0, torch.ones_like(std), std)
    if len(parts) < 2:
        return mean, 1 / std
    weights = torch.cat([torch.full((size,), size**-0.25) for size in parts])
    return mean, weights / weights.square().mean().sqrt() / std


def _narrow(values: Tensor) -> tuple[Tensor, Tensor | None]:
    """Coordinates [N, R] with the same inner products as `values` [N, D], in fewer columns.

    With fewer images than features, the Cholesky factor of all products, which is
    the second result in double; weights then are combinations of images.
    """
    count, width = values.shape
    if count >= width:
        return values, None
    exact = values.double()
    products = exact @ exact.T
    usual = products.diagonal().mean().clamp(min=1e-12)
    products.diagonal().add_(_JITTER * usual)
    lower = torch.linalg.cholesky(products)
    return lower.float(), lower


def _choose_penalty(problem: Regression, fold: Tensor, most: int) -> tuple[float, float, Tensor]:
    """The penalty with the smallest cross-validated loss, its accuracy, and a start for all images.

    On the first `most` images, from the strongest penalty on, until two in a row gained less than
    LEAST_GAIN over the best. The start is the mean of the folds' solutions.
    """
    if most < len(fold):
        problem = replace(problem, values=problem.values[:most], soft=problem.soft[:most])
        fold = fold[:most]
    left_out = F.one_hot(fold, FOLDS)  # [N, FOLDS]
    own = (1 - left_out).float()
    solution: Tensor | None = None
    best: tuple[float, float, float, Tensor] | None = None  # loss, penalty, accuracy, start
    since = 0  # penalties since the best
    for penalty in PENALTIES:
        solution = problem.solve(
            penalty, own, solution, tolerance=SEARCH_TOLERANCE, iterations=MOST_ITERATIONS
        )
        logits = problem.logits(solution)
        losses = problem.losses(logits).gather(1, fold[:, None])
        loss, since = float(losses.double().mean()), since + 1
        if best is None or loss < best[0] - LEAST_GAIN:
            judged = logits[torch.arange(len(fold)), fold]
            accuracy = _count_right(judged, problem.soft, problem.several) / len(fold)
            best, since = (loss, penalty, accuracy, solution.mean(dim=1, keepdim=True)), 0
        if since == 2:
            break
    assert best is not None
    return best[1:]


def _count_right(logits: Tensor, soft: Tensor, several: bool) -> int:
    if several:
        return int(((logits > 0) == (soft > 0.5)).all(dim=1).sum())
    return int((logits.argmax(dim=1) == soft.argmax(dim=1)).sum())


def _targets(labels: Tensor, classes: int) -> Tensor:
    return (F.one_hot(labels, classes) if labels.ndim == 1 else labels).to(torch.float32)


def _folds(keys: Keys) -> Tensor:
    """The fold [N] of each image: equal keys share one, and folds are nearly equal in size."""
    drawn = hash_parts(_FOLD_DRAW, keys)
    _, place = np.unique(drawn, return_inverse=True)
    return torch.from_numpy(place.reshape(-1) % FOLDS)


def balanced_weights(counts: Sequence[int]) -> Tensor:
    """Weights [K] that give every class the same total; their mean over the images is 1."""
    total, present = sum(counts), sum(count > 0 for count in counts)
    return torch.tensor([total / (present * count) if count else 0.0 for count in counts])
