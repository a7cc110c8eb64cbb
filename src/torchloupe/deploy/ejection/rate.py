"""The learning rate of an ejected file: the formula of its schedule, and no other."""

from collections.abc import Mapping
from typing import Any

from torchloupe.config.schema import Config
from torchloupe.deploy.ejection.text import Part
from torchloupe.model.schedules import Plateau, make_schedule


def write_rate(config: Config, part: Part, steps: int) -> str:
    """`rate_factor`, and the class Plateau where it is needed."""
    settings, train = config.schedule, config.train
    options = dict(settings.options)
    if settings.name == "plateau" and train.monitor.endswith("loss"):
        options.setdefault("mode", "min")
    made = make_schedule(
        settings.name,
        warmup_fraction=settings.warmup_fraction,
        total_steps=max(1, steps),
        options=options,
    )
    head = "def rate_factor(step: int) -> float:\n"
    name, warm = settings.name, settings.warmup_fraction
    if isinstance(made, Plateau):
        part.flags.add("plateau")
        body = '    """The factor of the learning rate by its warm-up; Plateau has the rest."""\n'
        return head + body + _warmup(warm, "1.0") + "\n\n\n" + _write_plateau(made)
    values = dict(made.options)
    if name == "constant":
        return head + '    """The factor of the learning rate."""\n' + _warmup(warm, "1.0")
    if name == "onecycle":
        return head + _one_cycle(values, warm or 0.3)
    if name == "cosine":
        floor = float(values["floor"])
        curve = "0.5 * (1 + math.cos(math.pi * min(step / total, 1.0)))"
        if floor:
            curve = f"{floor!r} + {1 - floor!r} * {curve}"
        doc = '    """The factor of the learning rate: down along half a cosine."""\n'
        return head + doc + _warmup(warm, curve, total=True)
    doc = '    """The factor of the learning rate: down in steps."""\n'
    curve = f"float({values['gamma']!r} ** (step // {values['step_size']!r}))"
    return head + doc + _warmup(warm, curve)


def _warmup(fraction: float, curve: str, total: bool = False) -> str:
    """The body of `rate_factor`: up over a fraction of the steps, then `curve`."""
    if not fraction:
        return ("    total = STEPS\n" if total else "") + f"    return {curve}"
    return (
        f"    warmup = round({fraction!r} * STEPS)\n"
        "    if step < warmup:\n        return (step + 1) / warmup\n"
        "    step -= warmup\n"
        + ("    total = max(1, STEPS - warmup)\n" if total else "")
        + f"    return {curve}"
    ).replace("    step -= warmup\n    return 1.0", "    return 1.0")


def _one_cycle(values: Mapping[str, Any], rise: float) -> str:
    linear = values["anneal"] == "linear"
    move = "start + (end - start) * share" if linear else (
        "end + (start - end) / 2 * (1 + math.cos(math.pi * share))"
    )  # fmt: skip
    return (
        '    """The factor of the learning rate: up to 1, then down (Smith and Topin 2018)."""\n'
        f"    first = 1 / {values['div_factor']!r}\n"
        f"    peak = max({rise!r} * STEPS - 1, 0.0)\n"
        "    if step < peak:\n"
        "        start, end, share = first, 1.0, step / peak\n"
        "    else:\n"
        f"        start, end = 1.0, first / {values['final_div_factor']!r}\n"
        "        share = (step - peak) / max(STEPS - 1 - peak, 1e-12)\n"
        f"    return {move}"
    )


def _write_plateau(made: Plateau) -> str:
    sign = ">" if made.mode == "max" else "<"
    bound = "1 + " if made.mode == "max" else "1 - "
    return f'''class Plateau:
    """A factor that drops after {made.patience} evaluations without gain."""

    def __init__(self) -> None:
        self.scale, self.best = 1.0, math.nan
        self.waited = self.resting = 0

    def update(self, value: float) -> None:
        """Count an evaluation, and drop the factor where that is due."""
        if math.isnan(self.best) or value {sign} self.best * ({bound}{made.threshold!r}):
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        if self.resting > 0:
            self.resting, self.waited = self.resting - 1, 0
        if self.waited > {made.patience}:
            self.scale = max(self.scale * {made.drop!r}, {made.floor!r})
            self.resting, self.waited = {made.cooldown}, 0

    def state(self) -> list[float]:
        """What a resumed training needs."""
        return [self.scale, self.best, self.waited, self.resting]

    def load(self, state: list[float]) -> None:
        """Go on from a `state`."""
        self.scale, self.best = state[:2]
        self.waited, self.resting = map(int, state[2:])'''
