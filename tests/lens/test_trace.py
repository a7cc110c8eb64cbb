"""A watched forward leaves everything as it was."""

import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from torchloupe.errors import UsageError
from torchloupe.lens.anatomy import explain_forward, layer_table, parameter_count
from torchloupe.lens.trace import trace_forward


def test_explain_forward_takes_lazy_layers():
    model = nn.Sequential(
        nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(10)
    )
    assert parameter_count(model) == 0
    explain_forward(model, torch.rand(2, 1, 8, 8), 10)
    assert model[3].in_features == 4 * 6 * 6
    assert torch.equal(model[1].running_mean, torch.zeros(4))
    assert model[1].num_batches_tracked == 0
    assert parameter_count(model) == sum(p.numel() for p in model.parameters())


class Noisy(nn.Module):
    """Uses everything that a forward can disturb."""

    def __init__(self, fails: bool) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.drop = nn.Dropout()
        self.fc = nn.utils.parametrizations.spectral_norm(nn.Linear(64, 10))
        self.fails = fails

    def forward(self, x):
        x = self.drop(self.norm(x)) + torch.rand(()) + random.random() + np.random.rand()
        if self.fails:
            raise RuntimeError("no")
        return self.fc(x.flatten(1))


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_anatomy_leaves_no_trace(fails, training):
    model = Noisy(fails).train(training)
    model.drop.train(not training)
    images = torch.rand(2, 1, 8, 8)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    for look in (layer_table, explain_forward):
        if fails:
            with pytest.raises(UsageError):
                look(model, images)
        else:
            look(model, images)
    drawn = torch.rand(2), random.random(), np.random.rand()
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    expected = torch.rand(2), random.random(), np.random.rand()
    assert torch.equal(drawn[0], expected[0])
    assert drawn[1:] == expected[1:]
    assert [module.training for module in model.modules()] == modes
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()] == hooks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_anatomy_takes_a_scripted_model():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 36, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch moves on from scripting
        traced = nn.Sequential(torch.jit.trace(model, torch.rand(1, 1, 8, 8)))
    trace = trace_forward(traced, torch.rand(2, 1, 8, 8))
    assert trace.error is None
    assert trace.output.shape == (2, 3)
    assert [call.name for call in trace.calls] == [""]  # what is scripted can't be watched


class Resizing(nn.Module):
    """Sets the size of its buffer when it first sees images, as observers of quantisation do."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.tensor([]))

    def forward(self, x):
        if not self.seen.numel():
            self.seen.resize_(x.shape[1])
        self.seen.copy_(x.amax((0, 2, 3)))
        return x.flatten(1)


def test_a_buffer_that_a_forward_resizes_is_put_back():
    model = Resizing()
    trace_forward(model, torch.rand(2, 3, 4, 4))
    assert model.seen.numel() == 0
