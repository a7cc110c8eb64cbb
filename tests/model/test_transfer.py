"""Backbones with a new head: their features, their views, their rates, and folded norms."""

import pytest
import torch
from torch import nn

from torchloupe.errors import UsageError
from torchloupe.model.folding import fold_norms
from torchloupe.model.head import moderate
from torchloupe.model.optimizers import make_optimizer
from torchloupe.model.transfer import LITE, is_from_this_package, make_transfer
from torchloupe.model.zoo import CNN


def make(spec=LITE, size=32, **more):
    torch.manual_seed(0)
    return make_transfer(spec, in_channels=3, classes=5, image_size=(size, size), **more)


@pytest.fixture(scope="module")
def lite():
    return make().eval()


def images(count=2, size=32):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_transfer_gives_a_logit_a_class_from_features_of_five_depths(lite):
    assert lite(images()).shape == (2, 5)
    features = lite.body(images())
    assert features.shape == (2, 40 + 80 + 112 + 192 + 1280)
    assert torch.allclose(features.square().sum(1), torch.full((2,), 5.0), atol=1e-5)


def test_features_of_inner_channels_come_before_the_deepest(lite):
    wide = make(options={"inner": True}).eval()
    wide.body.load_state_dict(lite.body.state_dict())  # the same names, in the same order
    assert list(wide.body.state_dict()) == list(lite.body.state_dict())
    assert wide.body.parts == (40, 80, 112, 192, 240, 480, 672, 1152, 1152, 1280)
    assert lite.body.parts == (40, 80, 112, 192, 1280)
    with torch.inference_mode():
        seen, same = wide.body(images()), lite.body(images())
        inner = []
        projection = lite.body.blocks[3][-1].conv_pwl
        handle = projection.register_forward_pre_hook(lambda _, given: inner.append(given[0]))
        lite.body(images())
        handle.remove()
        logits = wide(images())
    assert torch.allclose(logits, wide.head(moderate(seen)), atol=1e-6)  # without bounds yet
    assert lite.low is None and list(lite.state_dict())[-1] == "head.bias"
    assert torch.equal(seen[:, :424], same[:, :424])
    assert torch.equal(seen[:, -1280:], same[:, -1280:])
    wanted = nn.functional.normalize(inner[0].mean(dim=(2, 3)))
    assert torch.allclose(seen[:, 424 + 240 : 424 + 240 + 480], wanted, atol=1e-6)


@pytest.mark.parametrize(("spec", "inner"), [(LITE, 2), ("timm:resnet10t", True)])
def test_inner_channels_are_the_installed_backbones(spec, inner):
    with pytest.raises(UsageError, match=r"model.options.inner is .*: true, for timm:tf_eff"):
        make(spec, options={"inner": inner})


def test_transfer_with_two_views_takes_an_image_and_its_mirror_image_alike():
    model = make(options={"views": 2}).eval()
    with torch.inference_mode():
        assert torch.allclose(model(images()), model(images().flip(3)), atol=1e-6)
        assert not torch.allclose(model.body(images()), model.body(images().flip(3)))


@pytest.mark.parametrize("views", [0, 3, "many"])
def test_views_are_one_or_two(views):
    with pytest.raises(UsageError, match="an image has 1 or 2 views"):
        make(options={"views": views})


def test_norms_of_the_body_keep_their_statistics_in_training():
    model = make()
    model.train()
    before = model.body.bn1.running_mean.clone()
    model(images(4)).sum().backward()
    assert model.training
    assert torch.equal(before, model.body.bn1.running_mean)
    assert model.body.bn1.weight.grad is not None


def test_rates_rise_from_the_first_layer_to_the_head(lite):
    rates = lite.rates()
    assert set(rates) == {name for name, _ in lite.named_parameters()}
    order = ["body.conv_stem.weight", "body.blocks.0.0.conv_dw.weight"]
    order += ["body.blocks.6.0.conv_pw.weight", "body.conv_head.weight", "head.weight"]
    assert [rates[name] for name in order] == sorted({rates[name] for name in order})
    assert rates["head.weight"] == 1


def test_optimizer_gives_each_parameter_its_share_of_the_rate(lite):
    optimizer = make_optimizer("adamw", lite, lr=0.1, weight_decay=0.05, rates=lite.rates())
    found = {
        id(parameter): (group["initial_lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert len(found) == len(list(lite.parameters()))
    for name, parameter in lite.named_parameters():
        decay = 0.05 if parameter.ndim >= 2 else 0.0
        assert found[id(parameter)] == (pytest.approx(0.1 * lite.rates()[name]), decay)


def test_only_the_zoo_and_the_installed_backbone_are_from_this_package(lite):
    assert is_from_this_package(lite)
    assert is_from_this_package(CNN(in_channels=3, classes=5))
    assert not is_from_this_package(make("timm:resnet10t"))
    assert not is_from_this_package(lite.body)


@pytest.mark.parametrize(
    "spec", ["torchvision:resnet18", "timm:resnet10t", "torchvision:mobilenet_v3_small"]
)
def test_any_network_with_a_linear_last_layer_becomes_a_backbone(spec):
    model = make(spec).eval()
    assert model(images()).shape == (2, 5)
    assert torch.allclose(model.body(images()).norm(dim=1), torch.ones(2), atol=1e-5)


def test_network_without_a_linear_last_layer_is_refused():
    with pytest.raises(UsageError, match="no linear last layer"):
        make("torchvision:squeezenet1_1", size=64)


@pytest.mark.parametrize(
    ("spec", "options"),
    [(LITE, {"inner": True}), ("torchvision:resnet18", {}), ("torchvision:densenet121", {})],
)
def test_folded_norms_change_no_output(spec, options):
    body = make(spec, size=64, options=options).body.eval()
    for norm in (m for m in body.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))
        norm.running_var.uniform_(0.5, 2, generator=torch.Generator().manual_seed(2))
    folded = fold_norms(body, images(size=64))
    with torch.inference_mode():
        assert torch.allclose(folded(images(3, 64)), body(images(3, 64)), atol=1e-4)
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    assert norms < sum(isinstance(m, nn.BatchNorm2d) for m in body.modules())


def test_norms_that_only_look_foldable_are_left():
    class Crossed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
            self.norm.running_mean.fill_(2.0)

        def forward(self, x):
            return self.conv(self.norm(x))

    model = Crossed().eval()
    folded = fold_norms(model, images())
    with torch.inference_mode():
        assert torch.equal(folded(images()), model(images()))
