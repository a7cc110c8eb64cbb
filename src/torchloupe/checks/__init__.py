"""Verdicts: pure functions from evidence to what is wrong with data, model and training."""

from torchloupe.checks.examination import check
from torchloupe.run.events import Verdict

__all__ = ["Verdict", "check"]
