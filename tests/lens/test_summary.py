"""Counts equal to published ones, and to those of a plain computation; nothing left behind."""

import copy

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from torchloupe.errors import UsageError
from torchloupe.lens import summarise
from torchloupe.lens.summary import weigh_optimizer
from torchloupe.model.zoo import CNN, Net, ResidualNet

# torchvision publishes both numbers with its weights: num_params, and _ops in 1e9 multiply-adds.
TORCHVISION = [
    *("alexnet", "vgg16_bn", "resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2"),
    *("mobilenet_v2", "mobilenet_v3_small", "mnasnet1_0", "shufflenet_v2_x1_0", "squeezenet1_0"),
    "vit_b_32",
]
TORCHVISION_SLOW = [
    *("densenet121", "densenet201", "efficientnet_b0", "efficientnet_v2_s", "inception_v3"),
    *("convnext_tiny", "swin_t", "swin_v2_t", "maxvit_t", "vit_l_16", "regnet_y_400mf"),
    *("resnet152", "googlenet", "resnext101_64x4d"),
]
# name: (side, millions of parameters, 1e9 multiply-adds) as timm publishes them in
# results/benchmark-infer-fp32-nchw-pt240-cpu-i9_10940x-dynamo.csv, rounded there to two digits;
# norms and pooling are counted there too, which is up to seven hundredths.
TIMM = {
    "resnet10t": (224, 5.44, 1.1),
    "lcnet_050": (224, 1.88, 0.05),
    "regnetx_002": (224, 2.68, 0.2),
    "efficientnet_lite0": (224, 4.65, 0.4),
    "mixer_s32_224": (224, 19.1, 1.0),
    "convnext_atto": (224, 3.7, 0.55),
    "seresnet18": (224, 11.78, 1.82),
    "dla34": (224, 15.74, 3.07),
}
TIMM_SLOW = {
    "mobilenetv4_conv_small": (224, 3.77, 0.19),
    "resnet26d": (224, 16.01, 2.6),
    "ghostnet_100": (224, 5.18, 0.15),
    "mobilevitv2_050": (256, 1.37, 0.48),
    "rexnet_100": (224, 4.8, 0.41),
    "hrnet_w18_small": (224, 13.19, 1.61),
    "poolformer_s12": (224, 11.92, 1.82),
    "gmixer_12_224": (224, 12.7, 2.67),
}


def slowly(values) -> list:
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


def count_plainly(model: nn.Module, images: Tensor) -> int:
    """FLOPs of all convolutions and linear layers, from the shapes that reach them."""
    found = []

    def count(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            found.append(2 * output.numel() * layer.weight[0].numel())

    handles = [layer.register_forward_hook(count) for layer in model.modules()]
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    return sum(found)


@pytest.mark.parametrize("name", [*TORCHVISION, *slowly(TORCHVISION_SLOW)])
def test_counts_of_torchvision_are_those_it_publishes(name: str) -> None:
    weights = next(iter(torchvision.models.get_model_weights(name)))
    inception = {"init_weights": False, "aux_logits": name == "inception_v3"}
    options = inception if name in ("googlenet", "inception_v3") else {}
    device = "cpu" if name.startswith("regnet") else "meta"
    with torch.device(device):
        model = torchvision.models.get_model(name, **options).eval()
        images = torch.empty(1, 3, *2 * weights.transforms().crop_size)
    found = summarise(model, images, timed=False)
    assert found.parameters == weights.meta["num_params"]
    assert found.flops / 2e9 == pytest.approx(weights.meta["_ops"], abs=6e-4)
    assert sum(layer.parameters for layer in found.layers) == found.parameters
    assert sum(layer.flops for layer in found.layers) == found.flops


@pytest.mark.parametrize("name", [*TIMM, *slowly(TIMM_SLOW)])
def test_counts_of_timm_are_those_it_publishes_and_those_of_its_shapes(name: str) -> None:
    side, parameters, multiply_adds = {**TIMM, **TIMM_SLOW}[name]
    with torch.device("meta"):
        model = timm.create_model(name).eval()
        images = torch.empty(1, 3, side, side)
    found = summarise(model, images, timed=False)
    assert round(found.parameters / 1e6, 2) == parameters
    assert found.flops == count_plainly(model, images)
    assert found.flops / 2e9 == pytest.approx(multiply_adds, abs=0.006, rel=0.07)


def test_attention_counts_its_products_of_matrices() -> None:
    with torch.device("meta"):
        model = timm.create_model("vit_tiny_patch16_224").eval()
        images = torch.empty(1, 3, 224, 224)
    found = summarise(model, images, timed=False)
    tokens, width, blocks = 197, 192, 12
    products = blocks * 2 * (2 * tokens * tokens * width)  # queries by keys, weights by values
    assert found.flops == count_plainly(model, images) + products
    assert found.flops / 2e9 == pytest.approx(1.26, rel=0.01)


def test_activation_bytes_count_new_memory_once() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.ReLU(),
        nn.Identity(),
        nn.Flatten(),
        nn.Linear(4 * 36, 3),
    )
    found = summarise(model, torch.zeros(2, 1, 6, 6), timed=False)
    maps = 4 * 2 * 4 * 36
    assert [layer.activation_bytes for layer in found.layers] == [maps, 0, maps, 0, 0, 4 * 2 * 3]
    assert found.activation_bytes == 2 * maps + 24


def test_a_shared_layer_counts_once_in_parameters_and_each_time_in_flops() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(self.layer(x.flatten(1)))

    found = summarise(Shared(), torch.zeros(3, 1, 2, 2), timed=False)
    assert found.parameters == 16
    assert [layer.parameters for layer in found.layers] == [16, 0]
    assert [layer.flops for layer in found.layers] == [2 * 3 * 16] * 2
    assert found.layers[0].feeds == (1,)


def test_ways_between_layers_are_those_of_the_forward() -> None:
    found = summarise(ResidualNet(), torch.zeros(1, 1, 16, 16), timed=False)
    names = [layer.name for layer in found.layers]
    ways = {(layer.name, names[end]) for layer in found.layers for end in layer.joins}
    assert ways == {
        ("stage1.0.norm", "stage1.1.second.norm"),
        ("stage2.0.norm", "stage2.1.second.norm"),
    }
    for number, layer in enumerate(found.layers[:-1]):
        assert layer.feeds == (number + 1,)


def test_times_are_measured_of_each_layer_and_of_the_whole() -> None:
    found = summarise(CNN(), torch.rand(8, 1, 28, 28))
    assert found.forward_seconds > 0
    assert found.backward_seconds > 0
    convolutions = [layer for layer in found.layers if layer.type == "Conv2d"]
    assert all(layer.forward_seconds > 1e-6 for layer in convolutions)
    assert all(layer.backward_seconds > 1e-6 for layer in convolutions)
    linear = found.layers[-1]
    assert convolutions[1].forward_seconds > linear.forward_seconds
    assert sum(layer.forward_seconds for layer in found.layers) < 3 * found.forward_seconds


def test_nothing_is_timed_when_not_asked() -> None:
    found = summarise(Net(), torch.rand(2, 1, 8, 8), timed=False)
    assert found.forward_seconds is None
    assert {layer.backward_seconds for layer in found.layers} == {None}


def test_memory_of_a_step_is_counted() -> None:
    model = ResidualNet()
    model.stem.requires_grad_(False)
    found = summarise(
        model,
        torch.rand(1, 1, 8, 8),
        optimizer=lambda parameters: torch.optim.SGD(parameters, momentum=0.9),
        timed=False,
    )
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    buffers = sum(b.numel() * b.element_size() for b in model.buffers())
    assert found.trainable == trainable < found.parameters
    assert found.weight_bytes == 4 * found.parameters + buffers
    assert (found.gradient_bytes, found.optimizer_bytes) == (4 * trainable, 4 * trainable)
    assert found.optimizer == "SGD"


@pytest.mark.parametrize(
    "make",
    [
        *(torch.optim.Adam, torch.optim.SGD, torch.optim.Adafactor, torch.optim.RMSprop),
        lambda parameters: torch.optim.AdamW(parameters, fused=True),
    ],
)
def test_optimizer_bytes_are_those_of_a_real_step(make) -> None:
    parameters = [nn.Parameter(torch.rand(8, 4)), nn.Parameter(torch.rand(8))]
    name, kept = weigh_optimizer(parameters, make)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer = make(parameters)
    optimizer.step()
    real = [v for s in optimizer.state.values() for v in s.values() if isinstance(v, Tensor)]
    assert kept == sum(v.numel() * v.element_size() for v in real)
    assert name == type(optimizer).__name__


def test_summary_leaves_everything_as_it_was() -> None:
    class Dropping(ResidualNet):
        def forward(self, images: Tensor) -> Tensor:
            return nn.functional.dropout(super().forward(images), 0.5, self.training)

    model = Dropping().train()
    before = copy.deepcopy(model.state_dict())
    images = torch.rand(4, 1, 16, 16)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    summarise(model, images)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not images.requires_grad


def test_summary_sees_through_parallel_wrapping_and_torch_compile() -> None:
    for wrap in (nn.DataParallel, torch.compile):
        found = summarise(wrap(Net()), torch.rand(1, 1, 8, 8), timed=False)
        assert [layer.name for layer in found.layers] == ["conv", "fc"]


def test_summary_of_frozen_models_has_no_gradient() -> None:
    model = Net().requires_grad_(False)
    found = summarise(model, torch.rand(1, 1, 8, 8))
    assert (found.gradient_bytes, found.optimizer_bytes, found.optimizer) == (0, 0, "")


def test_summary_takes_models_that_change_their_input_in_place_or_take_whole_numbers() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, images: Tensor) -> Tensor:
            return self.fc(images.mul_(2).flatten(1))

    assert summarise(InPlace(), torch.rand(2, 1, 2, 2)).flops == 2 * 2 * 4 * 2
    words = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(12, 2))
    found = summarise(words, torch.zeros(2, 3, dtype=torch.int64))
    assert found.layers[1].feeds == (2,)


def test_summary_refuses_a_model_that_fails() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 2))
    with pytest.raises(UsageError, match="takes 9 features"):
        summarise(model, torch.rand(1, 1, 8, 8))


@pytest.mark.gpu
def test_summary_on_a_gpu_counts_as_on_the_cpu() -> None:
    found = summarise(ResidualNet().cuda(), torch.rand(2, 1, 28, 28, device="cuda"))
    cpu = summarise(ResidualNet(), torch.rand(2, 1, 28, 28), timed=False)
    assert (found.flops, found.activation_bytes) == (cpu.flops, cpu.activation_bytes)
    assert found.backward_seconds > 0
    assert all(layer.forward_seconds is not None for layer in found.layers)
