"""Law: a run that was stopped and resumed is the run that was never stopped, to the last bit."""

import pytest

from stopping import StopAt
from torchloupe.errors import Terminated
from torchloupe.run import checkpoint
from torchloupe.run.events import read_events
from torchloupe.train.start import continue_run, resume, train

SETTINGS = {
    "model.name": "torch.nn:Module",  # replaced by the fixture
    "train.epochs": 2,
    "train.batch_total": 256,  # six steps an epoch, the last one smaller
    "train.micro_batches": 2,
    "train.average": 0.9,
    "train.log_every_steps": 1,
    "train.evaluate_every_epochs": 0.5,
    "train.save_every_epochs": 0.4,
    "train.clip_norm": 1.0,
    "schedule.name": "onecycle",
    "schedule.warmup_fraction": 0.3,
    "optimizer.name": "muon",  # and with it a fused AdamW
    "augment.policy": "none",
    "augment.translate": 0.1,
    "augment.rotate_degrees": 5,
    "augment.mixup": 0.2,
}

MODEL = """
from torch import nn

def net(in_channels, classes):
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.Flatten(), nn.Linear(8 * 64, classes),
    )
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.py"
    path.write_text(MODEL)
    return {**SETTINGS, "model.name": f"{path}:net"}


@pytest.fixture(scope="module")
def whole(settings, tmp_path_factory):
    """The run that nobody stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train("digits", settings, out=out)
    return out


def facts(run):
    trees, path, _ = checkpoint.read_newest(run / "checkpoints")
    events = [
        {key: event[key] for key in ("step", "train_loss", "val_loss", "weights") if key in event}
        for event in read_events(run)
        if "step" in event
    ]
    parts = {
        name: checkpoint.hash_tensors(trees[name]) for name in ("model", "optimizer", "average")
    }
    return path.name, parts, events


@pytest.mark.parametrize(
    "stops",
    [(1,), (3,), (5,), (6,), (11,), (2, 4), (3, 3, 4)],
    ids=["first", "evaluation", "mid-epoch", "epoch-end", "last-but-one", "twice", "thrice"],
)
def test_resumed_run_is_bit_equal_to_an_uninterrupted_one(
    settings, whole, tmp_path, stops, record_property
):
    record_property("compared", 1)  # for the table of tests/faults
    out = tmp_path / "run"
    with pytest.raises(Terminated):
        train("digits", settings, out=out, listeners=[StopAt(stops[0])])
    for stop in stops[1:]:
        with pytest.raises(Terminated):
            continue_run(out, {}, trust_code=True, listeners=[StopAt(stop)])
    resume(out, trust_code=True)
    assert facts(out) == facts(whole)
    record_property("bit_equal", 1)
    assert not [path for path in out.rglob(".*") if path.is_file()]


def test_same_seed_gives_the_same_bits_and_another_seed_others(settings, whole, tmp_path):
    train("digits", settings, out=tmp_path / "same")
    train("digits", {**settings, "train.seed": 1}, out=tmp_path / "other")
    assert facts(tmp_path / "same") == facts(whole)
    assert facts(tmp_path / "other")[1] != facts(whole)[1]
