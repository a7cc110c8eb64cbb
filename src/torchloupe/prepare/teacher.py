"""A teacher as a session has it: the student's loss, and the facts that a resume compares."""

from dataclasses import dataclass
from typing import Any

from torchloupe.model.distillation import Distillation


@dataclass(frozen=True, eq=False)
class Teacher:
    """What a run that learns from another one needs of it."""

    loss: Distillation
    facts: dict[str, Any]  # teacher.json: folder, weights (SHA-256), class names
