"""What `loupe check` does: the way of a run up to its first step, and all checks on the way."""

from collections.abc import Sequence
from typing import Any

import torch

from torchloupe.checks.batches import IMAGES
from torchloupe.checks.learning import Clock
from torchloupe.config.settings import Settings
from torchloupe.data.feeds.feed import Batch
from torchloupe.distributed.world import ALONE
from torchloupe.hardware.device import choose_device
from torchloupe.hardware.process import process_settings_kept
from torchloupe.model.transfer import Transfer
from torchloupe.prepare.machine import decide_by_machine
from torchloupe.prepare.measured import set_threads, settle
from torchloupe.prepare.objects import UserObjects, build_loss, build_model, facts_of, load_backbone
from torchloupe.prepare.run_data import RunData
from torchloupe.prepare.session import open_run_data
from torchloupe.prepare.verdicts import judge_data, judge_model
from torchloupe.run.events import Verdict
from torchloupe.run.listener import Listener

TRIAL_SECONDS = 20.0


def judge(
    settings: Settings,
    source: Any,
    listeners: Sequence[Listener] = (),
    *,
    with_model: bool = False,
) -> list[Verdict]:
    """The verdicts on the data of `settings`, and on model, loss and optimizer; thorough checks.

    Nothing is trained and no run folder is made. Raises what a run raises before its first step.
    """
    objects = UserObjects(source)
    device = choose_device(settings.config.hardware.device).device
    with process_settings_kept():
        decision, run_data = open_run_data(settings, objects, listeners, None, ALONE)
        if with_model:
            decision = decide_by_machine(decision, objects, run_data, device, is_new=True)
        settings = settle(decision.settings, run_data, {})
        set_threads(settings.config)
        found = judge_data(run_data, settings.config.check, thorough=True)
        if not with_model:
            return found
        loss = build_loss(settings.config, objects, run_data).to(device)
        model = build_model(settings.config, objects, facts_of(run_data)).to(device)
        if isinstance(model, Transfer):
            load_backbone(settings.config, model)
        loss.follow(model)
        batch = take_images(run_data, device)
        clock = Clock.of(TRIAL_SECONDS)
        return [*found, *judge_model(settings, run_data, objects, model, loss, batch, clock)]


def take_images(run_data: RunData, device: torch.device) -> Batch:
    """Up to IMAGES training images, spread over the split."""
    if not run_data.has("train") or not len(run_data.rows("train")):
        return next(iter(run_data.feed(IMAGES, device=device).batches())).cut(slice(0, IMAGES))
    rows = run_data.rows("train")
    count = min(IMAGES, len(rows))
    places = [number * len(rows) // count for number in range(count)]
    return next(iter(run_data.scan_rows(rows[places], device)))
