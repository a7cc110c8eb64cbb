"""Which augmentations keep a label, and a line that describes them.

A mirrored cat is a cat; a mirrored digit or word has no class, and a mirrored left turn has
another one. Only the channels and the class names are known here. Where they leave the question
open, images are not mirrored.
"""

import re
from collections.abc import Sequence

from torchloupe.config.schema import AugmentConfig

FEWEST_SIGNS = 8  # with this many classes named by single characters, images may show characters
_SIDES = {"left", "right", "links", "rechts"}


def why_not_mirrored(channels: int, class_names: Sequence[str]) -> str:
    """Why a mirrored image may lose its label; empty if it keeps it."""
    if channels != 3:
        return "grey images may show digits or letters" if channels == 1 else "not photographs"
    words = {word.lower() for name in class_names for word in re.split(r"[\W_]+", name)}
    if words & _SIDES:
        return f"a class is named {min(words & _SIDES)}"
    if len(class_names) >= FEWEST_SIGNS and all(
        len(name) == 1 and name.isalnum() for name in class_names
    ):
        return "classes are named like digits or letters"
    return ""


def describe_augmentation(
    settings: AugmentConfig, is_typed: bool, unchanged: str, unmirrored: str
) -> str:
    """The augmentation of training images and its reason, in one line.

    `unchanged` is the reason for no augmentation, `unmirrored` the reason for no mirroring; what
    the user typed needs no other reason.
    """
    done = [*_moves(settings), *_colours(settings), *_mixes(settings)]
    if is_typed:
        why = "as typed"
    elif not done:
        why = unchanged
    elif settings.flip:
        why = "a mirror image keeps the label of a photograph"
    else:
        why = f"not mirrored: {unmirrored}" if unmirrored else ""
    return f"augmentation: {', '.join(done) or 'none'}" + (f" ({why})" if why else "")


def _moves(settings: AugmentConfig) -> list[str]:
    named = {
        "randaugment": f"RandAugment ({settings.policy_count} of strength "
        f"{settings.policy_strength:g})",
        "trivialaugment": "TrivialAugment",
    }
    found = [named[settings.policy]] if settings.policy in named else []
    if settings.resized_crop:
        found.append(f"cropped to {100 * settings.resized_crop:.3g} % of the area or more")
    if settings.translate:
        found.append(f"shifted by up to {settings.translate:.3g} of a side")
    if settings.rotate_degrees:
        found.append(f"turned by up to {settings.rotate_degrees:g} degrees")
    if settings.scale:
        found.append(f"zoomed by up to {100 * settings.scale:.3g} %")
    if settings.flip:
        found.append("mirrored")
    return found


def _colours(settings: AugmentConfig) -> list[str]:
    names = ("brightness", "contrast", "saturation", "hue")
    return [
        f"{name} by up to {getattr(settings, name):g}" for name in names if getattr(settings, name)
    ]


def _mixes(settings: AugmentConfig) -> list[str]:
    found = [f"a square of {100 * settings.erase:.3g} % erased"] if settings.erase else []
    found += [f"mixup {settings.mixup:g}"] if settings.mixup else []
    return found + ([f"cutmix {settings.cutmix:g}"] if settings.cutmix else [])
