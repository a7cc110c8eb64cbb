"""The linear head on fixed features: logistic regression, its penalty chosen by cross-validation.

Features are standardised, and the solver works in coordinates in which the problem is nearly
round, so that it converges in 10 to 40 iterations. A pure function of features and labels: the same
head for the same input, with no steps to resume. It knows nothing of images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from torchloupe.system.counter_rng import Keys, hash_parts

# Times half the squared weights of standardised features, on the mean loss; the strongest first.
PENALTIES = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
USUAL_PENALTY = 0.03  # where there are too few images to choose one
FOLDS = 4
MOST_ITERATIONS = 200
USUAL_ITERATIONS = 30  # of one fit that starts from the solution of the penalty before
MOST_WORK = 4e12  # floating-point operations, for one fit and for the choice of the penalty
MOST_COORDINATES = 4096  # with more features (and images), decomposing them takes too long
_FOLD_DRAW = 0xF01D5
_LEAST_STD = 0.02  # of a feature, relative to its mean: bf16 rounds to 0.004
_LEAST_OF_USUAL = 1e-3  # and relative to the usual standard deviation
_LEAST_SHARE = 1e-7  # of the largest variance, below which a direction is rounding


@dataclass(frozen=True, eq=False)
class Head:
    """A fitted head, and how it was chosen."""

    weight: Tensor  # [K, D]
    bias: Tensor  # [K]
    penalty: float  # on the weights of standardised features
    accuracy: float | None  # cross-validated; None where there were too few images


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
    flat = features.flatten(0, 1)
    mean, std = flat.mean(dim=0), flat.std(dim=0, unbiased=False)
    std = std.maximum(_LEAST_STD * mean.abs()).maximum(_LEAST_OF_USUAL * std.median())
    std = torch.where(std == 0, torch.ones_like(std), std)
    problem = _make_problem((features - mean) / std, soft, several, class_weights)
    penalty, accuracy = USUAL_PENALTY, None
    work = 4.0 * features.numel() * classes  # of one iteration: two products of matrices
    if len(features) >= 2 * FOLDS:
        most = int(len(features) * min(1.0, MOST_WORK / (work * USUAL_ITERATIONS * FOLDS * 8)))
        fold = _folds(keys)
        if most < len(features):  # chosen on some images, for as many the same strength
            fold = torch.where(torch.arange(len(fold)) < most, fold, -1)
        if most >= 2 * FOLDS:
            chosen, accuracy = _choose_penalty(problem, fold)
            penalty = chosen * min(1.0, most / len(features))
    iterations = int(min(MOST_ITERATIONS, max(10, MOST_WORK / work)))
    weight, bias = problem.weights(problem.solve(penalty, iterations=iterations))
    weight, bias = weight.float() / std, bias.float()
    return Head(weight.contiguous(), bias - weight @ mean, penalty, accuracy)


@dataclass(frozen=True, eq=False)
class _Problem:
    """The penalised mean loss of standardised images, in coordinates that suit a solver.

    With the eigenvectors V [D, R] of the covariance and its eigenvalues s, weights are
    V diag(scale) t for coordinates t [R, K], and scale = (c s + penalty)^-1/2, where c is the
    curvature of the loss at equal probabilities: the Hessian is near the identity.
    """

    values: Tensor  # [N, V, D], or [N, V, R] where they are rotated
    axes: Tensor | None  # [D, R]; None where the features are their own coordinates
    is_rotated: bool  # `values` are coordinates already
    variances: Tensor  # [R], double
    soft: Tensor  # [N, K]
    several: bool
    class_weights: Tensor | None

    def solve(
        self,
        penalty: float,
        rows: Tensor | None = None,
        start: Tensor | None = None,
        iterations: int = MOST_ITERATIONS,
    ) -> Tensor:
        """The best coordinates, unscaled: [R + 1, K] in double, the last row the biases.

        Over the images at `rows`, or all; L-BFGS (Liu and Nocedal 1989) from `start`.
        """
        values = self.values if rows is None else self.values[rows]
        soft = self.soft if rows is None else self.soft[rows]
        flat = values.flatten(0, 1)
        targets = soft.repeat_interleave(values.shape[1], dim=0)
        share = self._shares(targets) / len(flat)
        scale = self._scale(penalty)
        begin = torch.zeros(len(scale), soft.shape[1], dtype=torch.float64)
        point = (begin if start is None else start / scale).requires_grad_(True)
        solver = torch.optim.LBFGS(
            [point], max_iter=iterations, max_eval=2 * iterations, history_size=10,
            line_search_fn="strong_wolfe", tolerance_grad=2e-5, tolerance_change=1e-8,
        )  # fmt: skip

        def closure() -> float:
            spread = (point * scale).detach()
            logits = self._apply(flat, spread)
            loss = float(self._loss(logits, targets).double().mean())
            shift = (logits.sigmoid() if self.several else logits.softmax(dim=1)) - targets
            shift *= share
            gradient = torch.empty_like(spread)
            pulled = flat.T @ shift
            if self.axes is not None and not self.is_rotated:
                pulled = self.axes.T @ pulled
            gradient[:-1] = pulled.double() + penalty * spread[:-1]
            gradient[-1] = shift.sum(dim=0)
            point.grad = gradient * scale
            return loss + penalty / 2 * float(spread[:-1].square().sum())

        with torch.no_grad():
            solver.step(closure)  # type: ignore[no-untyped-call]
        return (point * scale).detach()

    def logits(self, solution: Tensor, rows: Tensor) -> Tensor:
        """Logits [M, K] of the images at `rows`: the mean over their views."""
        return self._apply(self.values[rows].mean(dim=1), solution)

    def losses(self, logits: Tensor, rows: Tensor) -> Tensor:
        """The weighted loss of each image at `rows`."""
        return self._loss(logits, self.soft[rows])

    def weights(self, solution: Tensor) -> tuple[Tensor, Tensor]:
        """Weights [K, D] of standardised features, and biases [K]."""
        inner = solution[:-1] if self.axes is None else self.axes.double() @ solution[:-1]
        return inner.T, solution[-1]

    def _apply(self, values: Tensor, solution: Tensor) -> Tensor:
        inner = solution[:-1].float()
        if self.axes is not None and not self.is_rotated:
            inner = self.axes @ inner
        return values @ inner + solution[-1].float()

    def _scale(self, penalty: float) -> Tensor:
        """The scale [R + 1, 1] of the coordinates and, last, of the bias."""
        classes = self.soft.shape[1]
        curvature = 0.25 if self.several else max(1 / classes * (1 - 1 / classes), 1e-3)
        inner = (curvature * self.variances + penalty).rsqrt()
        return torch.cat([inner, inner.new_full((1,), curvature**-0.5)])[:, None]

    def _loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The weighted loss of each row [B]."""
        shares = self._shares(targets)
        if self.several:
            each = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
            return (each * shares).sum(dim=1)
        return F.cross_entropy(logits, targets, reduction="none") * shares[:, 0]

    def _shares(self, targets: Tensor) -> Tensor:
        """The weight of each row [B, 1], or of each output [1, K] where labels are several."""
        if self.class_weights is None:
            return targets.new_ones(len(targets), 1)
        if self.several:
            return self.class_weights[None]
        return (targets @ self.class_weights)[:, None]


def _make_problem(
    values: Tensor, soft: Tensor, several: bool, class_weights: Tensor | None
) -> _Problem:
    """The problem of standardised `values` [N, V, D], rotated where that makes them fewer."""
    flat = values.flatten(0, 1)
    count, width = flat.shape
    if min(count, width) > MOST_COORDINATES:
        ones = torch.ones(width, dtype=torch.float64)
        return _Problem(values, None, False, ones, soft, several, class_weights)
    is_wide = width > count
    products = (flat @ flat.T if is_wide else flat.T @ flat).double() / count
    variances, vectors = torch.linalg.eigh(products)
    kept = variances > variances[-1].clamp_min(1e-12) * _LEAST_SHARE
    variances, vectors = variances[kept], vectors[:, kept]
    if is_wide:
        vectors = flat.T @ (vectors / (variances * count).sqrt()).float()
        rotated = values @ vectors
        return _Problem(rotated, vectors, True, variances, soft, several, class_weights)
    return _Problem(values, vectors.float(), False, variances, soft, several, class_weights)


def _choose_penalty(problem: _Problem, fold: Tensor) -> tuple[float, float]:
    """The penalty with the smallest cross-validated loss, and its cross-validated accuracy.

    From the strongest on, until two in a row were worse than the best; `fold` [N] is -1 for images
    that are left out.
    """
    parts = [
        (torch.nonzero((fold != n) & (fold >= 0)).flatten(), torch.nonzero(fold == n).flatten())
        for n in range(FOLDS)
    ]
    solutions: list[Tensor | None] = [None] * FOLDS
    found: list[tuple[float, float, float]] = []  # loss, penalty, accuracy
    for penalty in PENALTIES:
        loss, right, images = 0.0, 0, 0
        for n, (own, other) in enumerate(parts):
            solution = problem.solve(penalty, own, solutions[n])
            logits = problem.logits(solution, other)
            loss += float(problem.losses(logits, other).double().sum())
            right += _count_right(logits, problem.soft[other], problem.several)
            images += len(other)
            solutions[n] = solution
        found.append((loss, penalty, right / images))
        if len(found) > 2 and min(found)[1] > found[-2][1]:
            break
    _, best, accuracy = min(found)
    return best, accuracy


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
