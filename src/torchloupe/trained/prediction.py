"""What a model says of one image."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image, or why it could not look at it."""

    path: str
    label: str = ""
    confidence: float = 0.0
    probabilities: Mapping[str, float] | None = None  # by class name, largest first
    labels: tuple[str, ...] = ()  # with several labels an image: all above one half
    error: str = ""
