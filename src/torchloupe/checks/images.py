"""Images that can't be what they should be: blank, badly scaled, scrambled, all the same.

Pure functions of some images; `Look` is what is measured of them in one pass. Nothing is decided
by how good a model would be.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torchloupe.run.events import Verdict

FEW = 8  # images, below which nothing is said of all of them
SMALLEST_SIDE = 16  # pixels, below which neighbours say nothing
BLANK_ERROR, BLANK_WARNING = 0.9, 0.05  # fraction of images
LEAST_NEIGHBOURS = 0.2  # correlation of neighbouring pixels
OTHER_SCALE = 1.8  # ratio of standard deviations of two splits
OTHER_MEAN = 1.2  # difference of their means, in standard deviations
REPEATED = 0.85  # correlation of the thirds of an image that holds its channels side by side

Images = NDArray[np.float32]  # [N, C, H, W], as the model gets them


@dataclass(frozen=True)
class Look:
    """What some images are like: means over those that are not blank, which may be NaN."""

    count: int
    blank: int
    across: float  # correlation of pixels with their neighbours to the right
    down: float  # the same downwards
    third_down: float  # of pixels with the third below
    thirds_across: float  # of the left third of an image with the others
    thirds_down: float


def look_at_images(images: Images) -> Look:
    """The look of images [N, C, H, W] with finite values."""
    height, width = images.shape[2:]
    flat = images.reshape(len(images), -1)
    is_blank = flat.max(axis=1) - flat.min(axis=1) <= 1e-6 * max(1.0, float(np.abs(flat).max()))
    some = images[~is_blank]
    across = down = third_down = thirds_across = thirds_down = float("nan")
    if len(some) and min(height, width) >= SMALLEST_SIDE:
        across = _correlate(some[..., :-1], some[..., 1:])
        down = _correlate(some[..., :-1, :], some[..., 1:, :])
        third_down = _correlate(some[..., :-3, :], some[..., 3:, :])
        a, b = width // 3, height // 3
        thirds_across = min(
            _correlate(some[..., :a], some[..., a : 2 * a]),
            _correlate(some[..., a : 2 * a], some[..., 2 * a : 3 * a]),
        )
        thirds_down = min(
            _correlate(some[..., :b, :], some[..., b : 2 * b, :]),
            _correlate(some[..., b : 2 * b, :], some[..., 2 * b : 3 * b, :]),
        )
    return Look(
        len(images), int(is_blank.sum()), across, down, third_down, thirds_across, thirds_down
    )


def find_image_mistakes(images: Images, *, is_scaled: bool = True) -> list[Verdict]:
    """Verdicts on images [N, C, H, W] as the model gets them.

    `is_scaled` False: a Dataset of the user's gives them as they are, and no contract scales them.
    """
    if not len(images):
        return []
    is_finite = np.isfinite(images).all(axis=(1, 2, 3))
    found = judge_finite(int((~is_finite).sum()), len(images))
    sound = images[is_finite]
    if len(sound) < FEW:
        return found
    look = look_at_images(sound)
    found += judge_blank(look)
    if look.blank < BLANK_ERROR * look.count:
        found += judge_layout(look, sound.shape[1])
        found += find_one_image(sound)
        found += [] if is_scaled else judge_scale(sound)
    return found


def judge_finite(bad: int, count: int) -> list[Verdict]:
    """An error where images hold NaN or infinity."""
    if not bad:
        return []
    return [
        Verdict(
            "images-not-finite",
            "error",
            seen=f"{bad} of {count} images looked at hold NaN or infinite values",
            remedy="find where they come from: a division by a standard deviation of 0, or a "
            "logarithm of 0",
            why="a step with such an image isn't applied, or spoils the weights",
            numbers={"images": bad, "looked_at": count},
        )
    ]


def judge_blank(look: Look) -> list[Verdict]:
    """An error or a warning where images hold one value only."""
    share = look.blank / look.count
    if share < BLANK_WARNING:
        return []
    is_error = share >= BLANK_ERROR
    return [
        Verdict(
            "blank-images",
            "error" if is_error else "warning",
            seen=f"{look.blank} of {look.count} images looked at hold one value in all pixels",
            remedy="look at how they are made: uint8 // 255 is 0, a cast to uint8 of 0 to 1 too",
            why="there is nothing in them to learn from",
            numbers={"blank": look.blank, "looked_at": look.count},
        )
    ]


def judge_layout(look: Look, channels: int) -> list[Verdict]:
    """An error where channels or rows are mixed up, seen from how neighbours resemble each other.

    Height, width, channels read as channels, height, width puts the three channels of a pixel
    beside each other, so that rows resemble the third row below more than the next. The reverse
    puts three small pictures side by side.
    """
    seen = ""
    if channels == 3 and look.third_down > 0.5 and look.third_down > look.down + 0.15:
        seen = (
            f"rows resemble the third row below (correlation {look.third_down:.2f}) more than "
            f"the next ({look.down:.2f}): [H, W, 3] was reshaped to [3, H, W]"
        )
    elif channels == 3 and look.thirds_across > REPEATED and look.thirds_down > REPEATED / 2:
        seen = (
            "each image holds three pictures beside each other that are nearly the same "
            f"(correlation {look.thirds_across:.2f}): [3, H, W] was reshaped to [H, W, 3]"
        )
    elif min(look.across, look.down) < LEAST_NEIGHBOURS:
        seen = (
            "neighbouring pixels hardly resemble each other (correlation "
            f"{look.across:.2f} across, {look.down:.2f} down)"
        )
    if not seen:
        return []
    return [
        Verdict(
            "pixels-scrambled",
            "error" if "reshaped" in seen else "warning",
            seen=seen,
            remedy="use transpose or permute, not reshape or view, to move an axis; and look at "
            "an image: loupe look, or matplotlib's imshow",
            why="convolutions learn from neighbours, and these are none",
            numbers={"across": round(look.across, 4), "down": round(look.down, 4)},
        )
    ]


def find_one_image(images: Images) -> list[Verdict]:
    """An error where all images read together are the same one."""
    if not all(np.array_equal(images[0], image) for image in images[1:]):
        return []
    return [
        Verdict(
            "one-image-for-all",
            "error",
            seen=f"{len(images)} different samples gave one and the same image",
            remedy="let __getitem__ give a new tensor or a copy each time, not a buffer that it "
            "fills again",
            why="a batch then holds its last image many times, under the labels of all",
            numbers={"looked_at": len(images)},
        )
    ]


def judge_scale(images: Images) -> list[Verdict]:
    """A warning where values are far from a mean of 0 and a standard deviation of 1."""
    mean, std = float(images.mean(dtype=np.float64)), float(images.std(dtype=np.float64))
    low, high = float(images.min()), float(images.max())
    what, do = "", ""
    if high > 255 and low >= 0:
        what, do = "not scaled, as 16 bits are", "divide by 65535, or by the value that is white"
    elif high > 20 and std > 8:
        what, do = "not scaled, as 0 to 255 are", "divide by 255"
    elif low >= 0 and high <= 1.5 / 255:
        what, do = "divided by 255 twice", "divide once: ToTensor does it already"
    elif std > 2.5 and mean < -1 and low > -12:
        what, do = "normalised twice", "normalise once: the mean and std are of values from 0 to 1"
    elif std < 0.02:
        what, do = "nearly all the same", "bring them to a standard deviation near 1"
    if not what:
        return []
    return [
        Verdict(
            "images-badly-scaled",
            "warning",
            seen=f"the images have values from {low:.3g} to {high:.3g}, with the mean {mean:.3g} "
            f"and the standard deviation {std:.3g}: {what}",
            remedy=do,
            why="initial weights and learning rates are made for values around 0 of about 1",
            numbers={"mean": mean, "std": std, "low": low, "high": high},
        )
    ]


def judge_split_scales(train: Images, held: Images, split: str = "val") -> list[Verdict]:
    """A warning where images of training and of val or test [N, C, H, W] have other scales."""
    train, held = (each[np.isfinite(each).all(axis=(1, 2, 3))] for each in (train, held))
    if min(len(train), len(held)) < FEW:
        return []
    means = [float(each.mean(dtype=np.float64)) for each in (train, held)]
    stds = [float(each.std(dtype=np.float64)) for each in (train, held)]
    ratio = max(stds) / max(min(stds), 1e-9)
    if ratio < OTHER_SCALE and abs(means[0] - means[1]) < OTHER_MEAN * max(stds):
        return []
    return [
        Verdict(
            "splits-scaled-differently",
            "warning",
            seen=f"training images have the mean {means[0]:.3g} and the standard deviation "
            f"{stds[0]:.3g}, {'validation' if split == 'val' else split} images {means[1]:.3g} "
            f"and {stds[1]:.3g}",
            remedy="give both the same ToTensor and Normalize; only random transforms differ",
            where=split,
            why="the model is evaluated on images of a kind that it never saw",
            numbers={"train_std": stds[0], f"{split}_std": stds[1]},
        )
    ]


def judge_changes(
    first: Images, second: Images, *, is_training: bool, draws: bool
) -> list[Verdict]:
    """What two readings of the same samples [N, C, H, W] with other random numbers say.

    `draws`: the code of the dataset names something random. Training images should then differ;
    those that are validated with should not.
    """
    differs = ~np.isclose(first, second, equal_nan=True).all(axis=(1, 2, 3))
    count, changed = len(first), int(differs.sum())
    if not is_training and changed:
        return [
            Verdict(
                "validation-images-change",
                "warning",
                seen=f"{changed} of {count} validation images differ when they are read again",
                remedy="give validation and test a dataset without random transforms",
                where="val",
                why="the score measures the augmentation too, and changes from one reading to "
                "the next",
                numbers={"changed": changed, "looked_at": count},
            )
        ]
    if is_training and draws and not changed and count:
        return [
            Verdict(
                "augmentation-never-changes",
                "warning",
                seen=f"the dataset names random transforms, and {count} of {count} images are the "
                "same when they are read again with other random numbers",
                remedy="draw from torch, random or numpy.random, or from a generator that is made "
                "once, not with a fixed seed inside __getitem__ or a transform",
                where="train",
                why="each epoch shows the same images, so that augmentation adds nothing",
                numbers={"looked_at": count},
            )
        ]
    return []


def _correlate(one: Images, other: Images) -> float:
    """The mean over images and channels of the correlation of two parts of them."""
    a, b = (part.reshape(*part.shape[:2], -1) for part in (one, other))
    a, b = a - a.mean(axis=2, keepdims=True), b - b.mean(axis=2, keepdims=True)
    lengths = np.sqrt((a * a).sum(axis=2)) * np.sqrt((b * b).sum(axis=2))
    is_known = lengths > 1e-9
    if not is_known.any():
        return float("nan")
    return float(((a * b).sum(axis=2)[is_known] / lengths[is_known]).mean())
