"""Judging: every sample once, the same logits however images are batched, modes put back."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from torchloupe.data.feeds.feed import Batch
from torchloupe.errors import DataError, NumericError
from torchloupe.evaluation.inference import LARGE_IMAGE, eval_mode, forward
from torchloupe.evaluation.scoring import collect, evaluate, measure
from torchloupe.hardware.precision import Precision
from torchloupe.model.zoo import CNN, ResidualNet
from torchloupe.speed.choice import has_fast_bf16

CPU = torch.device("cpu")


def batches(sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    start = 0
    for size in sizes:
        images = torch.randn(size, 1, 12, 12, generator=generator)
        labels = torch.randint(3, (size,), generator=generator)
        yield Batch(images, labels, np.arange(start, start + size))
        start += size


class Seen(nn.Module):
    """Remembers the shapes it was called with; its logits are the first three pixels."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.shapes = []

    def forward(self, images):
        self.shapes.append(tuple(images.shape))
        return self.scale * images.flatten(1)[:, :3]


@pytest.mark.parametrize("make", [CNN, ResidualNet])
@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_image_gets_the_same_logits_alone_and_in_any_batch(make, name):
    torch.manual_seed(0)
    model = make(in_channels=1, classes=5).eval().to(memory_format=torch.channels_last)
    precision = Precision(name, CPU)
    # Without instructions for bf16 a forward takes a hundred times as long.
    is_quick = name == "fp32" or has_fast_bf16(CPU)
    images = torch.randn(601 if is_quick else 19, 28, 28, 1).permute(0, 3, 1, 2)
    with eval_mode(model):
        whole = forward(model, images, precision)
        for size in (1, 2, 3, 7, 8, 16, 64, 300):
            some = images[: 8 * size + 1]
            parts = [forward(model, part, precision) for part in some.split(size)]
            assert torch.equal(torch.cat(parts), whole[: len(some)]), size


def test_batches_are_filled_up_and_large_images_go_one_by_one():
    model = Seen()
    logits = forward(model, torch.arange(40.0).reshape(10, 1, 2, 2))
    assert logits.tolist() == [[4.0 * n, 4.0 * n + 1, 4.0 * n + 2] for n in range(10)]
    side = int(LARGE_IMAGE**0.5)
    assert forward(model, torch.zeros(3, 1, side, side)).shape == (3, 3)
    assert model.shapes == [(16, 1, 2, 2)] + [(1, 1, side, side)] * 3


def test_evaluate_counts_each_sample_once_whatever_the_batches():
    model, loss = Seen(), nn.CrossEntropyLoss()
    found = evaluate(model, batches([10, 3]), loss=loss)
    images = torch.cat([batch.images for batch in batches([10, 3])])
    labels = torch.cat([batch.labels for batch in batches([10, 3])])
    logits = images.flatten(1)[:, :3]
    assert found["accuracy"] == float((logits.argmax(1) == labels).double().mean())
    assert found["loss"] == pytest.approx(float(loss(logits, labels)), rel=1e-6)


def test_evaluate_says_none_when_it_was_cut_short_and_refuses_nothing():
    assert evaluate(Seen(), batches([4]), stop=lambda: True) is None
    with pytest.raises(DataError, match="nothing to evaluate"):
        evaluate(Seen(), [])


def test_modes_of_modules_are_put_back_after_judging():
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm2d(1))
    model[1].eval()
    with pytest.raises(RuntimeError, match="on purpose"), eval_mode(model):
        assert not model[0].training
        raise RuntimeError("on purpose")
    assert (model.training, model[0].training, model[1].training) == (True, True, False)


def test_collect_gives_logits_in_the_order_of_the_scan():
    found = collect(Seen(), batches([5, 4]))
    assert found.rows.tolist() == list(range(9))
    images = torch.cat([batch.images for batch in batches([5, 4])])
    logits = images.flatten(1)[:, :3]
    assert torch.equal(torch.from_numpy(found.logits), logits)
    assert torch.equal(torch.from_numpy(found.probabilities()), logits.softmax(1))
    assert torch.equal(torch.from_numpy(found.probabilities(2.0)), (logits / 2).softmax(1))
    assert found.predictions.tolist() == logits.argmax(1).tolist()
    metrics = measure(found, "abc")
    assert metrics["count"] == 9
    assert "loss" not in metrics


def test_measure_has_each_number_with_its_interval():
    found = collect(Seen(), batches([40, 30]), loss=nn.CrossEntropyLoss())
    metrics = measure(found, "abc")
    assert metrics["loss"] == pytest.approx(metrics["nll"], abs=1e-6)
    for name in ("accuracy", "macro_f1", "balanced_accuracy", "auroc", "average_precision", "nll"):
        low, high = metrics[f"{name}_ci95"]
        assert low < metrics[name] < high
    for values in metrics["per_class"].values():
        for name in ("precision", "recall", "f1"):
            low, high = values[f"{name}_ci95"]
            assert low < values[name] < high
    assert metrics["power"]["images"] == 70
    json.dumps(metrics, allow_nan=False)


def test_temperature_changes_confidences_and_not_one_bit_of_accuracy():
    found = collect(Seen(), batches([40, 30]))
    cold, hot = measure(found, "abc"), measure(found, "abc", 1000.0)
    assert hot["calibration"]["before"] == cold["calibration"]["after"]
    assert hot["ece"] == hot["calibration"]["after"]["ece"] != cold["ece"]
    same = ("accuracy", "macro_f1", "confusion", "per_class", "mcc", "balanced_accuracy")
    assert [hot[name] for name in same] == [cold[name] for name in same]


def test_several_labels_are_measured():
    logits = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    labels = (torch.rand(50, 3, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    model = nn.Linear(3, 3, bias=False)
    nn.init.eye_(model.weight)
    found = collect(model, [Batch(logits, labels, np.arange(50))], multi_label=True)
    assert found.labels.dtype == np.int64
    assert found.predictions.tolist() == (found.logits > 0).tolist()
    metrics = measure(found, "abc", 2.0)
    low, high = metrics["mean_average_precision_ci95"]
    assert low < metrics["mean_average_precision"] < high
    assert metrics["brier"] == pytest.approx(
        float(((torch.from_numpy(found.logits) / 2).sigmoid() - labels).square().mean()), abs=1e-6
    )
    assert "mcc" not in metrics


# The most that a process holds while it examines 150 batches of 2.4 MB, in units of one batch.
HELD = """
import resource, sys
import numpy as np
import torch
from torch import nn
from torchloupe.data.feeds.feed import Batch
from torchloupe.evaluation.scoring import collect
model = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 3))
def batches(count):
    for number in range(count):
        rows = np.arange(16) + 16 * number
        labels = torch.from_numpy(rows % 3).clone()
        yield Batch(torch.ones(16, 3, 112, 112), labels, rows)
def held():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
collect(model, batches(20))
before = held()
collect(model, batches(150))
print((held() - before) / (4 * 16 * 3 * 112 * 112))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="how glibc uses gaps between small blocks")
def test_examining_more_batches_takes_no_more_memory() -> None:
    done = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 20


def test_images_with_nan_are_named() -> None:
    images = torch.rand(4, 1, 8, 8)
    images[2, 0, 3, 3] = float("nan")
    batch = Batch(images, torch.zeros(4, dtype=torch.long), np.array([5, 6, 7, 8]))
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    with pytest.raises(NumericError, match="1 image of a batch has NaN or infinity in it: row 7"):
        collect(model, [batch])
    with torch.no_grad():
        model[1].bias[0] = float("nan")  # of the model: the images are not to blame
    assert not np.isfinite(
        collect(model, [Batch(images[:2], batch.labels[:2], batch.rows[:2])]).logits
    ).all()
