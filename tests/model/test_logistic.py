"""Logistic regression for several parts: where the gradient, by autograd, is nothing."""

import pytest
import torch
import torch.nn.functional as F

from torchloupe.model import logistic
from torchloupe.model.logistic import make_regression

COUNT, CLASSES = 60, 3
LIMITS = {"tolerance": 1e-9, "iterations": 200}


def draw(width, several=False):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(COUNT) % CLASSES
    centres = torch.randn(CLASSES, width, generator=generator)
    values = centres[labels] + 2 * torch.randn(COUNT, width, generator=generator)
    values = values * torch.logspace(0, -2, width)  # a problem that is not round
    soft = F.one_hot(labels, CLASSES).float()
    if several:
        soft = torch.stack([labels == 0, labels != 1, labels > 0], dim=1).float()
    return values - values.mean(dim=0), soft


def gradient(problem, solution, rows, penalty):
    """By autograd in double, of the objective as its definition has it."""
    point = solution.double().clone().requires_grad_(True)
    logits = problem.values[rows].double() @ point[:-1] + point[-1]
    soft, weights = problem.soft[rows].double(), problem.class_weights
    weights = torch.ones(CLASSES) if weights is None else weights
    if problem.several:
        each = F.binary_cross_entropy_with_logits(logits, soft, reduction="none")
        loss = (each * weights).sum(dim=1).mean()
    else:
        each = -(logits.log_softmax(dim=1) * soft).sum(dim=1)
        loss = (each * (soft * weights).sum(dim=1)).mean()
    (loss + penalty / 2 * point[:-1].square().sum()).backward()
    return point.grad


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 2.0, 0.5])])
@pytest.mark.parametrize("penalty", [1.0, 1e-3])
def test_each_part_is_solved_as_if_it_were_alone(several, weights, penalty):
    values, soft = draw(8, several)
    problem = make_regression(values, soft, several=several, class_weights=weights)
    parts = torch.ones(COUNT, 3)
    parts[:20, 0] = parts[30:, 1] = 0
    solution = problem.solve(penalty, parts, **LIMITS)
    assert solution.shape == (9, 3, CLASSES)
    for n in range(3):
        found = gradient(problem, solution[:, n], parts[:, n] > 0, penalty)
        assert found.abs().max() < 2e-4


def test_many_coordinates_are_preconditioned_by_some_and_solved_alike(monkeypatch):
    values, soft = draw(40)
    exact = make_regression(values, soft, several=False, class_weights=None)
    monkeypatch.setattr(logistic, "MOST_EXACT", 10)
    monkeypatch.setattr(logistic, "MOST_AXES", 6)
    some = make_regression(values, soft, several=False, class_weights=None)
    assert (exact.axes.shape, some.axes.shape) == ((40, 40), (40, 6))
    assert torch.allclose(some.variances, exact.variances[-6:], rtol=0.05)
    everything = torch.ones(COUNT, 1)
    one, other = (p.solve(0.01, everything, **LIMITS) for p in (exact, some))
    assert torch.allclose(one, other, atol=2e-3)
    assert gradient(some, other[:, 0], slice(None), 0.01).abs().max() < 2e-4


def test_solution_does_not_depend_on_where_it_starts():
    values, soft = draw(8)
    problem = make_regression(values, soft, several=False, class_weights=None)
    everything = torch.ones(COUNT, 1)
    begin = 30 * torch.randn(9, 1, CLASSES, generator=torch.Generator().manual_seed(1))
    begin -= begin.mean(dim=2, keepdim=True)  # softmax takes biases for equal that differ by one
    near, far = (problem.solve(0.01, everything, start, **LIMITS) for start in (None, begin))
    assert torch.allclose(near, far, atol=2e-3)
    assert torch.equal(near, problem.solve(0.01, everything, **LIMITS))


def test_losses_of_rows_have_the_weights_of_their_classes():
    values, soft = draw(8)
    weights = torch.tensor([1.0, 2.0, 0.5])
    problem = make_regression(values, soft, several=False, class_weights=weights)
    logits = problem.logits(torch.randn(9, 2, CLASSES, generator=torch.Generator().manual_seed(2)))
    own = F.cross_entropy(logits[:, 1], soft.argmax(dim=1), weight=weights, reduction="none")
    assert torch.allclose(problem.losses(logits)[:, 1], own, atol=1e-5)


@pytest.mark.parametrize("several", [False, True])
def test_parts_that_a_plane_separates_are_solved_with_a_penalty_of_next_to_nothing(several):
    values, soft = draw(100, several)
    problem = make_regression(10 * values, soft, several=several, class_weights=None)
    everything, solution = torch.ones(COUNT, 1), None
    for penalty in (1.0, 1e-2, 1e-5, 1e-8):
        solution = problem.solve(penalty, everything, solution, tolerance=1e-3, iterations=200)
        loss = problem.losses(problem.logits(solution)).mean()
        assert loss + penalty / 2 * solution[:-1].square().sum() < 0.7
        assert gradient(problem, solution[:, 0], slice(None), penalty).abs().max() < 0.02
