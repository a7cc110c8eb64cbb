"""Maps are found in whatever form a layer gives them, and nowhere else."""

import pytest
import torch
from torch import Tensor, nn

from torchloupe.errors import UsageError
from torchloupe.lens.maps import live_maps, maps_of, pick_layers
from torchloupe.lens.selection import select_layers
from torchloupe.model.zoo import ResidualNet


@pytest.mark.parametrize(
    ("shape", "size", "maps"),
    [
        ((2, 8, 7, 7), (28, 28), (2, 8, 7, 7)),
        ((2, 7, 7, 8), (224, 224), (2, 8, 7, 7)),
        ((2, 768, 7, 10), (224, 320), (2, 768, 7, 10)),
        ((2, 7, 10, 768), (224, 320), (2, 768, 7, 10)),
        ((2, 196, 32), (224, 224), (2, 32, 14, 14)),
        ((2, 197, 32), (224, 224), (2, 32, 14, 14)),
        ((2, 200, 32), (224, 224), (2, 32, 14, 14)),
        ((2, 1 + 6 * 4, 32), (96, 64), (2, 32, 6, 4)),
    ],
)
def test_maps_of_finds_channels_first_channels_last_and_tokens(shape, size, maps) -> None:
    assert maps_of(torch.zeros(shape), size).shape == maps


@pytest.mark.parametrize(
    "output",
    [
        torch.zeros(2, 10),
        torch.zeros(2, 8, 1, 1),
        torch.zeros(2, 7, 32),
        torch.zeros(2, 8, 7, 7, dtype=torch.int64),
        torch.zeros(2, 3, 4, 5, 6),
        (torch.zeros(2, 8, 7, 7),),
        None,
    ],
)
def test_maps_of_finds_none_where_there_are_none(output) -> None:
    assert maps_of(output, (28, 28)) is None


def test_maps_of_tokens_keep_their_places() -> None:
    tokens = torch.arange(1 + 4).float().reshape(1, 5, 1)
    assert maps_of(tokens, (8, 8)).tolist() == [[[[1, 2], [3, 4]]]]


def test_live_maps_come_in_the_order_in_which_layers_were_done() -> None:
    outputs, logits = live_maps(ResidualNet(), torch.rand(1, 1, 16, 16))
    names = list(outputs)
    assert names[:3] == ["stem.conv", "stem.norm", "stem"]
    assert names[-1] == "stage2"
    assert logits.shape == (1, 10)
    assert torch.autograd.grad(logits[0, 0], outputs["stage2"])[0].any()


def test_live_maps_leave_out_what_passes_its_input_on() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Identity(), nn.Dropout(), nn.Flatten())
    assert list(live_maps(model, torch.rand(1, 1, 4, 4))[0]) == ["0"]


def test_pick_layers_takes_a_few_of_different_parts_and_sizes() -> None:
    outputs, _ = live_maps(ResidualNet(), torch.rand(1, 1, 16, 16))
    picked = ["stem.conv", "stage1.0.conv", "stage1", "stage2"]
    assert pick_layers(outputs, (16, 16), "stage2") == picked
    assert pick_layers(outputs, (16, 16), "stem.conv") == ["stem.conv"]


def test_names_of_maps_are_names_that_can_be_asked_for() -> None:
    model = ResidualNet()
    outputs, _ = live_maps(nn.DataParallel(model), torch.rand(1, 1, 16, 16))
    assert set(select_layers(model, list(outputs))) == set(outputs)


def test_a_model_that_is_one_layer_has_no_layers_to_show() -> None:
    class One(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)

    assert live_maps(One(), torch.rand(1, 1, 4, 4))[0] == {}
    with pytest.raises(UsageError, match="no layer matches"):
        select_layers(One(), "conv")
