"""Verdicts on a run that is about to begin: on its data, its model, its loss and its optimizer."""

from collections.abc import Sequence
from typing import Any

from torchloupe.checks.data import DataEvidence, check_data
from torchloupe.checks.verdicts import refuse_errors, sift
from torchloupe.config.schema import CheckConfig
from torchloupe.config.settings import Settings
from torchloupe.prepare.data import prepare_data
from torchloupe.prepare.objects import NO_OBJECTS, refuse_misspelt
from torchloupe.prepare.run_data import RunData
from torchloupe.run.events import Announcement, Event, Progress, Verdict
from torchloupe.run.listener import Listener


def judge(settings: Settings, source: Any, listeners: Sequence[Listener]) -> list[Verdict]:
    """The verdicts on the data of `settings`, by the thorough checks; nothing is trained."""
    refuse_misspelt(settings.config, NO_OBJECTS)
    config = settings.config
    run_data = prepare_data(
        source,
        config.data,
        seed=config.train.seed,
        progress=lambda done, total: tell(Progress("pack", done, total), listeners),
        announce=lambda text: tell(Announcement(text), listeners),
    )
    return judge_data(run_data, config.check, thorough=True)


def tell(event: Event, listeners: Sequence[Listener]) -> None:
    """Let each of the listeners hear of `event`."""
    for listener in listeners:
        listener.record(event)


def judge_data(run_data: RunData, config: CheckConfig, *, thorough: bool = False) -> list[Verdict]:
    """The verdicts on the data that are to be told; see `check_data`."""
    if config.level == "off":
        return []
    evidence = DataEvidence(
        samples=run_data.samples,
        splits=run_data.splits,
        contract=run_data.contract,
        pixels=run_data.pixels,
        read=run_data.scan_rows,
    )
    return sift(check_data(evidence, thorough=thorough), config)


def refuse(verdicts: Sequence[Verdict], config: CheckConfig, listeners: Sequence[Listener]) -> None:
    """VerdictError for an error in strict mode; the listeners hear of all verdicts before."""
    try:
        refuse_errors(verdicts, config)
    except Exception:
        for verdict in verdicts:
            tell(verdict, listeners)
        raise
