"""Images that forward scales once more than they are already."""

import pytest
import torch

from torchloupe.checks.scaling import judge_scaling

NORMAL = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(0))
PIXELS = torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(0))
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


@pytest.mark.parametrize(
    ("images", "entry", "what"),
    [
        (NORMAL, NORMAL / 255, "divides by 255"),
        (NORMAL, NORMAL / 127.5 - 1, "divides by 127.5"),
        (PIXELS, PIXELS / 256, "divides by 256"),
        (NORMAL, (NORMAL - MEAN) / STD, "subtracts 0.449 and divides by 0.226"),
        (NORMAL, (NORMAL - 0.5) / 0.5, "subtracts 0.5 and divides by 0.5"),
    ],
)
def test_scaling_twice_is_named(images, entry, what):
    (verdict,) = judge_scaling(images, entry)
    assert (verdict.verdict, verdict.level) == ("images-scaled-again", "note")
    assert verdict.seen.startswith(f"forward {what} before the first layer")


@pytest.mark.parametrize(
    ("images", "entry"),
    [
        (NORMAL, NORMAL),
        (NORMAL, None),
        (NORMAL, NORMAL[:, :, ::2, ::2] / 255),
        (PIXELS * 255, PIXELS),
        (PIXELS, (PIXELS - MEAN) / STD),
        (PIXELS, PIXELS * 2 - 1),
        (NORMAL, (NORMAL * STD + MEAN - 0.5) / 0.5),
        (NORMAL, NORMAL / 250),
        (NORMAL, NORMAL.pow(2) / 255),
        (NORMAL, NORMAL.flip(3) / 255),
        (torch.zeros(4, 1, 3, 3), torch.zeros(4, 1, 3, 3)),
        (NORMAL, NORMAL * torch.nan),
    ],
)
def test_everything_else_is_not(images, entry):
    assert judge_scaling(images, entry) == []
