"""Law: in fp32, with augmentation off, the loop is a bare torch loop, to the last bit."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from torchloupe.config.schema import DataConfig
from torchloupe.data.augmentation.augment import Augment
from torchloupe.hardware.precision import Precision
from torchloupe.model.losses import make_loss
from torchloupe.model.optimizers import make_optimizer
from torchloupe.model.schedules import make_schedule
from torchloupe.model.zoo import CNN, ResidualNet
from torchloupe.prepare.data import prepare_data
from torchloupe.prepare.plan import Plan
from torchloupe.run.folder import RunFolder
from torchloupe.run.state import State
from torchloupe.train.loop import train

CPU = torch.device("cpu")
STEPS = 50


@pytest.fixture(scope="module")
def feed():
    run_data = prepare_data("digits", DataConfig(), seed=0)
    return run_data.feed(32, 0, Augment(), CPU)


def train_with_torch(model, optimizer, batches):
    """The ten lines that everybody writes."""
    criterion = nn.CrossEntropyLoss()
    losses = []
    model.train()
    for _ in range(STEPS):
        images, labels = next(batches)
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("make", [CNN, ResidualNet])
@pytest.mark.parametrize(
    ("name", "options"), [("adam", {}), ("sgd", {"momentum": 0.9, "nesterov": True})]
)
def test_loop_is_bit_equal_to_a_bare_torch_loop(tmp_path, feed, make, name, options):
    torch.manual_seed(0)
    model = make(1, 10)
    twin = copy.deepcopy(model)

    bare = torch.optim.Adam if name == "adam" else torch.optim.SGD
    batches = ((batch.images, batch.labels) for batch in feed.batches())
    losses = train_with_torch(twin, bare(twin.parameters(), lr=0.01, **options), batches)

    state = State(
        model,
        make_optimizer(name, model, lr=0.01, options=options),
        precision := Precision("fp32", CPU),
    )
    plan = Plan(
        total_steps=STEPS,
        steps_per_epoch=feed.steps_per_epoch,
        loss=make_loss("cross_entropy", classes=10),
        schedule=make_schedule("constant", warmup_fraction=0, total_steps=STEPS),
        seed=0,
        log_every=1,
    )
    with RunFolder(tmp_path) as run:
        ear = []
        run.tell = ear.append
        train(state, feed, plan, run, precision)
    assert [event["train_loss"] for event in ear if "train_loss" in event] == losses
    for (key, ours), theirs in zip(
        model.state_dict().items(), twin.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), key
    assert np.isfinite(losses).all()
