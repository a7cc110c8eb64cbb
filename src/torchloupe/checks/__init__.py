"""Verdicts: pure functions from evidence to what is wrong with data, model and training."""

from torchloupe.checks.examination import check
from torchloupe.checks.gap import judge_gap
from torchloupe.checks.training import TrainingFacts, judge_end, judge_events, judge_scores
from torchloupe.checks.watching import Watch, watching
from torchloupe.run.events import Verdict

__all__ = [
    "TrainingFacts",
    "Verdict",
    "Watch",
    "check",
    "judge_end",
    "judge_events",
    "judge_gap",
    "judge_scores",
    "watching",
]
