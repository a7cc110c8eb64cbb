"""When speed is measured, what is left alone, and that a resumed run does not ask again."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from torchloupe import speed
from torchloupe.assemble import resume, train
from torchloupe.config import Config
from torchloupe.data.feed import Batch
from torchloupe.errors import LoupeError
from torchloupe.probe import Trial, Way
from torchloupe.settings import change

CPU = torch.device("cpu")


def test_open_ways_leaves_what_was_typed() -> None:
    config = change(Config(), {"hardware.threads": 3, "hardware.precision": "fp32"})
    usual = Way("fp32", channels_last=True, threads=3)
    assert speed.open_ways(config, {}, CPU)[0] == usual
    typed = dict.fromkeys(["hardware.threads", "hardware.channels_last"], "typed")
    assert {way.threads for way in speed.open_ways(config, typed, CPU)} == {3}
    typed["hardware.precision"] = "typed"
    assert speed.open_ways(config, typed, CPU) == [usual]
    assert len(speed.open_ways(config, typed, CPU, everything=True)) > 3


def test_compiling_is_tried_only_where_asked_for() -> None:
    assert not any(way.compiled for way in speed.open_ways(Config(), {}, CPU, everything=True))
    config = change(Config(), {"hardware.compile": True})
    compiled = [way.compiled for way in speed.open_ways(config, {}, CPU, everything=True)]
    assert compiled[0]
    assert sum(compiled) == 1


def test_describe_choice_is_one_line() -> None:
    trials = [Trial(Way(threads=2), rates=[90.0]), Trial(Way(threads=1), rates=[120.0])]
    assert speed.describe_choice(trials, trials[1], 1.25) == (
        "measured for 1.2 s: fp32, channels_last, 1 thread computes 120 images/s; "
        "fp32, channels_last, 2 threads: 90"
    )


def settings_of(run: Path) -> dict[str, dict[str, object]]:
    settings: dict[str, dict[str, object]] = json.loads((run / "config.json").read_text())
    return settings["settings"]


def test_short_run_is_not_measured(tmp_path: Path) -> None:
    train("digits", {"train.epochs": 0.2}, None, tmp_path / "run")
    assert settings_of(tmp_path / "run")["hardware.threads"]["source"] != "measured"


def test_long_run_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "WORTH_MEASURING", 0.0)  # as if it were long
    monkeypatch.setattr(speed, "LITTLE_SECONDS", 0.0)
    monkeypatch.setattr(speed, "SHARE_OF_RUN", 0.2)
    run = tmp_path / "run"
    train("digits", {"train.epochs": 0.2, "hardware.channels_last": False}, None, run)
    before = settings_of(run)
    assert before["hardware.threads"]["source"] == "measured"
    assert before["hardware.channels_last"] == {"value": False, "source": "typed"}
    notes = [line for line in (run / "events.jsonl").read_text().splitlines() if "note" in line]
    assert any("measured for" in note for note in notes)

    def refuse(*_: object, **__: object) -> None:
        raise LoupeError("measured again", "don't")

    monkeypatch.setattr(speed, "probe", refuse)
    resume(run, typed={"train.epochs": 0.3})
    after = settings_of(run)
    assert after["hardware.threads"] == before["hardware.threads"]


@pytest.mark.parametrize(
    ("minutes", "asked_for"),
    [
        (0.05, []),
        (0.5, [(64, {"fp32", "bf16"}, {2})]),  # number formats alone
        (10.0, [(64, {"fp32", "bf16"}, {1, 2})]),
    ],
)
def test_short_run_is_measured_less(minutes: float, asked_for: list, monkeypatch) -> None:
    asked: list[tuple[int, set[str], set[int]]] = []

    def count(_model: object, _loss: object, _make: object, batch: Batch, ways: list[Way], _):
        formats, threads = {way.precision for way in ways}, {way.threads for way in ways}
        asked.append((len(batch), formats, threads))
        return [Trial(way, rates=[1.0]) for way in ways]

    monkeypatch.setattr(speed, "probe", count)
    monkeypatch.setattr(speed, "time_step", lambda *_: 0.03)
    monkeypatch.setattr(speed, "has_fast_bf16", lambda _: True)
    monkeypatch.setattr(speed, "thread_count", lambda: 2)
    settings = {"train.minutes": minutes, "hardware.threads": 2, "hardware.precision": "fp32"}
    config = change(Config(), settings)
    batch = Batch(torch.zeros(64, 1, 4, 4), torch.zeros(64, dtype=torch.long), np.arange(64))
    model, loss = torch.nn.Flatten(), torch.nn.CrossEntropyLoss()
    speed.settle_speed(config, {"hardware.threads": "default"}, model, loss, list, batch, 100)
    assert asked == asked_for


@pytest.mark.parametrize(("step_seconds", "images"), [(0.001, 64), (2.0, 12), (0.4, 60)])
def test_slow_model_is_measured_on_as_many_images_as_fit_into_the_time(
    step_seconds: float, images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, set[int]]] = []

    def count(
        _model: object, _loss: object, _make: object, batch: Batch, ways: list[Way], _: float
    ):
        asked.append((len(batch), {way.threads for way in ways}))
        return [Trial(way, rates=[1.0]) for way in ways]

    monkeypatch.setattr(speed, "probe", count)
    monkeypatch.setattr(speed, "time_step", lambda *_: step_seconds)
    monkeypatch.setattr(speed, "has_fast_bf16", lambda _: False)
    config = change(
        Config(), {"train.minutes": 10.0, "hardware.threads": 4, "hardware.precision": "fp32"}
    )
    batch = Batch(torch.zeros(64, 1, 4, 4), torch.zeros(64, dtype=torch.long), np.arange(64))
    model, loss = torch.nn.Flatten(), torch.nn.CrossEntropyLoss()
    speed.settle_speed(config, {"hardware.threads": "default"}, model, loss, list, batch, 100)
    ((seen, threads),) = asked
    assert seen == images
    assert threads == ({1, 2, 4} if step_seconds < 0.3 else {4})
