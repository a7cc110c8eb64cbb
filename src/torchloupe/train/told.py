"""What a running training does when it is told something (`loupe tell`), between two steps."""

import math

from torchloupe.model.torch_schedulers import TorchSchedule
from torchloupe.prepare.plan import Plan
from torchloupe.run.events import Told
from torchloupe.run.folder import RunFolder
from torchloupe.run.state import State


def obey(state: State, plan: Plan, run: RunFolder, ranks: int) -> None:
    """Do what the messages in the run folder say, and record it. Cheap where there are none.

    `save` writes a checkpoint after this step, and so does `look`, for whoever looks; `stop` ends
    the run after it, as SIGTERM does; `lr=X` makes X the base learning rate, which the schedule
    goes on from, and writes a checkpoint, so that a resume has it too.
    """
    if not run.writes:
        return
    for message in run.mailbox.read():
        run.record(Told(state.step, message, _do(message, state, plan, run, ranks)))


def _do(message: str, state: State, plan: Plan, run: RunFolder, ranks: int) -> str:
    """Do one of them; a sentence on what was done, or why not."""
    verb, _, value = message.partition("=")
    if verb == "save":
        run.requests.ask_save()
        return f"told to save: a checkpoint of step {state.step:,} is written"
    if verb == "look":
        run.requests.ask_save()
        return f"looked at: a checkpoint of step {state.step:,} is written"
    if verb == "stop":
        run.requests.ask_stop("loupe tell")
        return f"told to stop after step {state.step:,}"
    if verb == "lr":
        return _change_rate(value, state, plan, run, ranks)
    return "told something that this version does not know; nothing was done"


def _change_rate(value: str, state: State, plan: Plan, run: RunFolder, ranks: int) -> str:
    try:
        rate = float(value)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        return "told a learning rate that is no number above 0; it stays as it was"
    if ranks > 1:
        return "told another learning rate, which several ranks can't change; it stays as it was"
    if isinstance(plan.schedule, TorchSchedule):
        return "told another learning rate, but a scheduler of torch decides it; it stays"
    groups = state.optimizer.param_groups
    before = float(groups[0]["initial_lr"])
    if not before > 0:
        return "told another learning rate, but that of this run is 0; it stays"
    for group in groups:
        group["initial_lr"] *= rate / before
    run.requests.ask_save()
    return f"told lr={rate:g}: the base learning rate was {before:g} up to step {state.step:,}"
