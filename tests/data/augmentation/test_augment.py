"""Augmentation: what each change does, and that it is a function of (seed, epoch, sample)."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from torchloupe.config.schema import AugmentConfig
from torchloupe.data.augmentation.augment import Augment
from torchloupe.data.augmentation.mixing import mix_pairs
from torchloupe.errors import UsageError
from torchloupe.model.zoo import CNN
from torchloupe.system.counter_rng import make_keys, uniform

GOLDEN = {
    "colour": [0.21342, 0.0, 0.506641],
    "randaugment": [0.503411, 0.47468, 0.364023, 0.50863],
    "trivialaugment": [0.532869, 0.46061, 0.046715, 0.510754],
    "cutmix": [12.0, 20.0],
    "cutmix_labels": [0.666667, 0.333333, 0.444444, 0.555556],
}
ALL = Augment(translate=0.2, flip=True, rotate_degrees=20, scale=0.2, erase=0.3, resized_crop=0.4)
COLOUR = Augment(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.3)
EACH = [
    Augment(translate=0.2),
    Augment(flip=True),
    Augment(erase=0.3),
    Augment(translate=0.2, flip=True, erase=0.3),
    Augment(rotate_degrees=20),
    Augment(scale=0.3),
    Augment(resized_crop=0.3),
    ALL,
    Augment(translate=0.3, padding="reflect"),
    Augment(translate=0.3, flip=True, padding="zero"),
    Augment(rotate_degrees=20, padding="zero"),
    Augment(scale=0.3, padding="reflect"),
    Augment(brightness=0.5),
    Augment(contrast=0.5),
    Augment(policy="randaugment", policy_count=3),
    Augment(policy="trivialaugment"),
    replace(ALL, policy="trivialaugment", brightness=0.5, contrast=0.5),
]
KEYS = make_keys(f"image {k}" for k in range(64))


def pictures(count=64, channels=3, height=12, width=16, seed=0):
    made = torch.rand(count, height, width, channels, generator=torch.Generator().manual_seed(seed))
    return made.permute(0, 3, 1, 2)


def apply(augment, images, keys=KEYS, labels=None, seed=1, epoch=2, limits=None):
    labels = torch.arange(len(images)) % 5 if labels is None else labels
    return augment(images, labels, keys, seed=seed, epoch=epoch, classes=5, limits=limits)


def test_augment_that_is_off_gives_back_what_it_got():
    images, labels = pictures(), torch.arange(64)
    found = Augment()(images, labels, KEYS, seed=0, epoch=0, classes=64)
    assert found[0] is images and found[1] is labels
    assert Augment().is_off and not ALL.is_off


def test_augment_takes_the_settings_of_the_config():
    assert Augment.from_settings(AugmentConfig()).is_off
    found = Augment.from_settings(AugmentConfig(flip=True, erase=0.25, mixup=0.4))
    assert found == Augment(flip=True, erase=0.25, mixup=0.4)
    for policy in ("auto", "none"):
        assert Augment.from_settings(AugmentConfig(policy=policy)) == Augment()
    found = Augment.from_settings(AugmentConfig(policy="randaugment", padding="zero"))
    assert found == Augment(policy="randaugment", padding="zero") and not found.is_off


@pytest.mark.parametrize("name", ["policy_count", "policy_strength", "padding"])
def test_augment_that_says_only_how_is_off(name):
    assert Augment(**{name: {"padding": "zero"}.get(name, 1)}).is_off


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("augment", EACH)
def test_augment_changes_a_sample_in_the_same_way_in_any_batch(augment, channels):
    images = pictures(channels=channels)
    whole, labels = apply(augment, images)
    assert whole.shape == images.shape and whole.dtype == torch.float32
    assert whole.is_contiguous(memory_format=torch.channels_last)
    assert (labels == torch.arange(64) % 5).all()
    alone = [apply(augment, images[k : k + 1], KEYS[k : k + 1])[0] for k in range(64)]
    assert torch.equal(torch.cat(alone), whole)
    turned = torch.arange(63, -1, -1)
    assert torch.equal(apply(augment, images[turned], KEYS[turned.numpy()])[0], whole[turned])


@pytest.mark.parametrize("augment", EACH)
def test_augment_changes_with_seed_epoch_and_key(augment):
    images = pictures()
    first = apply(augment, images)[0]
    assert torch.equal(apply(augment, images)[0], first)
    assert not torch.equal(apply(augment, images, epoch=3)[0], first)
    assert not torch.equal(apply(augment, images, seed=2)[0], first)
    assert not torch.equal(apply(augment, images, KEYS[::-1].copy())[0], first)


MIXED = [Augment(mixup=0.4), Augment(cutmix=1.0), Augment(mixup=0.4, cutmix=1.0)]


@pytest.mark.parametrize("augment", [*EACH, COLOUR, *MIXED])
def test_augment_does_not_write_to_its_input(augment):
    images = pictures()
    before = images.clone()
    apply(augment, images)
    assert torch.equal(images, before)
    contiguous = before.contiguous()
    apply(augment, contiguous)
    assert torch.equal(contiguous, before)


def test_colours_change_a_sample_in_the_same_way_in_any_batch():
    images = pictures()
    whole, _ = apply(COLOUR, images)
    alone = [apply(COLOUR, images[k : k + 1], KEYS[k : k + 1])[0] for k in range(64)]
    assert torch.equal(torch.cat(alone), whole)
    assert whole.is_contiguous(memory_format=torch.channels_last)


def test_augment_gives_the_same_for_both_memory_formats():
    images = pictures()
    for augment in [*EACH, COLOUR, Augment(mixup=0.4), Augment(cutmix=1.0)]:
        assert torch.equal(apply(augment, images.contiguous())[0], apply(augment, images)[0])


def test_translate_reaches_every_place_up_to_its_share_and_none_beyond():
    image = torch.zeros(1, 1, 21, 21)
    image[0, 0, 10, 10] = 1
    keys = make_keys(str(k) for k in range(3000))
    found, _ = apply(Augment(translate=0.1), image.expand(3000, 1, 21, 21), keys)
    places = {tuple(place) for place in found.nonzero()[:, 2:].tolist()}
    assert places == {(y, x) for y in range(8, 13) for x in range(8, 13)}
    counts = found.sum((0, 1))[8:13, 8:13]
    assert counts.min() > 80 and counts.max() < 165


def test_flip_mirrors_half_of_the_samples():
    images = pictures(2000, 1, 2, 3)
    keys = make_keys(str(k) for k in range(2000))
    found, _ = apply(Augment(flip=True), images, keys)
    mirrored = (found == images.flip(3)).all(dim=3).all(dim=2)[:, 0]
    same = (found == images).all(dim=3).all(dim=2)[:, 0]
    assert (mirrored ^ same).all()
    assert 900 < mirrored.sum() < 1100
    assert (mirrored.numpy() == (uniform(1, 2, keys, 2) < 0.5)).all()


def test_erase_takes_its_share_of_every_sample():
    images = torch.ones(500, 1, 20, 20)
    found, _ = apply(Augment(erase=0.5), images, make_keys(str(k) for k in range(500)))
    erased = (found == 0).sum((1, 2, 3))
    assert erased.max() == 100 and erased.min() >= 25


def test_rotate_turns_about_the_middle_and_keeps_proportions():
    image = torch.zeros(1, 1, 41, 81)
    image[0, 0, 20, 60] = 1  # 20 pixels to the right of the middle
    keys = make_keys(str(k) for k in range(300))
    blurred = F.avg_pool2d(image, 3, 1, 1).expand(300, 1, 41, 81)
    found, _ = apply(Augment(rotate_degrees=45), blurred, keys)
    weights = found[:, 0] / found.sum((1, 2, 3))[:, None, None]
    y = (weights.sum(2) * torch.arange(41)).sum(1) - 20
    x = (weights.sum(1) * torch.arange(81)).sum(1) - 40
    assert (torch.hypot(x, y) - 20).abs().max() < 0.3
    angle = torch.rad2deg(torch.atan2(y, x))
    assert angle.max() < 46 and angle.min() > -46
    assert angle.max() > 40 and angle.min() < -40 and angle.mean().abs() < 6


def test_scale_zooms_in_and_out():
    image = torch.zeros(1, 1, 40, 40)
    image[:, :, 10:30, 10:30] = 1
    keys = make_keys(str(k) for k in range(300))
    found, _ = apply(Augment(scale=0.3), image.expand(300, 1, 40, 40), keys)
    sides = found.sum((1, 2, 3)).sqrt() / 20
    assert 0.69 < sides.min() < 0.73 and 1.27 < sides.max() < 1.31


def test_resized_crop_keeps_at_least_its_share_of_the_area():
    rows = torch.linspace(-1, 1, 64)[None, None, :, None].expand(400, 1, 64, 64)
    columns = rows.transpose(2, 3)
    keys = make_keys(str(k) for k in range(400))
    seen = [apply(Augment(resized_crop=0.3), ramp, keys)[0] for ramp in (rows, columns)]
    heights, widths = ((ramp.amax((1, 2, 3)) - ramp.amin((1, 2, 3))) / 2 for ramp in seen)
    area = heights * widths
    assert area.min() > 0.26 and area.max() < 1.01
    ratio = widths / heights
    assert ratio.min() > 0.7 and ratio.max() < 1.4 and ratio.std() > 0.1


def test_mixup_mixes_images_and_labels_alike():
    images, labels = pictures(), torch.arange(64) % 5
    found, soft = apply(Augment(mixup=0.5), images, labels=labels)
    assert soft.shape == (64, 5) and soft.dtype == torch.float32
    assert torch.allclose(soft.sum(1), torch.ones(64), atol=1e-6)
    own = soft[torch.arange(64), labels]  # neighbours never share a class here, but at the end
    for k in range(63):
        wanted = images[k] * own[k] + images[k + 1] * (1 - own[k])
        assert torch.allclose(found[k], wanted, atol=1e-5)
    assert own.std() > 0.2
    subset, softer = apply(Augment(mixup=0.5), images[:10], KEYS[:10], labels[:10])
    assert torch.equal(softer[:9], soft[:9]) and torch.equal(subset[:9], found[:9])


def test_mixup_of_several_labels_and_of_one_sample():
    several = torch.eye(5)[torch.arange(64) % 5]
    _, soft = mix_pairs(pictures(), several, np.full(64, 0.75), 5)
    assert soft[0].tolist() == [0.75, 0.25, 0, 0, 0]
    images, soft = apply(Augment(mixup=0.5), pictures(1), KEYS[:1], torch.tensor([3]))
    assert torch.allclose(images, pictures(1), atol=1e-6)
    assert torch.allclose(soft, torch.eye(5)[3:4])


def test_augment_golden_values():
    images = torch.arange(1, 2 * 20.0 + 1).reshape(2, 1, 4, 5)
    found, _ = apply(Augment(translate=0.4, flip=True, erase=0.4), images, KEYS[:2])
    assert found[:, 0].int().tolist() == [
        [[5, 4, 0, 0, 1], [5, 4, 0, 0, 1], [5, 4, 3, 2, 1], [10, 9, 8, 7, 6]],
        [[22, 23, 24, 25, 25], [0, 23, 24, 25, 25], [0, 23, 24, 25, 25], [27, 28, 29, 30, 30]],
    ]
    warped, _ = apply(Augment(translate=0.2, rotate_degrees=30, scale=0.2), images, KEYS[:2])
    wanted = [1.288238, 2.162205, 3.351254, 4.586951, 5.822647]
    assert warped[0, 0, 1].tolist() == pytest.approx(wanted, abs=1e-4)


def test_colours_golden_values():
    images = torch.linspace(0, 1, 24).reshape(2, 3, 2, 2)
    found, _ = apply(COLOUR, images, KEYS[:2])
    assert found[0, :, 0, 0].tolist() == pytest.approx(GOLDEN["colour"], abs=1e-6)
    for policy in ("randaugment", "trivialaugment"):
        found, _ = apply(Augment(policy=policy), pictures(4), KEYS[:4])
        assert found.mean((1, 2, 3)).tolist() == pytest.approx(GOLDEN[policy], abs=1e-5)


def test_cutmix_golden_values():
    images = torch.arange(2.0)[:, None, None, None].expand(2, 1, 6, 6)
    found, soft = apply(Augment(cutmix=1.0), images, KEYS[:2])
    assert found.sum((1, 2, 3)).tolist() == GOLDEN["cutmix"]
    assert soft[:, :2].flatten().tolist() == pytest.approx(GOLDEN["cutmix_labels"], abs=1e-6)


def test_translate_pads_as_it_is_told():
    image = torch.arange(1.0, 10).reshape(1, 1, 3, 3).expand(200, 1, 3, 3)
    keys = make_keys(str(k) for k in range(200))
    seen = {}
    for padding in ("edge", "reflect", "zero"):
        found, _ = apply(Augment(translate=1 / 3, padding=padding), image, keys)
        seen[padding] = {tuple(rows) for rows in found[:, 0, :, 0].int().tolist()}
        assert {5} < set(found[:, 0, 1, 1].int().tolist())
    assert (1, 1, 4) in seen["edge"] and (1, 4, 7) in seen["edge"]
    assert (4, 1, 4) in seen["reflect"] and (5, 2, 5) in seen["reflect"]
    assert (0, 1, 4) in seen["zero"] and (0, 0, 0) in seen["zero"]


def test_colours_are_changed_between_black_and_white():
    mean, std = torch.tensor([0.2, 0.5, 0.8]), torch.tensor([0.1, 0.2, 0.3])
    pixels = pictures()
    images = (pixels - mean[:, None, None]) / std[:, None, None]
    limits = (0 - mean) / std, (1 - mean) / std
    for augment in (COLOUR, Augment(policy="trivialaugment"), Augment(brightness=1.0)):
        wanted, _ = apply(augment, pixels)
        found, _ = apply(augment, images, limits=limits)
        back = found * std[:, None, None] + mean[:, None, None]
        # Where a value is rounded to one of 256, the way there and back may tip it over.
        assert (back - wanted).abs().median() < 1e-6
        assert ((back - wanted).abs() > 0.02).float().mean() < 0.01
        assert back.min() > -1e-5 and back.max() < 1 + 1e-5


def test_brightness_reaches_its_share_either_way():
    image = torch.full((500, 1, 4, 4), 0.5)
    keys = make_keys(str(k) for k in range(500))
    values = apply(Augment(brightness=0.4), image, keys)[0][:, 0, 0, 0]
    assert 0.3 <= values.min() < 0.305 and 0.695 < values.max() <= 0.7
    assert values.mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("name", ["saturation", "hue"])
@pytest.mark.parametrize("channels", [1, 4])
def test_augment_refuses_to_colour_what_has_no_colour(name, channels):
    with pytest.raises(UsageError, match=rf"augment\.{name} is for colour images"):
        Augment(**{name: 0.1}).refuse_unfit(channels)
    Augment(**{name: 0.1}).refuse_unfit(3)
    Augment(brightness=0.1, contrast=0.1, policy="randaugment").refuse_unfit(channels)


@pytest.mark.parametrize("augment", [Augment(brightness=0.1), Augment(policy="trivialaugment")])
def test_augment_refuses_colours_without_black_and_white(augment):
    with pytest.raises(UsageError, match="floats of its own scale"):
        augment.refuse_unfit(3, has_limits=False)
    ALL.refuse_unfit(3, has_limits=False)


def test_cutmix_pastes_a_rectangle_and_mixes_labels_by_its_area():
    images = torch.arange(64.0)[:, None, None, None].expand(64, 3, 10, 14)
    labels = torch.arange(64) % 5
    found, soft = apply(Augment(cutmix=1.0), images, labels=labels)
    assert soft.shape == (64, 5) and torch.allclose(soft.sum(1), torch.ones(64), atol=1e-6)
    areas = set()
    for k in range(63):
        is_own = found[k] == k
        assert ((found[k] == k + 1) | is_own).all()
        share = is_own.float().mean().item()
        assert soft[k, labels[k]].item() == pytest.approx(share, abs=1e-6)
        pasted = (~is_own[0]).nonzero()
        if len(pasted):
            sides = pasted.amax(0) - pasted.amin(0) + 1
            assert len(pasted) == sides.prod()
        areas.add(len(pasted))
    assert len(areas) > 20
    subset, softer = apply(Augment(cutmix=1.0), images[:10], KEYS[:10], labels[:10])
    assert torch.equal(softer[:9], soft[:9]) and torch.equal(subset[:9], found[:9])


def test_mixup_and_cutmix_together_are_one_or_the_other():
    images, labels = pictures(), torch.arange(64) % 5
    both, soft = apply(Augment(mixup=0.5, cutmix=1.0), images, labels=labels)
    mixed, cut = (apply(a, images, labels=labels) for a in (MIXED[0], MIXED[1]))
    mixed = apply(Augment(mixup=0.5), images, labels=labels)
    is_mixed, is_cut = ((both == other[0]).flatten(1).all(1) for other in (mixed, cut))
    assert (is_mixed | is_cut).all() and 20 < is_mixed.sum() < 44
    assert torch.equal(soft[is_mixed], mixed[1][is_mixed])
    assert torch.equal(soft[is_cut], cut[1][is_cut])


def best_seconds(work, tries):
    """Seconds of the fastest of some tries."""
    best = np.inf
    for _ in range(tries):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


def test_augment_is_fast_enough_to_feed_a_core():
    """A batch takes a fraction of a small network's forward: about a tenth."""
    images = pictures(128, 1, 28, 28)
    keys = make_keys(str(k) for k in range(128))
    augment = Augment(translate=0.1, flip=True, erase=0.25)
    model, pixels = CNN(1, 10), images.float()
    forward = best_seconds(lambda: model(pixels), 10)
    assert best_seconds(lambda: apply(augment, images, keys), 30) < forward


@pytest.mark.gpu
@pytest.mark.parametrize("augment", [*EACH, COLOUR, *MIXED])
def test_augment_on_a_gpu_does_what_it_does_on_a_cpu(augment):
    images, labels = pictures(), torch.arange(64) % 5
    here, soft = apply(augment, images, labels=labels)
    there, soft_there = apply(augment, images.cuda(), labels=labels.cuda())
    assert torch.allclose(there.cpu(), here, atol=1e-4)
    assert torch.allclose(soft_there.cpu().float(), soft.float(), atol=1e-6)
