"""Copies of models that keep what a forward left in their attributes."""

import threading

import pytest
import torch

import own_models
from torchloupe.errors import UsageError
from torchloupe.lens.batch_dependence import first_difference
from torchloupe.lens.copies import copy_model
from torchloupe.lens.repetition import find_parting


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


def test_copy_model_names_what_can_not_be_copied():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    model[0].lock = threading.Lock()
    with pytest.raises(UsageError) as caught:
        copy_model(model)
    assert caught.value.message.endswith("(0.lock)")


def test_images_that_a_model_changes_in_place_are_left_alone():
    class InPlace(torch.nn.Module):
        def forward(self, images):
            images -= 1
            return images.flatten(1)

    images = torch.ones(2, 3)
    assert first_difference(InPlace(), InPlace(), images) is None
    assert find_parting(InPlace(), images) is None and bool((images == 1).all())
