"""Copies of models that keep what a forward left in their attributes."""

import pytest
import torch

import own_models
from torchloupe.lens.copies import copy_model


@pytest.mark.filterwarnings("ignore:.*weight_norm.*")
def test_copy_model_copies_activations_without_their_graph():
    model = own_models.Keeping()
    model.fc = torch.nn.utils.weight_norm(model.fc)
    images = torch.randn(2, 3, 8, 8)
    model(images)
    copied = copy_model(model)
    assert copied.features.grad_fn is None
    assert model.features.grad_fn is not None
    assert torch.equal(copied.features, model.features)
    assert torch.equal(copied.eval()(images), model.eval()(images))
