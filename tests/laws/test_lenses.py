"""Law: a lens looks and never touches. Weights are the same with every lens on and with none."""

import copy
import json

import pytest
import torch
from torch import nn

from torchloupe.config.schema import DataConfig
from torchloupe.data.augmentation.augment import Augment
from torchloupe.hardware.precision import Precision
from torchloupe.lens import draw_net, look_inside, summarise, watch
from torchloupe.lens.anatomy import explain_forward, layer_table
from torchloupe.model.losses import make_loss
from torchloupe.model.optimizers import make_optimizer
from torchloupe.model.schedules import make_schedule
from torchloupe.model.zoo import CNN, ResidualNet
from torchloupe.prepare.data import prepare_data
from torchloupe.prepare.plan import Plan
from torchloupe.run.events import read_events
from torchloupe.run.folder import RunFolder
from torchloupe.run.state import State
from torchloupe.train.loop import train

CPU = torch.device("cpu")
STEPS = 50


class Dropping(CNN):
    """Draws random numbers in its forward, which a lens must not use up."""

    def forward(self, images):
        return super().forward(nn.functional.dropout(images, 0.1, self.training))


@pytest.fixture(scope="module")
def feed():
    return prepare_data("digits", DataConfig(), seed=0).feed(32, 0, Augment(translate=0.1), CPU)


def train_steps(folder, feed, model, *, precision="fp32", signals_every=0):
    precision = Precision(precision, CPU)
    state = State(model, make_optimizer("adamw", model, lr=0.01, options={}), precision)
    plan = Plan(
        total_steps=STEPS,
        steps_per_epoch=feed.steps_per_epoch,
        loss=make_loss("cross_entropy", classes=10),
        schedule=make_schedule("constant", warmup_fraction=0, total_steps=STEPS),
        seed=0,
        micro_batches=2,
        clip_norm=1.0,
        log_every=1,
        signals_every=signals_every,
    )
    with RunFolder(folder) as run:
        train(state, feed, plan, run, precision)
    return state


def every_hook(model):
    return [
        *(
            h
            for m in model.modules()
            for h in (
                *m._forward_hooks,
                *m._forward_pre_hooks,
                *m._backward_hooks,
                *m._backward_pre_hooks,
            )
        )
    ]


@pytest.mark.parametrize(
    ("make", "precision"), [(Dropping, "fp32"), (Dropping, "bf16"), (ResidualNet, "fp32")]
)
def test_weights_are_the_same_with_every_lens_on_and_off(tmp_path, feed, make, precision):
    torch.manual_seed(0)
    bare = make(1, 10)
    seen_through = copy.deepcopy(bare)
    off = train_steps(tmp_path / "off", feed, bare, precision=precision)

    gradients = []
    images = torch.rand(2, 1, 8, 8)
    explain_forward(seen_through, images, 10)
    layer_table(seen_through, images)
    draw_net(summarise(seen_through, images), "net")
    look_inside(seen_through, images[:1])
    with watch(
        seen_through,
        "*",
        lambda module, inputs, output: torch.rand(3),
        backward=lambda module, gradient: gradients.append(float(gradient.norm())),
        keep=1,
    ) as seen:
        on = train_steps(tmp_path / "on", feed, seen_through, precision=precision, signals_every=1)

    assert seen.forwards == 2 * STEPS
    assert len(gradients) >= 2 * STEPS
    signals = [event["signals"] for event in read_events(tmp_path / "on") if "signals" in event]
    assert len(signals) == STEPS
    assert not every_hook(seen_through)
    for name, tensor in bare.state_dict().items():
        assert torch.equal(tensor, seen_through.state_dict()[name]), name
    states = [s.optimizer.state_dict()["state"] for s in (off, on)]
    for key, values in states[0].items():
        for name, value in values.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(states[1][key][name]))
    lines = [
        [e["train_loss"] for e in read_events(tmp_path / which) if "train_loss" in e]
        for which in ("off", "on")
    ]
    assert lines[0] == lines[1]
    assert json.dumps(signals)
