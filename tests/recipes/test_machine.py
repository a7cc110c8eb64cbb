"""What a recipe chooses by the profile of a machine."""

from typing import Any

import pytest

from torchloupe.config.settings import Settings
from torchloupe.recipes.choice import Facts, fill_in
from torchloupe.recipes.machine import (
    MachineProfile,
    StepTime,
    choose_by_machine,
    describe_choices,
)

DIGITS = Facts(1348, 10, 1, (8, 8), own_data=False, multi_label=False)
CLOTHES = Facts(54_000, 10, 1, (28, 28), own_data=False, multi_label=False)


def profile(
    first: float = 0.02,
    *,
    contiguous: float = 0.025,
    two: float = 0.02,
    two_contiguous: float = 0.025,
    muon: float = 0.006,
) -> MachineProfile:
    """A profile with these seconds."""
    steps = (
        *(StepTime(1, True, first), StepTime(1, False, contiguous)),
        *(StepTime(2, True, two), StepTime(2, False, two_contiguous)),
    )
    return MachineProfile(steps, muon, 0.001)


def chosen(facts: Facts, found: MachineProfile, **typed: Any) -> dict[str, Any]:
    names = {name.replace("__", "."): value for name, value in typed.items()}
    settings = Settings().with_typed({"train.strategy": "scratch", **names})
    return choose_by_machine(settings, facts, found)


@pytest.mark.parametrize(
    ("found", "best"),
    [
        (profile(), (1, True)),
        (profile(contiguous=0.018), (1, True)),  # near: the first stays
        (profile(contiguous=0.016), (1, False)),
        (profile(two=0.017), (1, True)),
        (profile(two=0.014), (2, True)),
        (profile(contiguous=0.016, two=0.001), (1, False)),
        (profile(contiguous=0.016, two_contiguous=0.01), (2, False)),
    ],
)
def test_threads_and_format_change_only_where_they_clearly_pay(
    found: MachineProfile, best: tuple[int, bool]
) -> None:
    step = found.best_step()
    assert (step.threads, step.channels_last) == best
    values = chosen(DIGITS, found)
    assert (values["hardware.threads"], values["hardware.channels_last"]) == best


def test_fewer_threads_are_taken_where_more_gain_little() -> None:
    steps = (StepTime(1, True, 0.04), StepTime(4, True, 0.0105), StepTime(8, True, 0.01))
    assert MachineProfile(steps, 0.001, 0.001).best_step().threads == 4


def test_times_of_large_batches_decide_no_threads() -> None:
    assert not {"hardware.threads", "hardware.channels_last"} & chosen(CLOTHES, profile()).keys()


def test_muon_gives_way_where_it_would_take_much_of_a_step() -> None:
    assert chosen(DIGITS, profile())["optimizer.name"] == "adamw"
    assert chosen(DIGITS, profile(), model__name="residual")["optimizer.lr"] == 5e-3
    assert "optimizer.name" not in chosen(DIGITS, profile(muon=0.002))
    assert "optimizer.name" not in chosen(CLOTHES, profile())  # its share falls with the pixels
    assert profile().muon_fraction(64 * 64, 16) == pytest.approx(6 / 26)
    assert profile().muon_fraction(64 * 64, 32) == pytest.approx(48 / (48 + 80))


def test_slow_machines_take_a_narrow_net_for_tiny_images() -> None:
    assert chosen(DIGITS, profile())["model.options"] == {"width": 16}
    quick = profile(0.002, contiguous=0.002)
    assert "model.options" not in chosen(DIGITS, quick)
    assert "model.options" not in chosen(CLOTHES, profile(1.0))
    for typed in (
        {"model__name": "residual"},
        {"train__epochs": 3.0},
        {"train__minutes": 1.0},
        {"model__options": {"width": 32}},
    ):
        assert "model.options" not in chosen(DIGITS, profile(), **typed)


def test_what_was_typed_stays() -> None:
    typed = {"optimizer__name": "sgd", "hardware__threads": 2, "hardware__channels_last": True}
    assert chosen(DIGITS, profile(contiguous=0.01), **typed).keys() == {"model.options"}
    values = chosen(DIGITS, profile(), optimizer__lr=0.1, schedule__name="cosine")
    assert values["optimizer.name"] == "adamw"
    assert not {"optimizer.lr", "schedule.name", "schedule.warmup_fraction"} & values.keys()


def test_the_recipe_keeps_what_the_machine_decided() -> None:
    settings = Settings().with_typed({"train.strategy": "scratch"})
    values = choose_by_machine(settings, DIGITS, profile(contiguous=0.01))
    filled = fill_in(settings.with_measured(values), DIGITS)
    assert {filled.origin(name) for name in values} == {"measured"}
    config = filled.config
    assert (config.optimizer.name, config.optimizer.lr) == ("adamw", 1e-2)
    assert (config.schedule.name, config.loss.smoothing) == ("onecycle", 0.1)
    assert config.hardware.channels_last is False
    assert (config.model.name, config.model.options) == ("residual", {"width": 16})


def test_choices_are_told_in_one_line() -> None:
    found = profile(contiguous=0.01)
    line = describe_choices(chosen(DIGITS, found), found)
    for word in ("6,400 images/s", "narrow net", "AdamW", "1 thread", "contiguous"):
        assert word in line
    assert "\n" not in line
    assert describe_choices({"hardware.channels_last": True}, found) == ""


@pytest.mark.parametrize(
    "facts",
    [{}, {"steps": [], "muon": 1, "adamw": 1}, {"steps": [[1, True, 0]], "muon": 1, "adamw": 1}],
)
def test_a_profile_comes_back_from_its_facts_or_is_refused(facts: dict[str, Any]) -> None:
    assert MachineProfile.from_facts(profile().to_facts()) == profile()
    with pytest.raises((KeyError, ValueError)):
        MachineProfile.from_facts(facts)
