"""When speed is measured, what is left alone, and that a resumed run does not ask again."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from torchloupe.config.settings import Settings
from torchloupe.data.feeds.feed import Batch
from torchloupe.errors import LoupeError, UsageError
from torchloupe.speed import choice
from torchloupe.speed.trial import Trial, Variant
from torchloupe.train.start import resume, train

CPU = torch.device("cpu")


def test_open_ways_leaves_what_was_typed() -> None:
    settings = Settings().with_default({"hardware.threads": 3, "hardware.precision": "fp32"})
    usual = Variant("fp32", channels_last=True, threads=3)
    assert choice.open_variants(settings, CPU)[0] == usual
    settings = settings.with_typed({"hardware.threads": 3, "hardware.channels_last": True})
    assert {variant.threads for variant in choice.open_variants(settings, CPU)} == {3}
    settings = settings.with_typed({"hardware.precision": "fp32"})
    assert choice.open_variants(settings, CPU) == [usual]
    assert len(choice.open_variants(settings, CPU, everything=True)) > 3


@pytest.mark.parametrize("has", [False, True])
def test_bf16_is_tried_only_where_there_are_instructions_for_it(monkeypatch, has) -> None:
    monkeypatch.setattr(choice, "has_fast_bf16", lambda device: has)
    variants = choice.open_variants(Settings(), CPU, everything=True)
    assert any(variant.precision == "bf16" for variant in variants) is has
    typed = Settings().with_typed({"hardware.precision": "bf16"})
    assert choice.open_variants(typed, CPU, everything=True)[0].precision == "bf16"


def test_compiling_is_tried_only_where_asked_for() -> None:
    assert not any(
        variant.compiled for variant in choice.open_variants(Settings(), CPU, everything=True)
    )
    settings = Settings().with_default({"hardware.compile": True})
    compiled = [
        variant.compiled for variant in choice.open_variants(settings, CPU, everything=True)
    ]
    assert compiled[0]
    assert sum(compiled) == 1


def test_describe_choice_is_one_line() -> None:
    trials = [Trial(Variant(threads=2), rates=[90.0]), Trial(Variant(threads=1), rates=[120.0])]
    assert choice.describe_choice(trials, trials[1], 1.25) == (
        "measured for 1.2 s: fp32, channels_last, 1 thread computes 120 images/s; "
        "fp32, channels_last, 2 threads: 90"
    )


def settings_of(run: Path) -> dict[str, dict[str, object]]:
    settings: dict[str, dict[str, object]] = json.loads((run / "config.json").read_text())
    return settings["settings"]


def test_short_run_is_not_measured(tmp_path: Path) -> None:
    # Not the default net, whose threads the machine's profile decides.
    train("digits", {"train.epochs": 0.2, "model.name": "cnn"}, None, tmp_path / "run")
    assert settings_of(tmp_path / "run")["hardware.threads"]["source"] != "measured"


def test_long_run_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "WORTH_MEASURING", 0.0)  # as if it were long
    monkeypatch.setattr(choice, "LITTLE_SECONDS", 0.0)
    monkeypatch.setattr(choice, "FRACTION_OF_RUN", 0.2)
    run = tmp_path / "run"
    settings = {"train.epochs": 0.2, "hardware.channels_last": False, "model.name": "cnn"}
    train("digits", settings, None, run)
    before = settings_of(run)
    assert before["hardware.threads"]["source"] == "measured"
    assert before["hardware.channels_last"] == {"value": False, "source": "typed"}
    notes = [line for line in (run / "events.jsonl").read_text().splitlines() if "note" in line]
    assert any("measured for" in note for note in notes)

    def refuse(*_: object, **__: object) -> None:
        raise LoupeError("measured again", "don't")

    monkeypatch.setattr(choice, "probe", refuse)
    resume(run, settings={"train.epochs": 0.3})
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

    def count(
        _model: object, _loss: object, _make: object, batch: Batch, variants: list[Variant], _
    ):
        formats, threads = (
            {variant.precision for variant in variants},
            {variant.threads for variant in variants},
        )
        asked.append((len(batch), formats, threads))
        return [Trial(variant, rates=[1.0]) for variant in variants]

    monkeypatch.setattr(choice, "probe", count)
    monkeypatch.setattr(choice, "time_step", lambda *_: 0.03)
    monkeypatch.setattr(choice, "has_fast_bf16", lambda _: True)
    monkeypatch.setattr(choice, "thread_count", lambda: 2)
    named = {"train.minutes": minutes, "hardware.threads": 2, "hardware.precision": "fp32"}
    settings = Settings().with_default(named)
    batch = Batch(torch.zeros(64, 1, 4, 4), torch.zeros(64, dtype=torch.long), np.arange(64))
    model, loss = torch.nn.Flatten(), torch.nn.CrossEntropyLoss()
    choice.choose_speed(settings, model, loss, list, batch, 100)
    assert asked == asked_for


@pytest.mark.parametrize(("step_seconds", "images"), [(0.001, 64), (2.0, 12), (0.4, 60)])
def test_slow_model_is_measured_on_as_many_images_as_fit_into_the_time(
    step_seconds: float, images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, set[int]]] = []

    def count(
        _model: object,
        _loss: object,
        _make: object,
        batch: Batch,
        variants: list[Variant],
        _: float,
    ):
        asked.append((len(batch), {variant.threads for variant in variants}))
        return [Trial(variant, rates=[1.0]) for variant in variants]

    monkeypatch.setattr(choice, "probe", count)
    monkeypatch.setattr(choice, "time_step", lambda *_: step_seconds)
    monkeypatch.setattr(choice, "has_fast_bf16", lambda _: False)
    named = {"train.minutes": 10.0, "hardware.threads": 4, "hardware.precision": "fp32"}
    settings = Settings().with_default(named)
    batch = Batch(torch.zeros(64, 1, 4, 4), torch.zeros(64, dtype=torch.long), np.arange(64))
    model, loss = torch.nn.Flatten(), torch.nn.CrossEntropyLoss()
    choice.choose_speed(settings, model, loss, list, batch, 100)
    ((seen, threads),) = asked
    assert seen == images
    assert threads == ({1, 2, 4} if step_seconds < 0.3 else {4})


class Gathers(torch.nn.Module):
    """Puts the outputs of a layer into a float32 tensor of its own, as mixtures of experts do."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(64, 3)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.count += 1
        found = torch.zeros(len(images), 3)
        return found.index_add_(0, torch.arange(len(images)), self.fc(images.flatten(1)))


def test_a_model_that_a_half_format_can_not_compute_is_refused_with_its_line() -> None:
    model, loss = Gathers(), torch.nn.CrossEntropyLoss()
    batch = Batch(torch.rand(6, 1, 8, 8), torch.arange(6) % 3, np.arange(6))
    typed = Settings().with_typed({"hardware.precision": "bf16"})
    with pytest.raises(
        UsageError, match=r"can't be computed in bf16, at .*test_choice\.py, line"
    ) as e:
        choice.refuse_format(typed, model, loss, batch)
    assert "--precision fp32" in e.value.hint
    assert model.count == 0
    assert model.fc.weight.grad is None
    choice.refuse_format(typed.with_typed({"hardware.precision": "fp32"}), model, loss, batch)
