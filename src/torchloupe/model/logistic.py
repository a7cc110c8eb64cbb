"""Penalised logistic regression on fixed values, for several subsets of the rows at a time.

Nonlinear conjugate gradients (Polak and Ribiere 1969), preconditioned by the leading eigenvectors
of the covariance. All subsets share each product of matrices, which is then wide enough for a CPU
to compute at its full rate. Logits are linear in the weights, so that a search along a direction
needs no further product. It knows nothing of images, folds or the choice of a penalty.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

MOST_AXES = 384  # directions that are preconditioned one by one
MOST_EXACT = 768  # coordinates up to which all directions are
PASSES = 3  # of the subspace iteration that finds them
MOST_TRIALS = 12  # of a step along one direction
_LEAST_LOSS = 1e-5  # nats; what is gained below it is rounding
_WIDER = 4.0  # times the last step, at most: far out probabilities round to 0 and 1
_FLATTER = 0.1  # a step is taken once the slope along it is so much flatter


@dataclass(frozen=True, eq=False)
class Regression:
    """The mean loss of rows plus half the squared weights times a penalty.

    A solution [R + 1, P, K] has weights of R coordinates, last the biases, for P parts (subsets of
    the rows) and K outputs.
    """

    values: Tensor  # [N, R], centred
    soft: Tensor  # [N, K], targets
    several: bool  # outputs are independent; else a row's targets sum to 1
    class_weights: Tensor | None  # [K]
    axes: Tensor  # [R, A], eigenvectors of the covariance
    variances: Tensor  # [A], in double
    rest: float  # the usual variance in all other directions; infinite if there are none

    def solve(
        self,
        penalty: float,
        parts: Tensor,
        start: Tensor | None = None,
        *,
        tolerance: float,
        iterations: int,
    ) -> Tensor:
        """The best solution [R + 1, P, K] for `parts` [N, P], 1 for the rows of a part, else 0.

        It ends when what each part could still gain is about `tolerance` of the penalty's share of
        its loss. Not of a fixed loss: where a weak penalty leaves next to none, a fit would end at
        once, and pass for a better one (docs/LOG.md).
        """
        share = self._share_of(parts)
        shape = (self.values.shape[1] + 1, parts.shape[1], self.soft.shape[1])
        point = self.values.new_zeros(shape) if start is None else start.clone()
        logits = self.logits(point)
        shift = self._shift(logits, share)[0]
        step = torch.ones(parts.shape[1])
        direction, before = torch.zeros_like(point), torch.zeros_like(point)
        size_before = torch.full_like(step, torch.inf)
        for _ in range(iterations):
            gradient = self._pull(shift, point, penalty)
            ready = self._precondition(gradient, penalty)
            size = _dot(gradient, ready)
            if bool((size <= tolerance * self._level(point, penalty)).all()):
                break
            turn = (_dot(ready, gradient - before) / size_before).clamp(min=0)
            turn = torch.where(turn * _dot(gradient, direction) < size, turn, 0.0)  # downhill
            direction = turn[:, None] * direction - ready
            before, size_before = gradient, size.clamp(min=1e-30)
            along = self.logits(direction)
            slopes = (
                penalty * _dot(point[:-1], direction[:-1]),
                penalty * _dot(direction[:-1], direction[:-1]),
            )
            step, shift = self._search(logits, along, share, slopes, step)
            point += step[:, None] * direction
            logits += step[:, None] * along
        return point

    def gap(self, solution: Tensor, penalty: float, parts: Tensor) -> Tensor:
        """What each part [P] could still gain, relative to the penalty's share of its loss.

        It is what `solve` compares with its tolerance: larger, where it ran out of iterations.
        """
        share = self._share_of(parts)
        shift = self._shift(self.logits(solution), share)[0]
        gradient = self._pull(shift, solution, penalty)
        size = _dot(gradient, self._precondition(gradient, penalty))
        return size / self._level(solution, penalty)

    def logits(self, solution: Tensor) -> Tensor:
        """Logits [N, P, K] of all rows."""
        found = self.values @ solution[:-1].flatten(1)
        return found.view(-1, *solution.shape[1:]) + solution[-1]

    def losses(self, logits: Tensor) -> Tensor:
        """The weighted loss [N, P] of each row, from logits [N, P, K]."""
        targets, shares = self.soft[:, None], self._shares()
        if self.several:
            targets = targets.expand_as(logits)
            each = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
            return (each * shares).sum(dim=2)
        return -(logits.log_softmax(dim=2) * targets * shares).sum(dim=2)

    def _level(self, solution: Tensor, penalty: float) -> Tensor:
        """The penalty's share [P] of the loss, twice, and what is rounding."""
        return penalty * _dot(solution[:-1], solution[:-1]) + _LEAST_LOSS

    def _share_of(self, parts: Tensor) -> Tensor:
        """The weight of each row, or output, in the mean loss of each part [N, P, 1 or K]."""
        return self._shares() * (parts / parts.sum(dim=0).clamp(min=1))[:, :, None]

    def _shares(self) -> Tensor:
        """The weight of each row [N, 1, 1], or of each output [1, 1, K] where there are several."""
        if self.class_weights is None:
            return self.values.new_ones(1, 1, 1)
        if self.several:
            return self.class_weights[None, None]
        return (self.soft @ self.class_weights)[:, None, None]

    def _shift(self, logits: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """The derivative [N, P, K] of the loss by the logits, and the probabilities."""
        likely = logits.sigmoid() if self.several else logits.softmax(dim=2)
        return (likely - self.soft[:, None]) * share, likely

    def _pull(self, shift: Tensor, point: Tensor, penalty: float) -> Tensor:
        """The gradient [R + 1, P, K]."""
        gradient = torch.empty_like(point)
        pulled = self.values.T @ shift.flatten(1)
        torch.add(pulled.view_as(point[:-1]), point[:-1], alpha=penalty, out=gradient[:-1])
        gradient[-1] = shift.sum(dim=0)
        return gradient

    def _precondition(self, gradient: Tensor, penalty: float) -> Tensor:
        """The gradient by the inverse of the Hessian at equal probabilities."""
        curvature = self._curvature()
        rest = 1 / (curvature * self.rest + penalty)
        more = (1 / (curvature * self.variances + penalty) - rest).float()[:, None]
        flat = gradient[:-1].flatten(1)
        ready = torch.empty_like(gradient)
        inner = torch.addmm(flat, self.axes, more * (self.axes.T @ flat), beta=rest)
        ready[:-1] = inner.view_as(gradient[:-1])
        ready[-1] = gradient[-1] / curvature
        return ready

    def _curvature(self) -> float:
        outputs = self.soft.shape[1]
        return 0.25 if self.several else max(1 / outputs * (1 - 1 / outputs), 1e-3)

    def _search(
        self,
        logits: Tensor,
        along: Tensor,
        share: Tensor,
        slopes: tuple[Tensor, Tensor],
        step: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """A step [P] near the least loss along a direction, and `_shift` there.

        Newton's method within a bracket, from `step` on; the loss is convex. The slope of the
        penalty is `slopes[0]`, and grows by `slopes[1]` a unit.
        """
        first = (self._shift(logits, share)[0] * along).sum(dim=(0, 2)) + slopes[0]
        low, high = torch.zeros_like(step), torch.full_like(step, torch.inf)
        step = torch.where(step > 0, step, 1.0)
        for _ in range(MOST_TRIALS):
            shift, likely = self._shift(logits + step[:, None] * along, share)
            slope = (shift * along).sum(dim=(0, 2)) + slopes[0] + step * slopes[1]
            done = slope.abs() <= _FLATTER * first.abs()
            if bool(done.all()):
                return step, shift
            pulled = likely * along * share
            square = (pulled * along).sum(dim=(0, 2)) + slopes[1]
            if self.several:
                square -= (pulled * likely * along).sum(dim=(0, 2))
            else:
                square -= (pulled.sum(dim=2) * (likely * along).sum(dim=2)).sum(dim=0)
            low, high = torch.where(slope < 0, step, low), torch.where(slope < 0, high, step)
            newton = step - slope / square.clamp(min=1e-30)
            middle = torch.where(high.isinf(), _WIDER * step, (low + high) / 2)
            most = torch.where(high.isinf(), _WIDER * step, high)
            better = torch.where((newton > low) & (newton < most), newton, middle)
            step = torch.where(done, step, better)
        step = torch.where(done, step, low)  # the loss falls up to there: it is convex
        return step, self._shift(logits + step[:, None] * along, share)[0]


def make_regression(
    values: Tensor, soft: Tensor, *, several: bool, class_weights: Tensor | None
) -> Regression:
    """The regression of `soft` [N, K] on `values` [N, R], which are centred."""
    count, width = values.shape
    if width <= MOST_EXACT:
        exact = values.double()
        variances, axes = torch.linalg.eigh(exact.T @ exact / count)
        kept = (axes.float(), variances.clamp(min=0))
        return Regression(values, soft, several, class_weights, *kept, math.inf)
    axes = torch.randn(width, MOST_AXES, generator=torch.Generator().manual_seed(0))
    for _ in range(PASSES):  # subspace iteration: Halko and others 2011, algorithm 4.4
        axes = torch.linalg.qr(values.T @ (values @ axes)).Q
    inner = (values @ axes).double()
    variances, turn = torch.linalg.eigh(inner.T @ inner / count)
    total = float(values.double().square().sum()) / count
    rest = max(0.0, total - float(variances.sum())) / (width - MOST_AXES)
    axes = (axes.double() @ turn).float()
    return Regression(values, soft, several, class_weights, axes, variances.clamp(min=0), rest)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """The product [P] of two solutions [R, P, K], part by part."""
    return (one * other).sum(dim=(0, 2))
