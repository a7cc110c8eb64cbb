"""Which changes keep a label, and the line that says what is done."""

import pytest

from torchloupe.config.schema import AugmentConfig, Config
from torchloupe.config.settings import Settings
from torchloupe.recipes.augmentation import describe_augmentation, why_not_mirrored
from torchloupe.recipes.choice import Facts, choose_augmentation, explain_augmentation


@pytest.mark.parametrize(
    ("channels", "names", "reason"),
    [
        (3, ["cat", "dog"], ""),
        (1, ["cat", "dog"], "grey images may show digits or letters"),
        (4, ["cat", "dog"], "not photographs"),
        (3, [str(k) for k in range(10)], "classes are named like digits or letters"),
        (3, list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), "classes are named like digits or letters"),
        (3, [str(k) for k in range(11)], ""),  # numbers of classes, not digits
        (3, ["0", "1"], ""),
        (3, ["turn_left", "turn_right", "straight"], "a class is named left"),
        (3, ["Right hand", "other"], "a class is named right"),
        (3, ["bright", "copyright"], ""),
    ],
)
def test_mirror_image_keeps_the_label_unless_something_speaks_against(
    channels: int, names: list[str], reason: str
) -> None:
    assert why_not_mirrored(channels, names) == reason


def facts(channels: int = 3, side: int = 32, *names: str, own_data: bool = False) -> Facts:
    return Facts(1000, 2, channels, (side, side), own_data, False, names or ("cat", "dog"))


@pytest.mark.parametrize("side", [32, 224])
def test_recipe_mirrors_photographs_only(side: int) -> None:
    assert choose_augmentation(facts(3, side))["augment.flip"] is True
    assert choose_augmentation(facts(3, side, *"0123456789"))["augment.flip"] is False
    assert "augment.flip" not in choose_augmentation(facts(1, side))


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, "none (U)"),
        ({"flip": True}, "mirrored (a mirror image keeps the label of a photograph)"),
        (
            {"translate": 0.125, "rotate_degrees": 8, "scale": 0.1},
            "shifted by up to 0.125 of a side, turned by up to 8 degrees, zoomed by up to 10 % "
            "(not mirrored: M)",
        ),
        (
            {"policy": "randaugment", "erase": 0.25, "flip": True},
            "RandAugment (2 of strength 0.3), mirrored, a square of 25 % erased "
            "(a mirror image keeps the label of a photograph)",
        ),
        (
            {"policy": "trivialaugment", "hue": 0.1, "contrast": 0.4, "mixup": 0.2, "cutmix": 1.0},
            "TrivialAugment, contrast by up to 0.4, hue by up to 0.1, mixup 0.2, cutmix 1 "
            "(not mirrored: M)",
        ),
        ({"resized_crop": 0.35}, "cropped to 35 % of the area or more (not mirrored: M)"),
    ],
)
def test_line_says_what_is_done_and_why(settings: dict[str, float], line: str) -> None:
    made = AugmentConfig(**settings)  # type: ignore[arg-type]
    assert describe_augmentation(made, False, "U", "M") == f"augmentation: {line}"


def test_line_says_what_was_typed() -> None:
    made = AugmentConfig(policy="none")
    typed = describe_augmentation(made, True, "U", "M")
    assert typed == "augmentation: none (as typed)"


@pytest.mark.parametrize(
    ("policy", "own_data", "reason"),
    [
        ("auto", False, "below 10 epochs it costs more than it gives"),
        ("auto", True, "the Dataset has transforms of its own"),
        ("none", False, "the recipe asks for none"),
    ],
)
def test_line_gives_the_reason_for_nothing(policy: str, own_data: bool, reason: str) -> None:
    config = Config(augment=AugmentConfig(policy=policy))
    found = explain_augmentation(Settings(config), facts(own_data=own_data))
    assert found == f"augmentation: none ({reason})"


def test_many_grey_images_are_shifted_alone() -> None:
    many = Facts(54_000, 10, 1, (28, 28), False, False, tuple("abcdefghij"))
    assert choose_augmentation(many) == {"augment.translate": 0.04}
    assert "augment.rotate_degrees" in choose_augmentation(facts(1, 28))
