"""What a step keeps in memory: exact parts, straight lines, peaks that a real allocator sees."""

import pytest
import torch
from torch import nn

from torchloupe.hardware.footprint import (
    Footprint,
    extend,
    measure_footprint,
    most_images,
    predict_footprint,
)
from torchloupe.hardware.precision import Precision

CPU = torch.device("cpu")


def make_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16 * 16, 4)
    )


def measure(images: int, device: torch.device = CPU, name: str = "fp32") -> Footprint:
    model = make_net().to(device)
    return measure_footprint(
        model,
        torch.rand(images, 3, 16, 16, device=device),
        torch.zeros(images, dtype=torch.int64, device=device),
        nn.functional.cross_entropy,
        torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        Precision(name, device),
    )


def test_footprint_counts_every_part() -> None:
    found = measure(5)
    weights = 4 * (8 * 3 * 9 + 8 + 4 * 8 * 16 * 16 + 4)
    assert (found.weights, found.gradients, found.optimizer) == (weights,) * 3
    assert found.batch == 4 * 5 * 3 * 16 * 16 + 8 * 5
    plane = 4 * 5 * 8 * 16 * 16  # of the convolution's output, and of ReLU's
    by_name = {module.name: module.activations for module in found.modules}
    assert by_name["0"] + by_name["1"] in (plane, 2 * plane)  # the first is kept by some kernels
    assert found.peaks["forward"] >= found.weights + found.optimizer + found.batch + plane
    assert found.peak == max(found.peaks.values())
    assert sum(module.weights for module in found.modules) == weights


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_prediction_from_few_images_is_what_many_take(name: str) -> None:
    told, most = predict_footprint(lambda images: measure(images, name=name), 64)
    real = measure(64, name=name)
    assert told.activations == real.activations
    assert told.peak == pytest.approx(real.peak, rel=0.05)
    assert most(real.peak) == pytest.approx(64, abs=6)
    assert most(0) == 0


def test_lines_go_through_what_was_measured() -> None:
    small, large = measure(2), measure(6)
    assert extend(small, large, 6) == large
    assert extend(small, large, 4).batch == (small.batch + large.batch) // 2
    assert most_images(small, large, large.peak) >= 6


def test_frozen_weights_have_no_gradient() -> None:
    model = make_net()
    model[0].requires_grad_(False)
    found = measure_footprint(
        model,
        torch.rand(2, 3, 16, 16),
        torch.zeros(2, dtype=torch.int64),
        nn.functional.cross_entropy,
        torch.optim.Adam(model[3].parameters()),
        Precision("fp32", CPU),
    )
    frozen, trained = (sum(4 * p.numel() for p in model[k].parameters()) for k in (0, 3))
    assert (found.weights, found.gradients) == (frozen + trained, trained)
    assert found.optimizer == pytest.approx(2 * trained, abs=16)  # and Adam's count of steps


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_prediction_is_within_a_tenth_of_the_allocator(name: str) -> None:
    device = torch.device("cuda", 0)
    told, _ = predict_footprint(lambda images: measure(images, device, name), 512)
    before = torch.cuda.memory_allocated(device)  # of other tests, and cuBLAS for itself
    model = make_net().to(device)
    images = torch.rand(512, 3, 16, 16, device=device)
    labels = torch.zeros(512, dtype=torch.int64, device=device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    precision = Precision(name, device)
    for _ in range(3):
        torch.cuda.reset_peak_memory_stats(device)
        with precision.autocast():
            loss = nn.functional.cross_entropy(model(images), labels)
        precision.backward(loss)
        precision.step(optimizer, loss.detach())
        del loss
    seen = torch.cuda.max_memory_allocated(device) - before
    assert told.peak == pytest.approx(seen, rel=0.1)
