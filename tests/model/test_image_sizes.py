"""The sizes that networks of libraries need, asked of the libraries."""

import pytest

from torchloupe.errors import UsageError
from torchloupe.model.image_sizes import fit_size, own_size, why_not


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        ("timm:crossvit_tiny_240", 240),
        ("timm:resnet10t", 176),
        ("timm:vit_tiny_patch16_224.augreg_in21k", 224),
        ("torchvision:inception_v3", 299),
        ("torchvision:maxvit_t", 224),
    ],
)
def test_own_size_is_that_of_the_library(spec, size):
    assert own_size(spec) == (size, size)


def test_own_size_of_other_models_is_unknown():
    assert own_size("residual") is None
    assert own_size("my.py:Net") is None


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        ("timm:crossvit_tiny_240", 240),
        ("timm:efficientformer_l1", 224),
        ("timm:halonet_h1", 256),
        ("torchvision:inception_v3", 299),
        ("torchvision:maxvit_t", 224),
    ],
)
def test_fit_size_takes_their_own_where_they_take_no_other(spec, size):
    values, note = fit_size(spec, (64, 64), {}, is_typed=False)
    assert values == {"data.size": str(size)}
    assert note == (
        f"images are resized to {size}x{size} pixels, the size {spec} was made for: it takes none "
        "of 64x64"
    )


@pytest.mark.parametrize(
    "spec",
    ["timm:resnet10t", "timm:vit_tiny_patch16_224", "torchvision:vit_b_32", "torchvision:resnet18"],
)
def test_fit_size_leaves_a_size_that_fits(spec):
    assert fit_size(spec, (64, 64), {}, is_typed=False) == ({}, "")
    assert why_not(spec, (64, 64)) == ""


def test_fit_size_error_texts():
    with pytest.raises(UsageError) as caught:
        fit_size("torchvision:inception_v3", (64, 64), {}, is_typed=True)
    assert caught.value.message == (
        "torchvision:inception_v3 takes no images of 64x64 pixels: Calculated padded input size "
        "per channel: (2 x 2). Kernel size: (3 x 3). Kernel size can't be greater than actual "
        "input size"
    )
    assert caught.value.hint == "use its own size: --set data.size=299"
    with pytest.raises(UsageError) as caught:
        fit_size("timm:crossvit_tiny_240", (64, 64), {"img_size": 7}, is_typed=False)
    assert caught.value.hint == "choose another model"
