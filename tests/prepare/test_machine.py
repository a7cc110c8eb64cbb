"""What a run takes from the profile of its machine, and a resumed run from its folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import torchloupe as loupe
from torchloupe.config.settings import Settings
from torchloupe.model.zoo import CNN
from torchloupe.prepare import machine
from torchloupe.prepare.data import prepare_data
from torchloupe.prepare.machine import decide_by_machine
from torchloupe.prepare.objects import NO_OBJECTS, UserObjects
from torchloupe.prepare.strategy import Decision
from torchloupe.recipes.machine import MachineProfile, StepTime

SLOW = MachineProfile((StepTime(1, True, 1.0), StepTime(1, False, 0.5)), 0.3, 0.001)
QUICK = MachineProfile((StepTime(1, True, 0.0001), StepTime(2, True, 0.0001)), 0.000001, 0.001)
NAMES = ("optimizer.name", "hardware.threads", "hardware.channels_last", "model.options")


def settings_of(run: Path) -> dict[str, tuple[object, str]]:
    stored = json.loads((run / "config.json").read_text())["settings"]
    return {name: (stored[name]["value"], stored[name]["source"]) for name in NAMES}


def test_choices_are_recorded_as_measured_and_a_resume_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "known_profile", lambda: SLOW)
    images = np.random.default_rng(0).integers(0, 255, (60, 8, 8), dtype=np.uint8)
    data = (images, np.arange(60) % 2)
    run = loupe.fit(data, out=tmp_path / "run", settings={"check.level": "off"})
    expected = {
        "optimizer.name": ("adamw", "measured"),
        "hardware.threads": (1, "measured"),
        "hardware.channels_last": (False, "measured"),
        "model.options": ({"width": 16}, "measured"),
    }
    assert settings_of(run.folder) == expected
    assert any("chosen for this CPU" in event.get("note", "") for event in run.events)
    monkeypatch.setattr(machine, "known_profile", lambda: pytest.fail("measured for a resume"))
    longer = {"train.epochs": run.config.train.epochs + 1}
    again = loupe.resume(run.folder, settings=longer, data=data)
    assert settings_of(again.folder) == expected


def decide(decision: Decision, objects: UserObjects = NO_OBJECTS, **changes: Any) -> Decision:
    """What a new run on the CPU takes, for sixty images of 8x8."""
    images = np.zeros((60, 8, 8), dtype=np.uint8)
    data = prepare_data((images, np.arange(60) % 2), decision.settings.config.data, seed=0)
    given = {"device": torch.device("cpu"), "is_new": True, **changes}
    return decide_by_machine(decision, objects, data, **given)


@pytest.mark.parametrize(
    ("typed", "objects", "changes"),
    [
        ({"model.name": "cnn"}, NO_OBJECTS, {}),
        ({"train.strategy": "head"}, NO_OBJECTS, {}),
        ({}, UserObjects(model=CNN()), {}),
        ({}, NO_OBJECTS, {"device": torch.device("meta")}),
        ({}, NO_OBJECTS, {"is_new": False}),
    ],
)
def test_other_runs_ask_for_no_profile(
    typed: dict[str, str],
    objects: UserObjects,
    changes: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "known_profile", lambda: pytest.fail("measured"))
    settings = Settings().with_typed({"train.strategy": "scratch", **typed})
    decision = Decision(settings)
    assert decide(decision, objects, **changes) is decision


def test_nothing_changes_without_a_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    decision = Decision(Settings().with_typed({"train.strategy": "scratch"}))
    monkeypatch.setattr(machine, "known_profile", lambda: None)
    assert decide(decision) is decision
    monkeypatch.setattr(machine, "known_profile", lambda: QUICK)
    found = decide(decision).settings
    assert found.is_open("optimizer.name") and found.is_open("model.options")
    assert found.config.hardware.channels_last is True
