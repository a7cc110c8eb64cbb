"""What a new run on the CPU takes from the profile of this machine.

The profile is measured once and kept (speed/machine.py), and what it decides goes into the
settings as measured: a resumed run has it from its config.json, whatever machine it is on.
"""

from dataclasses import replace

import torch

from torchloupe.prepare.objects import UserObjects, facts_of
from torchloupe.prepare.run_data import RunData
from torchloupe.prepare.strategy import Decision
from torchloupe.recipes.machine import choose_by_machine, describe_choices
from torchloupe.run.events import Chosen
from torchloupe.speed.machine import known_profile

OPEN = ("auto", "residual")  # networks whose steps a profile can tell


def decide_by_machine(
    decision: Decision,
    objects: UserObjects,
    run_data: RunData,
    device: torch.device,
    *,
    is_new: bool,
) -> Decision:
    """The decision with what this machine decides, and a note on it.

    Nothing changes for a run to resume (`is_new` False), on a GPU, for another network, a
    backbone, or where no profile can be kept.
    """
    if not is_new or device.type != "cpu":
        return decision
    config = decision.settings.config
    is_own = objects.model is not None or config.model.name not in OPEN
    if is_own or config.train.strategy != "scratch":
        return decision
    profile = known_profile()
    if profile is None:
        return decision
    values = choose_by_machine(decision.settings, facts_of(run_data), profile)
    if not values:
        return decision
    said = describe_choices(values, profile)
    return replace(
        decision,
        settings=decision.settings.with_measured(values),
        notes=[*decision.notes, *([Chosen(said)] if said else [])],
    )
