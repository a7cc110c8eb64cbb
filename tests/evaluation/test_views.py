"""Test-time views: what they show, and that logits are their mean."""

import pytest
import torch
from torch import nn

from torchloupe.errors import UsageError
from torchloupe.evaluation.views import VIEWS, forward_views, make_views

IMAGES = torch.rand(3, 2, 8, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("views", VIEWS)
def test_views_are_as_many_as_they_say_and_in_the_shape_of_the_image(views):
    made = list(make_views(IMAGES, views))
    assert len(made) == VIEWS[views]
    assert {view.shape for view in made} == {IMAGES.shape}
    assert torch.equal(made[0], IMAGES)
    assert all(not torch.equal(one, two) for one in made for two in made if one is not two)


def test_flip_mirrors_left_and_right():
    assert torch.equal(list(make_views(IMAGES, "flip"))[1], IMAGES.flip(-1))
    ten = list(make_views(IMAGES, "ten"))
    assert all(torch.equal(ten[k].flip(-1), ten[k + 1]) for k in range(0, 10, 2))


def test_corners_are_enlarged():
    """A picture whose right half is white: the right corners are mostly white, left ones not."""
    half = torch.zeros(1, 1, 16, 16)
    half[..., 8:] = 1.0
    means = [float(view.mean()) for view in make_views(half, "five")][1:]
    left, right = 6 / 14, 8 / 14
    assert means == pytest.approx([left, right, left, right], abs=0.01)


def test_logits_are_the_mean_over_the_views():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(2 * 8 * 16, 4)).eval()
    with torch.inference_mode():
        found = forward_views(model, IMAGES, "ten")
        wanted = torch.stack([model(view) for view in make_views(IMAGES, "ten")]).mean(0)
        assert torch.allclose(found, wanted, atol=1e-6)
        assert torch.equal(
            forward_views(model, IMAGES[:1], "five"), forward_views(model, IMAGES, "five")[:1]
        )


def test_tiny_images_have_views():
    assert len(list(make_views(torch.rand(1, 1, 1, 1), "ten"))) == 10


def test_unknown_views_are_refused():
    with pytest.raises(UsageError, match="views are one, flip, five, ten, got 'flop'") as raised:
        list(make_views(IMAGES, "flop"))
    assert "flip" in raised.value.hint
