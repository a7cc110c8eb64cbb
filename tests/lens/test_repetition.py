"""Forwards in eval mode that don't repeat their logits: whether it is seen, and where they part."""

import pytest
import torch
from torch import nn

import own_models as models
from torchloupe.lens.repetition import find_batch_norm, find_parting


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("kind", "layer", "after", "function"),
    [
        (models.AlwaysDropping, "AlwaysDropping", "body (Sequential)", "dropout"),
        (
            models.AttendsWithDropout,
            "AttendsWithDropout",
            "body (Sequential)",
            "scaled_dot_product_attention",
        ),
        (models.Noisy, "noise (Noise)", "", "randn_like"),
        (lambda: models.Noisy(torch.Generator()), "noise (Noise)", "", "randn"),
        (models.RarelyDropping, "RarelyDropping", "body (Sequential)", "rand"),
        (models.NumpyNoise, "NumpyNoise", "body (Sequential)", ""),
    ],
)
def test_find_parting_names_the_innermost_module_that_draws(kind, layer, after, function, images):
    found = find_parting(kind(), images)
    assert (found.layer, found.after, found.function) == (layer, after, function)
    assert found.gap > 0 and not found.in_training


def test_find_parting_names_a_buffer_that_changes_in_eval_mode(images):
    model = models.Annealed()
    found = find_parting(model, images)
    assert found.buffer == "factor" and 0 < found.gap < 0.02
    assert model.factor == 1.0
    assert find_parting(models.LastSeen(), images) is None  # changes nothing that is given
    used = models.LastSeen().eval()
    with torch.inference_mode():
        used(images)
    assert used.last.is_inference() and find_parting(used, images) is None


def test_find_parting_names_a_layer_that_eval_does_not_reach(images):
    found = find_parting(models.OwnTrain(), images)
    assert found.layer == "drop (Dropout)" and found.in_training


@pytest.mark.parametrize("kind", [models.Small, models.DrawsForNothing, models.Lazy])
def test_find_parting_finds_nothing_where_logits_are_repeated(kind, images):
    assert find_parting(kind(), images) is None


def test_find_parting_changes_nothing(images):
    model, random = models.AlwaysDropping(), torch.random.get_rng_state()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    find_parting(model, images)
    assert model.training and torch.equal(random, torch.random.get_rng_state())
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_find_batch_norm_finds_what_uses_the_batch_in_eval_mode(images):
    assert find_batch_norm(models.NormInTraining(), images).title == "body.1 (BatchNorm2d)"
    assert find_batch_norm(models.NormByHand(), images).functions == ["batch_norm"]
    assert find_batch_norm(models.Small(), images) is None
    assert find_batch_norm(nn.Identity(), images) is None
