"""Muon: its steps beside the formula and torch's own, on filters, matrices and vectors."""

import copy
import math

import pytest
import torch
from torch import nn

from torchloupe.model.muon import Muon, orthogonalise
from torchloupe.model.optimizers import make_optimizer
from torchloupe.model.zoo import ResidualNet


def parameter(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    made = nn.Parameter(torch.randn(shape, generator=generator))
    made.grad = torch.randn(shape, generator=generator)
    return made


@pytest.mark.parametrize("shape", [(8, 72), (72, 8), (16, 16), (1, 9), (9, 1)])
def test_singular_values_end_near_one(shape):
    given = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    found = orthogonalise(given)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.3 if shape == (16, 16) else values.min() > 0.6
    assert values.max() < 1.3
    left, _, right = torch.linalg.svd(given, full_matrices=False)
    cosine = torch.cosine_similarity(found.flatten(1), (left @ right).flatten(1))
    assert cosine.min() > 0.95


def test_matrices_do_not_mix_within_a_batch():
    given = torch.randn(4, 8, 20, generator=torch.Generator().manual_seed(2))
    alone = torch.cat([orthogonalise(matrix[None]) for matrix in given])
    torch.testing.assert_close(orthogonalise(given), alone)


@pytest.mark.parametrize("shape", [(16, 40), (40, 16)])
def test_iterations_on_the_gram_matrix_are_those_on_the_matrix(shape):
    """Also where singular values differ 100,000-fold, as those of gradients do."""
    generator = torch.Generator().manual_seed(4)
    left, _, right = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
    given = left @ torch.logspace(0, -5, 16).diag() @ right
    x = given.double() / given.double().norm()
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x - 4.775 * square @ x + 2.0315 * square @ square @ x
    difference = orthogonalise(given[None])[0] - x
    assert difference.norm() < 2e-3 * x.norm()


def test_zero_gradient_gives_a_step_of_zero():
    assert torch.equal(orthogonalise(torch.zeros(1, 3, 5)), torch.zeros(1, 3, 5))


def test_half_precision_is_computed_in_float32():
    given = 1e4 * torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(3))
    found = orthogonalise(given.half())  # its norm is above what fp16 holds
    assert found.dtype == torch.float32
    assert found.isfinite().all()


def test_step_follows_the_formula():
    """Two steps of a filter bank, by hand: momentum, look ahead, orthogonal, decay, length."""
    filters = parameter(6, 4, 3, 3)
    weight, kept = filters.detach().clone(), torch.zeros(6, 36)
    optimizer = Muon([filters], lr=0.1, weight_decay=0.25, momentum=0.75)
    for seed in (5, 6):
        filters.grad = parameter(6, 4, 3, 3, seed=seed).detach().clone()
        gradient = filters.grad.reshape(6, 36)
        kept = 0.75 * kept + gradient
        x = gradient + 0.75 * kept
        x = x / x.norm()
        for _ in range(5):
            square = x @ x.T
            x = 3.4445 * x - 4.775 * square @ x + 2.0315 * square @ square @ x
        weight = (1 - 0.1 * 0.25) * weight - 0.1 * 0.2 * math.sqrt(36) * x.reshape(6, 4, 3, 3)
        optimizer.step()
    torch.testing.assert_close(filters.detach(), weight)
    assert set(optimizer.state[filters]) == {"momentum_buffer"}


def test_matrix_agrees_with_torch_to_what_bf16_holds():
    ours, theirs = parameter(8, 24), parameter(8, 24)
    common = {"lr": 0.1, "weight_decay": 0.5, "momentum": 0.9}
    before = ours.detach().clone()
    Muon([ours], **common).step()
    torch.optim.Muon([theirs], adjust_lr_fn="match_rms_adamw", **common).step()
    step, other = ours.detach() - before, theirs.detach() - before
    assert torch.cosine_similarity(step.flatten(), other.flatten(), dim=0) > 0.999
    assert (step - other).norm() < 0.03 * other.norm()


@pytest.mark.parametrize(("shape", "orthogonal"), [((7,), True), ((), True), ((4, 3), False)])
def test_all_others_get_the_bits_of_adamw(shape, orthogonal):
    ours, theirs = parameter(*shape), parameter(*shape)
    common = {"lr": 0.1, "weight_decay": 0.5, "betas": (0.8, 0.9), "eps": 1e-6}
    mine = Muon([{"params": [ours], "orthogonal": orthogonal}], **common)
    other = torch.optim.AdamW([theirs], fused=True, **common)
    for _ in range(3):
        mine.step()
        other.step()
    assert torch.equal(ours, theirs)


def test_parameters_without_a_gradient_stay():
    moved, still, vector = parameter(4, 4), parameter(4, 4, seed=1), parameter(4, seed=2)
    still.grad = vector.grad = None
    before = [still.clone(), vector.clone()]
    optimizer = Muon([moved, still, vector])
    optimizer.step()
    assert [torch.equal(p, b) for p, b in zip((still, vector), before, strict=True)] == [True] * 2
    assert set(optimizer.state) == {moved}


def test_memory_format_changes_no_bit():
    plain = ResidualNet(3, 4, width=8)
    other = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    for model in (plain, other):
        optimizer = Muon(model.parameters(), lr=0.01)
        for seed in range(2):
            for k, p in enumerate(model.parameters()):
                p.grad = torch.empty_like(p).copy_(parameter(*p.shape, seed=10 * k + seed).detach())
            optimizer.step()
    pairs = zip(plain.parameters(), other.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


def test_step_is_left_out_where_found_inf_says_so():
    """NaN in the gradients, and neither weights nor state change; the next step is as if none."""
    marred, clean = ([parameter(3, 5), parameter(5)] for _ in range(2))
    optimizers = [Muon(parameters, lr=0.1) for parameters in (marred, clean)]
    for optimizer in optimizers:
        optimizer.step()
    good = [p.grad for p in marred]
    for p in marred:
        p.grad = torch.full_like(p, torch.nan)
    optimizers[0].grad_scale, optimizers[0].found_inf = None, torch.tensor(1.0)
    optimizers[0].step()
    optimizers[0].found_inf = torch.tensor(0.0)
    for p, gradient in zip(marred, good, strict=True):
        p.grad = gradient
    for optimizer in optimizers:
        optimizer.step()
    assert all(torch.equal(one, two) for one, two in zip(marred, clean, strict=True))


def test_state_that_was_saved_goes_on_with_the_same_bits():
    one, two = [parameter(3, 4, 3, 3), parameter(4)], [parameter(3, 4, 3, 3), parameter(4)]
    first, second = Muon(one, lr=0.1), Muon(two, lr=0.3)
    first.step()
    for p, q in zip(two, one, strict=True):
        p.data.copy_(q.data)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    first.step()
    second.step()
    assert all(torch.equal(p, q) for p, q in zip(one, two, strict=True))


def test_closure_is_called_with_gradients_on():
    weight = nn.Parameter(torch.ones(2, 2))

    def closure():
        loss = weight.square().sum()
        loss.backward()
        return loss

    assert Muon([weight]).step(closure) == 4
    assert (weight != 1).any()


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"lr": -1.0}, "lr must be at least 0, got -1.0"),
        ({"weight_decay": -0.5}, "weight_decay must be at least 0, got -0.5"),
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1, got 1.0"),
        ({"betas": (0.9, 2.0)}, "betas must be at least 0 and below 1, got 2.0"),
    ],
)
def test_values_out_of_range(wrong, text):
    with pytest.raises(ValueError, match=text):
        Muon([parameter(2, 2)], **wrong)


def test_muon_by_name_takes_every_parameter_and_decays_weights_only():
    model = ResidualNet(1, 3, width=8)
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = make_optimizer("muon", model, lr=0.01, weight_decay=0.05)
    assert type(optimizer) is Muon
    named = {id(p): name for name, p in model.named_parameters()}
    held = [[named[id(p)] for p in group["params"]] for group in optimizer.param_groups]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.05, 0.05, 0.0]
    assert [group["orthogonal"] for group in optimizer.param_groups] == [True, False, True]
    assert held[1] == ["fc.weight"]
    assert sorted(name for names in held for name in names) == sorted(named.values())
    model(torch.rand(4, 1, 8, 8)).square().mean().backward()
    optimizer.step()
    assert all((p != b).any() for p, b in zip(model.parameters(), before, strict=True))
