"""Signals are the numbers that a plain computation over all of it gives."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torchloupe.lens import Signals
from torchloupe.lens.signals import MOST_NUMBERS
from torchloupe.model.zoo import CNN, Net, ResidualNet


def images(count: int = 6, side: int = 8) -> Tensor:
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(3))


def loss_of(model: nn.Module, batch: Tensor) -> Tensor:
    return F.cross_entropy(model(batch), torch.arange(len(batch)) % 10)


def outputs_of(model: nn.Module, layer: nn.Module, batch: Tensor) -> Tensor:
    kept = []
    handle = layer.register_forward_hook(lambda *a: kept.append(a[2].detach().clone()))
    model(batch)
    handle.remove()
    return kept[0]


@pytest.mark.parametrize("parts", [1, 3])
def test_signals_are_those_of_the_whole_output_however_it_came(parts: int) -> None:
    model = Net()
    whole = outputs_of(model, model.conv, images())
    signals = Signals(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with signals.looking():
        for part in images().chunk(parts):
            model(part)
    found = signals.read()["conv"]
    assert found["mean"] == pytest.approx(whole.mean().item(), rel=1e-4)
    assert found["std"] == pytest.approx(whole.std(correction=0).item(), rel=1e-4)
    dead = (whole.amax(dim=(0, 2, 3)) <= 0).float().mean().item()
    assert found["dead_fraction"] == pytest.approx(dead)


def test_dead_share_counts_units_that_never_fire() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 10))
    with torch.no_grad():
        model[0].weight[:3] = 0
        model[0].bias.copy_(torch.tensor([-1.0, 0.0, 1.0, 5.0]))
        model[3].bias[:] = -1e6
        model[3].bias[0] = 1e6
    signals = Signals(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with signals.looking():
        model(images())
    found = signals.read()
    assert found["0"]["dead_fraction"] == 0.5
    assert found["3"]["dead_fraction"] == pytest.approx(0.9)


def test_gradient_norm_and_update_ratio_are_those_of_the_step() -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    signals = Signals(model, optimizer)
    with signals.looking():
        loss_of(model, images()).backward()
        gradient = math.hypot(*(p.grad.norm().item() for p in model.conv.parameters()))
        weight = math.hypot(*(p.detach().norm().item() for p in model.conv.parameters()))
        optimizer.step()
    found = signals.read()["conv"]
    assert found["gradient_norm"] == pytest.approx(gradient, rel=1e-4)
    assert found["update_ratio"] == pytest.approx(0.5 * gradient / weight, rel=1e-4)


def test_signals_are_read_once_and_only_of_what_was_wanted() -> None:
    model = Net()
    signals = Signals(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert signals.read() == {}
    with signals.looking(False):
        model(images())
    assert signals.read() == {}
    with signals.looking():
        model(images())
    assert set(signals.read()) == {"conv", "fc"}
    assert signals.read() == {}


def test_signals_without_a_step_have_no_gradient() -> None:
    model = Net()
    signals = Signals(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with signals.looking():
        loss_of(model, images()).backward()
    assert set(signals.read()["fc"]) == {"mean", "std", "dead_fraction"}


def test_frozen_and_unused_layers_are_told_apart() -> None:
    model = CNN()
    model[0].requires_grad_(False)
    model.register_parameter("scale", nn.Parameter(torch.zeros(1)))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    signals = Signals(model, optimizer)
    with signals.looking():
        loss_of(model, images()).backward()
        optimizer.step()
    found = signals.read()
    assert set(found["0"]) == {"mean", "std", "dead_fraction"}
    assert found["(the model)"]["gradient_norm"] == 0
    assert math.isnan(found["(the model)"]["update_ratio"])


def test_signals_of_large_outputs_are_those_of_their_first_images() -> None:
    model = nn.Conv2d(1, 64, 1)
    few = MOST_NUMBERS // (64 * 32 * 32)
    batch = images(3 * few, side=32)
    signals = Signals(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with signals.looking():
        whole = model(batch).detach()
    found = signals.read()["(the model)"]
    assert found["mean"] == pytest.approx(whole[:few].mean().item(), rel=1e-4)
    assert found["mean"] != pytest.approx(whole.mean().item(), rel=1e-7)


def test_hooks_come_off_the_model_and_the_optimizer() -> None:
    model = ResidualNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    signals = Signals(model, optimizer)
    with pytest.raises(ZeroDivisionError), signals.looking():
        raise ZeroDivisionError
    assert not any(module._forward_hooks for module in model.modules())
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks


def test_memory_stays_constant_however_many_forwards_there_are() -> None:
    model = Net()
    signals = Signals(model, torch.optim.SGD(model.parameters(), lr=0.1))
    held = []
    with signals.looking():
        for _ in range(3):
            model(images())
            held.append(sum(m.top.numel() for m in signals._moments.values()))
    assert held == [32 + 10] * 3


def test_signals_of_a_compiled_model_are_those_of_its_step() -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    signals = Signals(torch.compile(model), optimizer)
    with signals.looking():
        loss_of(model, images()).backward()
        optimizer.step()
    assert set(signals.read()["conv"]) == {"gradient_norm", "update_ratio"}


def test_signals_survive_outputs_of_every_kind() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.names = nn.Embedding(3, 8)

        def forward(self, x: Tensor) -> Tensor:
            x = self.names(x)
            return self.attention(x, x, x)[0]

    model = Odd()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    signals = Signals(model, optimizer)
    with signals.looking(), torch.autocast("cpu", dtype=torch.bfloat16):
        model(torch.zeros(2, 5, dtype=torch.int64)).sum().backward()
        optimizer.step()
    found = signals.read()
    assert {"mean", "update_ratio"} <= set(found["attention"])
    assert "update_ratio" in found["attention.out_proj"]


@pytest.mark.gpu
@pytest.mark.parametrize("parallel", [False, True])
def test_signals_on_a_gpu_are_those_of_the_cpu(parallel: bool) -> None:
    found = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        inner = Net().to(device)
        model = nn.DataParallel(inner) if parallel and device == "cuda" else inner
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        signals = Signals(model, optimizer)
        with signals.looking():
            F.cross_entropy(
                model(images().to(device)), torch.zeros(6, dtype=torch.int64, device=device)
            ).backward()
            optimizer.step()
        found.append(signals.read())
    cpu, gpu = found
    for layer, values in cpu.items():
        names = ["gradient_norm", "update_ratio"] if parallel else list(values)
        for name in names:
            assert gpu[layer][name] == pytest.approx(values[name], rel=1e-2, abs=1e-3)
