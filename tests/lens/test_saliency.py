"""Heat lies where the evidence is, and looking for it changes nothing."""

import copy

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torchloupe.errors import UsageError
from torchloupe.lens import look_inside
from torchloupe.model.zoo import CNN, Net, ResidualNet

SIDE, PATCH = 24, 10


class Averaging(nn.Module):
    """Two convolutions and the mean of each map, as its user would write it."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.fc = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        return self.fc(F.relu(self.conv2(x)).mean(dim=(2, 3)))


def planted(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noise with one of four patterns in the upper left corner, which is the class."""
    source = torch.Generator().manual_seed(seed)
    images = 0.5 * torch.rand(count, 1, SIDE, SIDE, generator=source)
    labels = torch.randint(4, (count,), generator=source)
    line = (torch.arange(PATCH) % 2).float()
    checks = (line[:, None] + line) % 2
    square = torch.ones(PATCH, PATCH)
    patterns = torch.stack([line[:, None] * square, line * square, checks, square])
    images[:, 0, :PATCH, :PATCH] = patterns[labels]
    return images, labels


def learn(model: nn.Module) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(80):
        images, labels = planted(32, seed=step)
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("make", [Averaging, lambda classes: CNN(1, classes)])
def test_heat_lies_on_the_corner_that_decides_the_class(make) -> None:
    torch.manual_seed(0)
    model = make(4)
    learn(model)
    images, labels = planted(24, seed=1000)
    masses = []
    for image, label in zip(images, labels.tolist(), strict=True):
        insight = look_inside(model, image[None])
        assert int(insight.logits.argmax()) == label
        heat = insight.heat[label]
        masses.append(float(heat[: SIDE // 2, : SIDE // 2].sum() / heat.sum()))
    assert sum(masses) / len(masses) >= 0.8
    assert min(masses) > 0.6


def test_heat_is_the_gradient_times_the_maps() -> None:
    torch.manual_seed(0)
    model, image = Averaging(3).eval(), torch.rand(1, 1, 8, 8)
    insight = look_inside(model, image, which="conv2", classes=1)
    (class_,) = insight.heat
    maps = model.conv2(F.max_pool2d(F.relu(model.conv1(image)), 2)).detach().requires_grad_()
    logits = model.fc(F.relu(maps).mean(dim=(2, 3)))[0]
    others = torch.cat([logits[:class_], logits[class_ + 1 :]])
    (slope,) = torch.autograd.grad(logits[class_] - others.logsumexp(0), maps)
    wanted = (slope * maps.detach()).sum(dim=1, keepdim=True).relu()
    wanted = F.interpolate(wanted, size=(8, 8), mode="bilinear")[0, 0]
    assert torch.allclose(insight.heat[class_], wanted / wanted.max(), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "layer"),
    [
        (lambda: Net(1, 3), "conv"),
        (lambda: CNN(1, 3), "6"),
        (lambda: ResidualNet(1, 3), "stage2"),
        (lambda: timm.create_model("resnet10t", in_chans=1, num_classes=3), "layer3"),
        (
            lambda: timm.create_model(
                "vit_tiny_patch16_224", img_size=32, patch_size=8, in_chans=1, num_classes=3
            ),
            "blocks.11.norm1",
        ),
    ],
)
def test_the_last_layer_with_maps_is_found(make, layer: str) -> None:
    torch.manual_seed(0)
    insight = look_inside(make(), torch.rand(1, 1, 32, 32))
    assert insight.layer.endswith(layer)
    assert insight.layers[-1].name == insight.layer
    assert all(heat.shape == (32, 32) for heat in insight.heat.values())
    assert len(insight.heat) == 3


def test_layers_are_chosen_by_pattern() -> None:
    insight = look_inside(ResidualNet(), torch.rand(1, 1, 16, 16), which="*conv")
    assert [layer.name for layer in insight.layers][:2] == ["stem.conv", "stage1.0.conv"]
    assert insight.layer == "stage2.1.second.conv"
    assert insight.layers[0].type == "Conv2d"
    assert insight.layers[0].maps.shape == (32, 16, 16)


@pytest.mark.parametrize(
    ("which", "text"),
    [
        ("fc", "layer fc gives no maps of the image\nhint: layers that do: conv"),
        ("cnov", "no layer matches 'cnov'\nhint: did you mean 'conv'?"),
    ],
)
def test_layers_without_maps_are_refused(which: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        look_inside(Net(), torch.rand(1, 1, 8, 8), which=which)
    assert str(caught.value) == text


def test_a_model_without_maps_is_refused() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.ReLU(), nn.Linear(10, 3))
    with pytest.raises(UsageError) as caught:
        look_inside(model, torch.rand(1, 1, 8, 8))
    assert caught.value.message == (
        "no layer of this model gives maps of the image (for [1, 1, 8, 8] there is none with "
        "height and width): it has Flatten, Linear, ReLU"
    )
    assert "convolution" in caught.value.hint


class Shrinking(nn.Sequential):
    """A network whose maps are a single pixel from the second layer on."""

    def __init__(self, side: int) -> None:
        super().__init__(
            nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, side), nn.Flatten(), nn.Linear(4, 3)
        )


def test_maps_of_a_single_pixel_are_refused_as_what_they_are() -> None:
    with pytest.raises(UsageError) as caught:
        look_inside(Shrinking(8), torch.rand(1, 1, 8, 8), which="1")
    assert str(caught.value) == (
        "layer 1 gives maps of 1x1, which show no place in the image\nhint: layers that do: 0"
    )
    assert look_inside(Shrinking(8), torch.rand(1, 1, 8, 8)).layer == "0"
    with pytest.raises(UsageError) as caught:
        look_inside(Shrinking(1), torch.rand(1, 1, 1, 1))
    assert str(caught.value) == (
        "no layer of this model gives maps of the image: of 1x1 pixels layer 0 makes maps of 1x1, "
        "which show no place\nhint: train with larger images (--set data.size=64), or with fewer "
        "strides and pooling layers; `loupe predict` works with any"
    )


def test_looking_leaves_everything_as_it_was() -> None:
    model = ResidualNet().train()
    model.fc.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    image = torch.rand(1, 1, 16, 16)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    with torch.no_grad():
        look_inside(model, image)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert not image.requires_grad
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_frozen_models_have_heat_too() -> None:
    model = CNN(1, 3).requires_grad_(False)
    insight = look_inside(model, torch.rand(1, 1, 28, 28))
    assert any(heat.any() for heat in insight.heat.values())


def test_several_labels_are_looked_at_one_by_one() -> None:
    torch.manual_seed(0)
    model, image = Averaging(1), torch.rand(1, 1, 8, 8)
    single = look_inside(model, image)
    several = look_inside(model, image, multi_label=True)
    assert torch.equal(single.heat[0], several.heat[0])


@pytest.mark.gpu
def test_heat_on_a_gpu_is_that_of_the_cpu() -> None:
    torch.manual_seed(0)
    model, image = Averaging(3), torch.rand(1, 1, 16, 16)
    cpu = look_inside(model, image)
    gpu = look_inside(model.cuda(), image.cuda())
    assert cpu.layer == gpu.layer
    for class_, heat in cpu.heat.items():
        assert torch.allclose(heat, gpu.heat[class_], atol=1e-2)
