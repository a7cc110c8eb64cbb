"""The map of the images."""

import numpy as np
import pytest
import torch
from torch import nn

from torchloupe.trained.facts.embedding import LastInputs, place_points


def test_groups_stay_apart_and_the_map_is_the_same_each_time():
    random = np.random.default_rng(0)
    centres = random.normal(0, 10, (3, 40))
    groups = np.repeat(np.arange(3), 20)
    features = (centres[groups] + random.normal(0, 1, (60, 40))).astype(np.float32)
    places = place_points(features)
    assert places.shape == (60, 2)
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (groups[distances.argmin(axis=1)] == groups).mean() > 0.95
    assert np.array_equal(places, place_points(features))


@pytest.mark.parametrize("features", [np.zeros((15, 8)), np.arange(15.0)[:, None]])
def test_features_without_spread_have_a_place(features):
    places = place_points(features.astype(np.float32))
    assert places.shape == (15, 2)
    assert np.isfinite(places).all()


def test_many_points_with_one_far_away_and_many_equal_have_a_place():
    features = np.random.default_rng(0).integers(0, 2, (1_010, 6)).astype(np.float32)
    features[0] = 1e6
    places = place_points(features)
    assert places.shape == (1_010, 2)
    assert np.isfinite(places).all()


def test_the_inputs_of_the_last_linear_layer_are_heard():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    images = torch.rand(4, 3, 2, 2)
    with torch.no_grad(), LastInputs(model) as last:
        logits = model(torch.cat([images, images[-1:].expand(12, -1, -1, -1)]))[:4]
        features = last.take(logits)
    torch.testing.assert_close(features, model[:3](images).detach())
    assert not model[3]._forward_pre_hooks


def test_a_model_without_a_linear_layer_gives_its_logits():
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad(), LastInputs(model) as last:
        logits = model(torch.rand(3, 1, 4, 4))
        assert torch.equal(last.take(logits), logits)
