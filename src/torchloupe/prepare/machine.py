"""What a new run on the CPU takes from the profile of this machine.

The profile is measured once and kept (speed/machine.py), and what it decides goes into the
settings as measured: a resumed run has it from its config.json, whatever machine it is on.
"""

from dataclasses import replace

from torchloupe.prepare.objects import UserObjects
from torchloupe.prepare.strategy import Decision
from torchloupe.recipes.choice import Facts
from torchloupe.recipes.machine import choose_by_machine, describe_choices
from torchloupe.speed.machine import known_profile

OPEN = ("auto", "residual")  # networks whose steps a profile can tell


def decide_by_machine(decision: Decision, objects: UserObjects, facts: Facts) -> Decision:
    """The decision with what this machine decides, and a note on it.

    Nothing changes for another network, a backbone, or where no profile can be kept.
    """
    config = decision.settings.config
    is_own = objects.model is not None or config.model.name not in OPEN
    if is_own or config.train.strategy != "scratch":
        return decision
    profile = known_profile()
    if profile is None:
        return decision
    values = choose_by_machine(decision.settings, facts, profile)
    if not values:
        return decision
    note = describe_choices(values, profile)
    return replace(
        decision,
        settings=decision.settings.with_measured(values),
        notes=[*decision.notes, note],
    )
