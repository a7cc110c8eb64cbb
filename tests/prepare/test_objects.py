"""Settings become steps and lenses, and what can't be is refused before a folder is made."""

from functools import partial
from pathlib import Path

import pytest
import torch

import torchloupe as loupe
from torchloupe.config.schema import Config
from torchloupe.config.text import change
from torchloupe.errors import UsageError
from torchloupe.model.optimizers import make_optimizer
from torchloupe.prepare.objects import (
    NO_OBJECTS,
    build_model,
    choose_log_every,
    describe_decay,
    make_plan,
)
from torchloupe.recipes.choice import Facts

HOOK = """
def shapes(module, inputs, output):
    with open("seen.txt", "a") as file:
        print(type(module).__name__, *output.shape, module.training, file=file)
"""


@pytest.mark.parametrize(
    ("per_epoch", "settings", "every"),
    [
        (22, {}, 50),
        (22, {"train.epochs": 0.5}, 50),
        (400, {}, 60),
        (5000, {}, 250),
        (400, {"lens.signals_every_steps": 1}, 20),
        (400, {"lens.signals_every_steps": 25}, 40),
        (400, {"train.log_every_steps": 7}, 56),
        (400, {"lens.signals": False}, 0),
    ],
)
def test_signals_come_with_log_lines_about_every_fiftieth_step(per_epoch, settings, every) -> None:
    config = change(Config(), {"schedule.name": "constant", "train.epochs": 1, **settings})
    assert make_plan(config, per_epoch, None).signals_every == every


@pytest.mark.parametrize(
    ("per_epoch", "total", "every"),
    [(22, 44, 1), (22, 330, 3), (22, 5000, 5), (4, 400, 1), (422, 2110, 21), (422, 100, 5)],
)
def test_runs_of_short_epochs_have_a_hundred_log_lines(per_epoch, total, every) -> None:
    assert choose_log_every(per_epoch, total) == every


def test_a_hook_of_the_settings_looks_while_training(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hooks.py").write_text(HOOK)
    settings = {"lens.watch": "conv|Linear", "lens.hook": "hooks.py:shapes", "lens.watch_every": 15}
    run = loupe.fit("digits", model="net", epochs=1, out="run", settings=settings)
    lines = Path("seen.txt").read_text().splitlines()
    assert lines[:2] == ["Conv2d 64 32 8 8 True", "Linear 64 10 True"]
    assert not any(module._forward_hooks for module in run.model.modules())
    assert {"conv", "fc"} == set(next(e for e in run.events if "signals" in e)["signals"])
    with pytest.raises(UsageError, match="the hook of run is hooks") as caught:
        loupe.resume("run")
    assert "--set lens.hook=file.py:NAME" in caught.value.hint


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"lens.watch": "fc"}, "lens.watch and lens.hook (one needs the other)"),
        ({"lens.hook": "hooks.py:shapes"}, "lens.watch and lens.hook (one needs the other)"),
        ({"lens.watch": "fcc", "lens.hook": "hooks.py:shapes"}, "no layer matches 'fcc'"),
        ({"lens.watch": "fc", "lens.hook": "hooks.py:shaps"}, "defines no 'shaps'"),
    ],
)
def test_a_lens_that_can_not_be_is_refused_before_a_folder_is_made(
    tmp_path: Path, monkeypatch, settings, text
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hooks.py").write_text(HOOK)
    with pytest.raises(UsageError) as caught:
        loupe.fit("digits", model="net", epochs=1, out="run", settings=settings)
    assert text in str(caught.value)
    assert not Path("run").exists()


STREAM = """
import torch
from torch.utils.data import DataLoader, TensorDataset

data = TensorDataset(torch.rand(32, 1, 6, 6), torch.arange(32) % 2)
loader = DataLoader([(image, int(label)) for image, label in data], batch_size=8)
"""


def test_changes_to_a_stream_are_refused_before_a_folder_is_made(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(STREAM)
    with pytest.raises(UsageError, match="a stream is trained on as it comes"):
        loupe.fit(
            "own.py:loader", model="net", epochs=1, out="run", settings={"augment.flip": True}
        )
    assert not Path("run").exists()


@pytest.mark.parametrize("name", ["saturation", "hue"])
def test_colours_of_grey_images_are_refused_before_a_folder_is_made(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(UsageError, match=rf"augment\.{name} is for colour images"):
        loupe.fit(
            "digits",
            model="net",
            epochs=1,
            out=tmp_path / "run",
            settings={f"augment.{name}": 0.1},
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("epochs", "every"), [(3.0, 20), (0.5, 10), (0.01, 1)])
def test_a_short_run_also_has_log_lines(epochs: float, every: int) -> None:
    config = change(Config(), {"schedule.name": "constant", "train.epochs": epochs})
    assert make_plan(config, 400, None).log_every == every


class NeverAsked:
    """A data set that fails when it is asked anything."""

    def __len__(self) -> int:
        raise AssertionError("asked for its length")

    def __getitem__(self, row: int) -> None:
        raise AssertionError("asked for an image")


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ("model.name", "residul"),
        ("model.name", "timm:resnet19x"),
        ("model.name", "torchvision:resnet19x"),
        ("loss.name", "focall"),
        ("optimizer.name", "adm"),
    ],
)
def test_misspelt_names_are_refused_before_an_image_is_read(setting: str, name: str) -> None:
    with pytest.raises(UsageError, match=name.rpartition(":")[2]) as caught:
        loupe.fit(NeverAsked(), settings={setting: name})
    assert "did you mean" in caught.value.hint


OWN = """
import torch
from torch import nn

class Mine(nn.Linear):
    def __init__(self, num_classes):
        super().__init__(6, num_classes)

ready = Mine(3)
"""


@pytest.mark.parametrize("name", ["Mine", "ready"])
def test_a_model_of_ones_own_begins_alike_each_time_and_is_not_shared(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    config = change(Config(), {"model.name": f"{tmp_path}/mine.py:{name}", "train.seed": 4})
    facts = Facts(9, 3, 1, (2, 3), own_data=False, multi_label=False)
    first = build_model(config, NO_OBJECTS, facts)  # its file draws numbers as it is loaded
    begun = {key: tensor.clone() for key, tensor in first.state_dict().items()}
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.zero_()
    for key, tensor in build_model(config, NO_OBJECTS, facts).state_dict().items():
        assert torch.equal(tensor, begun[key])


class NoTruth:
    """An object of the user's whose truth value nobody may ask for."""

    def __len__(self) -> int:
        raise TypeError("object of type 'NoTruth' has no len()")


class NoTruthNet(NoTruth, torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(images.flatten(1))


class NoTruthLoss(NoTruth, torch.nn.CrossEntropyLoss):
    """A loss with such a length."""


class NoTruthSGD(NoTruth, torch.optim.SGD):
    """An optimizer with such a length."""


class Schedules(NoTruth):
    """A function of the optimizer with such a length."""

    def __call__(self, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        return torch.optim.lr_scheduler.StepLR(optimizer, 1)


def test_the_truth_of_the_users_objects_is_never_asked_for(tmp_path: Path) -> None:
    net = NoTruthNet()
    run = loupe.fit(
        "digits",
        model=net,
        loss=NoTruthLoss(),
        optimizer=NoTruthSGD(net.parameters(), lr=0.1),
        epochs=1,
        out=tmp_path / "run",
        settings={"schedule": Schedules(), "train.report": False, "train.batch_total": 450},
    )
    assert run.model is net


class FrozenNorm(torch.nn.Module):
    """Keeps its norm in eval mode, in a `train` that returns nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.fc = torch.nn.BatchNorm2d(1), torch.nn.Linear(64, 10)

    def train(self, mode: bool = True) -> None:
        super().train(mode)
        self.norm.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(self.norm(images).flatten(1))


def test_a_train_that_returns_nothing_is_enough(tmp_path: Path) -> None:
    run = loupe.fit("digits", model=FrozenNorm, epochs=0.1, out=tmp_path / "run")
    assert torch.equal(run.model.norm.running_mean, torch.zeros(1))


@pytest.mark.parametrize(
    ("given", "is_noted"),
    [
        (torch.optim.AdamW, True),
        (partial(torch.optim.SGD, lr=0.1, weight_decay=0.1), True),
        (partial(torch.optim.SGD, lr=0.1), False),
        (lambda parameters: torch.optim.AdamW(parameters, lr=0.1), False),
        ("adamw", False),
    ],
)
def test_a_class_that_decays_weights_alone_here_is_noted(given, is_noted) -> None:
    found = describe_decay(given, make_optimizer(given, torch.nn.Linear(2, 2)))
    assert [note.partition(" is for weights")[0] for note in found] == (
        [f"weight decay {0.01 if given is torch.optim.AdamW else 0.1:g}"] if is_noted else []
    )
