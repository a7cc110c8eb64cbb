"""Arguments become settings; runs with objects of torch, and with one's own, are resumed."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.optim.lr_scheduler import StepLR

import torchloupe as loupe
from torchloupe.data.sources import open_data
from torchloupe.errors import UsageError
from torchloupe.train.arguments import name_source, sort_arguments

pytestmark = pytest.mark.usefixtures("own_cache")

QUICK = {
    "train.log_every_steps": 1,
    "hardware.device": "cpu",
    "train.batch_total": 450,
    "train.report": False,
}
OWN = """
import torch
from torch import nn

def loss(logits, labels):
    return nn.functional.cross_entropy(logits, labels) * 2

def optimizer(parameters):
    return torch.optim.SGD(parameters, lr=0.01)

def schedule(optimizer):
    return torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
"""


def settings_of(**given):
    arguments = {"model": "net", "loss": "auto", "optimizer": "auto", "settings": None, **given}
    return sort_arguments(**{"given": {}, **arguments})


def same_weights(one: loupe.Run, other: loupe.Run) -> bool:
    first, second = one.model.state_dict(), other.model.state_dict()
    return all(torch.equal(first[name], second[name]) for name in first)


def losses(run: loupe.Run) -> list[float]:
    return [event["train_loss"] for event in run.events if "train_loss" in event]


def test_runs_with_torchs_own_objects_resume_by_themselves(tmp_path: Path) -> None:
    objects = {
        "loss": nn.CrossEntropyLoss(torch.linspace(0.5, 2, 10), label_smoothing=0.1),
        "optimizer": partial(torch.optim.SGD, lr=0.05, momentum=0.9),
    }
    scheduler = partial(StepLR, step_size=1, gamma=0.5)
    given = {"model": "net", **objects, "settings": {**QUICK, "schedule": scheduler}}
    whole = loupe.fit(open_data("digits"), epochs=2, out=tmp_path / "whole", **given)
    loupe.fit(open_data("digits"), epochs=1, out=tmp_path / "half", **given)
    resumed = loupe.resume(tmp_path / "half", settings={"train.epochs": 2})
    assert same_weights(whole, resumed)
    assert losses(whole) == losses(resumed)
    config = resumed.config
    assert config.data.source == "digits"
    assert config.loss.name == "torch.nn:CrossEntropyLoss"
    assert (config.optimizer.name, config.optimizer.lr) == ("torch.optim:SGD", 0.05)
    assert config.schedule.options == {"step_size": 1, "gamma": 0.5}


def test_runs_with_objects_of_ones_own_resume_when_these_are_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (60, 8, 8), np.uint8), np.arange(60) % 3
    Path("own.py").write_text(OWN + "import numpy as np\ndata = None\n")
    own: dict = {}
    exec(OWN, own)
    given = {"loss": own["loss"], "optimizer": own["optimizer"]}
    settings = {**QUICK, "train.batch_total": 10, "schedule": own["schedule"]}
    data = (pixels, labels)
    whole = loupe.fit(data, model="net", epochs=2, out="whole", settings=settings, **given)
    loupe.fit(data, model="net", epochs=1, out="half", settings=settings, **given)
    longer = {"train.epochs": 2}
    left = {"data": data, **given}
    for what, option in (
        ("data", "--set data.source=file.py:NAME, or data=... in Python"),
        ("loss", "--set loss.name=file.py:NAME, or loss=... in Python"),
        ("optimizer", "--set optimizer.name=file.py:NAME, or optimizer=... in Python"),
    ):
        some = {name: value for name, value in left.items() if name != what}
        with pytest.raises(UsageError, match=f"the {what} of half is from Python") as caught:
            loupe.resume("half", settings={**longer, "schedule": own["schedule"]}, **some)
        assert caught.value.hint == f"give it again ({option})"
    with pytest.raises(UsageError, match="the schedule of half is from Python") as caught:
        loupe.resume("half", settings=longer, **left)
    assert 'settings={"schedule": ...} in Python' in caught.value.hint
    again = {**longer, "schedule": own["schedule"]}
    assert same_weights(whole, loupe.resume("half", settings=again, **left))


def test_the_command_takes_again_what_was_from_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)
    own: dict = {}
    exec(OWN, own)
    given = {"loss": own["loss"], "optimizer": own["optimizer"], "model": "net"}
    settings = {**QUICK, "schedule": own["schedule"]}
    whole = loupe.fit("digits", epochs=2, out="whole", settings=settings, **given)
    loupe.fit("digits", epochs=1, out="half", settings=settings, **given)
    names = {f"{what}.name": f"own.py:{what}" for what in ("loss", "optimizer", "schedule")}
    resumed = loupe.resume("half", settings={"train.epochs": 2, **names})
    assert same_weights(whole, resumed)
    with pytest.raises(UsageError, match=r"own\.py:loss, someone's own code") as caught:
        loupe.resume("half", settings={"train.epochs": 3})
    assert "--set loss.name=file.py:NAME" in caught.value.hint


def test_another_optimizer_is_refused_on_resume(tmp_path: Path) -> None:
    loupe.fit(
        "digits", model="net", optimizer=torch.optim.Adam, epochs=1, out=tmp_path / "a",
        settings=QUICK,
    )  # fmt: skip
    with pytest.raises(UsageError, match=r"can't change optimizer\.name"):
        loupe.resume(tmp_path / "a", optimizer=torch.optim.SGD)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"model": "net", "settings": {"model.name": "cnn"}},
            "model and settings[\"model.name\"]='cnn' both say which model",
        ),
        (
            {"model": nn.Linear(2, 2), "settings": {"model.name": "cnn"}},
            "model and settings[\"model.name\"]='cnn' both say which model",
        ),
        (
            {"settings": {"schedule.name": "cosine", "schedule": StepLR}},
            'settings["schedule"] and settings["schedule.name"]=\'cosine\' both say which schedule',
        ),
        (
            {"model": nn.Linear(2, 2), "settings": {"model.options": {"width": 3}}},
            "model.options can't be applied to a model that is already made",
        ),
        (
            {"model": nn.Linear(2, 2), "settings": {"model.options.width": 3}},
            "model.options.width can't be applied to a model that is already made",
        ),
        (
            {"loss": nn.CrossEntropyLoss(), "settings": {"loss.options": {"ignore_index": 3}}},
            "loss.options can't be applied to a loss that is already made",
        ),
    ],
)
def test_settings_that_an_object_leaves_without_effect_are_refused(given, said) -> None:
    with pytest.raises(UsageError) as caught:
        settings_of(**given)
    assert caught.value.message == said


def test_a_warm_up_beside_a_scheduler_is_refused_before_images_are_read(tmp_path: Path) -> None:
    settings = {"schedule": partial(StepLR, step_size=1), "schedule.warmup_fraction": 0.5}
    with pytest.raises(UsageError, match=r"schedule\.warmup_fraction is for the schedules known"):
        loupe.fit(tmp_path / "nothing", settings=settings)


def test_options_reach_a_scheduler_class_and_a_partial(tmp_path: Path) -> None:
    rates = []
    for scheduler, options in (
        (StepLR, {"step_size": 1, "gamma": 0.5}),
        (partial(StepLR, step_size=1), {"gamma": 0.5}),
    ):
        settings = {**QUICK, "schedule": scheduler, "schedule.options": options}
        run = loupe.fit(
            "digits", model="net", optimizer="sgd", lr=0.1, epochs=2, settings=settings,
            out=tmp_path / str(len(rates)),
        )  # fmt: skip
        rates.append(sorted({event["lr"] for event in run.events if "lr" in event}))
    assert rates == [[0.05, 0.1], [0.05, 0.1]]


def test_typed_options_win_over_those_of_a_partial() -> None:
    made = partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True)
    typed, _, objects = settings_of(
        optimizer=made,
        given={"lr": 0.5},
        settings={"optimizer.options": {"momentum": 0.8}, "optimizer.options.dampening": 0},
    )
    assert objects.optimizer is None
    assert typed["optimizer.lr"] == 0.5
    assert typed["optimizer.options"] == {"momentum": 0.8, "nesterov": True}
    assert list(typed).index("optimizer.options") < list(typed).index("optimizer.options.dampening")


def test_sources_are_named_with_the_options_they_were_opened_with(tmp_path: Path) -> None:
    for name in "xyz":
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    (tmp_path / "t.csv").write_text("file,a,b\nx.png,0,1\ny.png,1,0\nz.png,1,1\n")
    path = tmp_path / "t.csv"
    data = open_data(path, label_column="b")
    assert name_source(data) == {"data.source": str(path), "data.label_column": "b"}
    assert name_source(path) == {"data.source": str(path)}
    assert name_source(open_data("digits")) == {"data.source": "digits"}
    assert name_source(object()) == {"data.source": "python object"}
    named = open_data("digits", class_names=tuple("abcdefghij"))
    assert name_source(named) == {"data.source": "python object"}
