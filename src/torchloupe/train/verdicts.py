"""Verdicts on a run while it trains and at its end: who listens, and what is asked at the end."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from torchloupe.checks.gap import judge_gap
from torchloupe.checks.schedules import judge_length
from torchloupe.checks.training import (
    FEWEST_STEPS,
    TrainingChecks,
    TrainingFacts,
    judge_end,
    judge_rates,
    judge_scores,
)
from torchloupe.checks.verdicts import sift
from torchloupe.data.augmentation.augment import Augment
from torchloupe.model.losses import Loss
from torchloupe.model.torch_schedulers import TorchSchedule
from torchloupe.prepare.session import Session
from torchloupe.run.events import Verdict, read_events
from torchloupe.run.folder import RunFolder
from torchloupe.run.own_state import left_alone

GAP_IMAGES = 32


def follow_training(session: Session, run: RunFolder) -> TrainingChecks | None:
    """The listener that checks this run from now on; None on ranks that don't write."""
    if not run.writes or session.config.check.level == "off":
        return None
    checks = TrainingChecks(run, facts_of_training(session), session.config.check)
    checks.events += read_events(run.path)
    run.listeners.append(checks)
    schedule = session.plan.schedule
    if isinstance(schedule, TorchSchedule):
        steps = session.plan.total_steps
        checks.tell(judge_length(schedule.scheduler, schedule.steps_between, steps))
    return checks


def facts_of_training(session: Session) -> TrainingFacts:
    """What the checks of a training have to know of it."""
    config, run_data = session.config, session.run_data
    counts = None if run_data.contract.multi_label else run_data.class_counts()
    total = 0 if counts is None else int(counts.sum())
    loss, augment = session.plan.loss, Augment.from_settings(config.augment)
    is_plain = isinstance(loss, Loss) and loss.name == "cross_entropy"
    return TrainingFacts(
        class_shares=tuple(float(n) / total for n in counts)
        if counts is not None and total
        else (),
        val_count=len(run_data.splits.val),
        plain_loss=is_plain
        and not config.loss.smoothing
        and config.loss.weights == "none"
        and not config.augment.mixup
        and not config.augment.cutmix,
        hardened=not augment.is_off or drops(session.state.model) or bool(config.train.average),
    )


def drops(model: nn.Module) -> bool:
    """Whether a layer leaves numbers or paths out at random in training."""
    return any(
        (isinstance(m, _DropoutNd) and m.p > 0) or "DropPath" in type(m).__name__
        for m in model.modules()
    )


def end_training(checks: TrainingChecks | None, session: Session) -> None:
    """Tell what the whole training shows, and whether eval mode fits it."""
    if checks is None:
        return
    is_own = isinstance(session.plan.schedule, TorchSchedule)
    rates = judge_rates(checks.events) if is_own else []
    checks.tell([*checks.judge(), *rates, *judge_end(checks.events), *judge_modes(session)])


def judge_modes(session: Session) -> list[Verdict]:
    """Training images in both modes, where one process holds the whole model."""
    state, parallel = session.state, session.parallel
    if parallel.world.size > 1 or state.step < FEWEST_STEPS:
        return []
    run_data = session.run_data
    rows = run_data.some_rows(GAP_IMAGES)
    if len(rows) < GAP_IMAGES or run_data.contract.multi_label:
        return []
    batch = next(iter(run_data.scan_rows(rows, session.place.device)))
    with session.precision.autocast(), left_alone(state.model, session.plan.loss):
        return judge_gap(state.model, batch.images, batch.labels, session.plan.loss)


def judge_results(
    metrics: Mapping[str, Any],
    session: Session,
    run: RunFolder,
    more: Sequence[Verdict] = (),
) -> list[dict[str, Any]]:
    """All verdicts of the run; those on its scores, and `more`, are recorded here."""
    splits = ("val", "test")
    steps = session.state.step
    epochs = steps / max(1, session.plan.steps_per_epoch)
    found = [
        verdict
        for name in splits
        for verdict in judge_scores(metrics.get(name) or {}, name, steps, epochs)
    ]
    for verdict in sift([*found, *more], session.config.check):
        run.record(verdict)
    return [event for event in read_events(run.path) if "verdict" in event]
