"""What a test set can show at all: the smallest difference of two models that it would find."""

import math
from statistics import NormalDist

from torchloupe.errors import UsageError

LEVEL = 0.05  # of the two-sided test
POWER = 0.8  # the chance to find the difference


def fewest_flips(level: float = LEVEL) -> int:
    """How many images must change for McNemar's exact test to be significant at all.

    All of them must then be right in one model and wrong in the other: 2 (1/2)^k <= level.
    """
    return math.ceil(1 - math.log2(level))


def smallest_difference(
    images: int, disagreement: float, *, level: float = LEVEL, power: float = POWER
) -> float | None:
    """The smallest difference of accuracy that McNemar's test of `images` finds with `power`.

    `disagreement` is the share of images that only one of the two models has right. Connor 1987,
    "Sample size for testing differences in proportions for the paired-sample design": with the
    disagreement s and quantiles a and b of the normal distribution at 1 - level/2 and at power,
    N = (a sqrt(s) + b sqrt(s - d^2))^2 / d^2; solved for d. None where no difference up to s, the
    largest that such models can have, would be found.
    """
    if images < 1 or not 0 <= disagreement <= 1:
        raise UsageError(
            f"there is no test of {images} images with disagreement {disagreement:g}",
            "give at least one image, and a share from 0 to 1",
        )
    a, b = NormalDist().inv_cdf(1 - level / 2), NormalDist().inv_cdf(power)

    def needed(difference: float) -> float:
        rest = math.sqrt(max(disagreement - difference**2, 0.0))
        return ((a * math.sqrt(disagreement) + b * rest) / difference) ** 2

    least = max(disagreement, 1e-12)
    if disagreement == 0 or needed(least) > images or images * least < fewest_flips(level):
        return None
    low, high = 0.0, least
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if needed(middle) <= images else (middle, high)
    return max(high, fewest_flips(level) / images)


def describe_power(images: int, accuracy: float) -> dict[str, float | int | None]:
    """What a comparison with a model of `accuracy` on `images` could show.

    `disagreement` is not known before there is a second model. It is taken to be the error rate:
    two equally good models of which each shares half of its errors with the other.
    """
    disagreement = 1 - accuracy
    return {
        "images": images,
        "fewest_flips": fewest_flips(),
        "disagreement": disagreement,
        "smallest_difference": smallest_difference(images, disagreement),
    }
