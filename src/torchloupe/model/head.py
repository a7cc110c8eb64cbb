"""The linear head on fixed features: logistic regression, its penalty chosen by cross-validation.

A pure function of features and labels: the same head for the same input, with no steps to
resume. It knows nothing of images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from torchloupe.system.counter_rng import Keys, hash_parts

PENALTIES = (1e-3, 3e-4, 1e-4, 3e-5, 1e-5)  # times half the squared weights, on the mean loss
FOLDS = 4
MOST_ITERATIONS = 100
MOST_WORK = 4e12  # floating-point operations, for one fit and for the choice of the penalty
_FOLD_DRAW = 0xF01D5


@dataclass(frozen=True, eq=False)
class Head:
    """A fitted head, and how it was chosen."""

    weight: Tensor  # [K, D]
    bias: Tensor  # [K]
    penalty: float
    accuracy: float | None  # cross-validated; None if there were too few images


def fit_head(
    features: Tensor,
    labels: Tensor,
    keys: Keys,
    *,
    classes: int,
    class_weights: Tensor | None = None,
) -> Head:
    """The head for `features` [N, V, D] (V views of each image) and `labels` [N] or [N, K].

    Labels [N, K] are 0 or 1 each, several an image. `keys` [N] assign images to the folds of the
    cross-validation that chooses the penalty; images with equal keys share a fold.
    """
    soft = _targets(labels, classes)
    several = labels.ndim == 2
    images, _, width = features.shape
    work = 6.0 * features.numel() * classes  # of one iteration: three products of matrices
    iterations = int(min(MOST_ITERATIONS, max(10, MOST_WORK / work)))
    penalty, accuracy = 3e-4, None
    if images >= 2 * FOLDS and work * iterations * FOLDS * len(PENALTIES) <= MOST_WORK:
        penalty, accuracy = _choose_penalty(
            features, soft, _folds(keys), class_weights, several, iterations
        )
    start = features.new_zeros(classes, width + 1)
    solution = _solve(features, soft, start, penalty, class_weights, several, iterations)
    return Head(solution[:, :width].contiguous(), solution[:, width].clone(), penalty, accuracy)


def _choose_penalty(
    features: Tensor,
    soft: Tensor,
    fold: Tensor,
    class_weights: Tensor | None,
    several: bool,
    iterations: int,
) -> tuple[float, float]:
    """The penalty with the smallest cross-validated loss, and its cross-validated accuracy."""
    losses = np.zeros(len(PENALTIES))
    right = np.zeros(len(PENALTIES))
    for number in range(FOLDS):
        own, other = fold != number, fold == number
        solution = features.new_zeros(soft.shape[1], features.shape[2] + 1)
        for place, penalty in enumerate(PENALTIES):  # warm start from the one before
            solution = _solve(
                features[own], soft[own], solution, penalty, class_weights, several, iterations
            )
            logits = _apply(solution, features[other]).mean(dim=1)
            losses[place] += float(_loss(logits, soft[other], class_weights, several).sum())
            if several:
                hits = ((logits > 0) == (soft[other] > 0.5)).all(dim=1)
            else:
                hits = logits.argmax(dim=1) == soft[other].argmax(dim=1)
            right[place] += int(hits.sum())
    best = int(losses.argmin())
    return PENALTIES[best], float(right[best]) / len(features)


def _solve(
    features: Tensor,
    soft: Tensor,
    start: Tensor,
    penalty: float,
    class_weights: Tensor | None,
    several: bool,
    iterations: int,
) -> Tensor:
    """Weights and biases [K, D + 1] that minimise the penalised mean loss over images and views."""
    views = features.shape[1]
    rows, targets = features.flatten(0, 1), soft.repeat_interleave(views, dim=0)
    solution = start.clone().requires_grad_(True)
    solver = torch.optim.LBFGS(
        [solution], max_iter=iterations, history_size=10, line_search_fn="strong_wolfe",
        tolerance_grad=1e-6, tolerance_change=1e-8,
    )  # fmt: skip

    def closure() -> Tensor:
        solver.zero_grad()
        losses = _loss(_apply(solution, rows), targets, class_weights, several)
        value = losses.mean() + penalty / 2 * solution[:, :-1].square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        solver.step(closure)  # type: ignore[no-untyped-call]
    return solution.detach()


def _apply(solution: Tensor, features: Tensor) -> Tensor:
    return features @ solution[:, :-1].T + solution[:, -1]


def _loss(logits: Tensor, soft: Tensor, class_weights: Tensor | None, several: bool) -> Tensor:
    """The loss of each row [B]."""
    if several:
        each = F.binary_cross_entropy_with_logits(logits, soft, reduction="none")
        return (each if class_weights is None else each * class_weights).sum(dim=1)
    losses = F.cross_entropy(logits, soft, reduction="none")
    return losses if class_weights is None else losses * (soft @ class_weights)


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
