"""Mistakes as people write them are named at their place, and sound set-ups stay quiet."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import planted_forums
import planted_kinds
import planted_models as planted
import sound_forums
import sound_kinds
import sound_models as sound
from torchloupe.checks.batches import judge_labels
from torchloupe.checks.examination import check
from torchloupe.errors import UsageError

assert planted_forums and planted_kinds  # which add to the tables of the two others
assert sound_forums and sound_kinds
NEEDS_STEPS = {"learning-rate-too-high", "learning-rate-too-low", "batch-not-learned"}


def verdicts_of(case: planted.Case, seconds: float) -> list[planted.Any]:
    model, batches = case.pop("model"), case.pop("batches")
    return check(model, batches, seconds=seconds, **case)


@pytest.mark.parametrize("mistake", planted.PLANTED)
def test_a_planted_mistake_is_named_at_its_place(mistake: str) -> None:
    name, where, make = planted.PLANTED[mistake]
    torch.manual_seed(0)
    found = verdicts_of(make(), 60.0 if name in NEEDS_STEPS else 0.0)
    assert name in [verdict.verdict for verdict in found]
    (verdict,) = [verdict for verdict in found if verdict.verdict == name]
    assert where in verdict.where
    assert verdict.seen
    assert verdict.remedy


@pytest.mark.parametrize("name", sound.SOUND)
def test_a_sound_set_up_stays_quiet_without_trial_steps(name: str) -> None:
    torch.manual_seed(0)
    found = verdicts_of(sound.SOUND[name](), 0.0)
    assert [verdict for verdict in found if verdict.level != "note"] == []


@pytest.mark.parametrize(
    "name", ["sgd_with_momentum_and_decay", "group_norm", "a_small_rate_for_finetuning"]
)
def test_a_sound_set_up_stays_quiet_with_trial_steps(name: str) -> None:
    torch.manual_seed(0)
    found = verdicts_of(sound.SOUND[name](), 60.0)
    assert [verdict for verdict in found if verdict.level != "note"] == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [*sound.SOUND, *sound.SLOW])
def test_every_sound_set_up_stays_quiet_over_trial_steps(name: str) -> None:
    torch.manual_seed(1)
    found = verdicts_of({**sound.SOUND, **sound.SLOW}[name](), 60.0)
    assert [verdict for verdict in found if verdict.level != "note"] == []


def test_check_takes_a_pair_a_list_and_a_name_of_a_loss() -> None:
    torch.manual_seed(0)
    model, pair = torch.nn.Sequential(planted.Net(), torch.nn.Softmax(dim=1)), planted.data()
    expected = ["softmax-before-cross-entropy"]
    for batches in (pair, [pair], iter([pair])):
        for loss in ("auto", "cross_entropy"):
            found = check(model, batches if batches is not pair else [pair], loss=loss)
            assert [verdict.verdict for verdict in found] == expected
            batches = [pair]  # noqa: PLW2901


def test_check_leaves_out_what_is_ignored() -> None:
    model = torch.nn.Sequential(planted.Net(), torch.nn.Softmax(dim=1))
    ignore = ["softmax-before-cross-entropy"]
    assert check(model, planted.data(), ignore=ignore, seconds=0) == []


def test_check_refuses_batches_that_are_no_pairs() -> None:
    with pytest.raises(UsageError, match="checks take"):
        check(planted.Net(), [planted.data()[0]])
    with pytest.raises(UsageError, match="no batch"):
        check(planted.Net(), [])


@pytest.mark.parametrize(
    "mistake", ["softmax_as_last_layer_and_a_loss_in_a_lambda", "features_detached"]
)
def test_a_mistake_is_named_under_autocast(mistake: str) -> None:
    name, _, make = planted.PLANTED[mistake]
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = verdicts_of(make(), 0.0)
    assert [verdict.verdict for verdict in found] == [name]


@pytest.mark.parametrize("name", ["cnn_with_adam", "multi_label", "a_transformer_of_ones_own"])
def test_a_sound_set_up_stays_quiet_under_autocast(name: str) -> None:
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = verdicts_of(sound.SOUND[name](), 0.0)
    assert [verdict for verdict in found if verdict.level != "note"] == []


@pytest.mark.parametrize(("size", "share"), [(2, 0.5), (8, 0.95), (16, 0.02)])
def test_shuffled_batches_are_hardly_ever_said_to_be_of_one_class(size: int, share: float) -> None:
    for seed in range(40):
        draw = torch.Generator().manual_seed(seed)
        labels = (torch.rand(32 * size, generator=draw) < share).long()
        assert judge_labels(labels.split(size)) == []


@pytest.mark.parametrize("kind", ["tensors", "sorted", "pictures"])
def test_a_dataset_is_examined_as_it_would_be_trained_on(kind: str) -> None:
    images, labels = torch.randn(60, 3, 8, 8), torch.arange(60) % 3
    data: Any = TensorDataset(images, labels.sort().values if kind == "sorted" else labels)
    if kind == "pictures":
        pixels = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), np.uint8)
        data = [(Image.fromarray(image), int(k)) for image, k in zip(pixels, labels, strict=True)]
    pooled = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = pooled.append(nn.Linear(8, 3))
    before = torch.get_rng_state()
    assert check(model, data, seconds=1) == []
    assert torch.equal(torch.get_rng_state(), before)


def test_samples_that_are_no_batches_are_refused() -> None:
    samples = DataLoader(TensorDataset(torch.randn(6, 3, 8, 8), torch.arange(6)), batch_size=None)
    with pytest.raises(UsageError, match="a batch holds a single label"):
        check(nn.Flatten(), samples)
