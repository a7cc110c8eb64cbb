"""What a recipe chooses by this machine: threads, memory format, optimizer and width.

Only for the zoo's residual net on the CPU, and only what is open. The times come from a profile of
the machine (speed/machine.py), which is measured once and kept, so that equal commands choose
alike; `choose_by_machine` is a pure function of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torchloupe.config.settings import Settings
from torchloupe.recipes.choice import (
    RESIDUAL_SHARDED,
    SMALL_BATCH_PIXELS,
    Facts,
    choose_batch,
    choose_epochs,
)

WIDTH = 16  # of the residual net whose steps a profile holds
STEP_IMAGES = 64  # in such a step
STEP_SIDE = 8  # of such an image, which has one channel
STEP_PIXELS = STEP_IMAGES * STEP_SIDE**2
WORTH_THREADS = 1.3  # times as fast; with another process on the cores, threads wait for each other
WORTH_FORMAT = 1.15  # times as fast, for contiguous images
MOST_MUON = 0.1  # of a step
MOST_TINY_SIDE = 16  # pixels; of larger images a narrow net is less accurate
PATIENT_SECONDS = 8.0  # of training with the usual width on tiny images
USUAL_WIDTH = 32
NARROW: dict[str, Any] = {"width": WIDTH}
NARROW_LR = 1e-2  # of AdamW; twice that of the usual width (docs/LOG.md)


@dataclass(frozen=True)
class StepTime:
    """How long forward and backward of a profile's step take."""

    threads: int
    channels_last: bool
    seconds: float


@dataclass(frozen=True)
class MachineProfile:
    """Times of a training step of the residual net with WIDTH on STEP_IMAGES images, on the CPU.

    The first of `steps` is with one thread and channels_last. `muon_seconds` and `adamw_seconds`
    are one update of all weights by one thread.
    """

    steps: tuple[StepTime, ...]
    muon_seconds: float
    adamw_seconds: float

    def to_facts(self) -> dict[str, Any]:
        """As values that JSON can hold."""
        steps = [[step.threads, step.channels_last, step.seconds] for step in self.steps]
        return {"steps": steps, "muon": self.muon_seconds, "adamw": self.adamw_seconds}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "MachineProfile":
        """From what `to_facts` gave; KeyError, ValueError or TypeError for anything else."""
        steps = tuple(
            StepTime(int(threads), bool(last), float(seconds))
            for threads, last, seconds in facts["steps"]
        )
        if not steps or min(step.seconds for step in steps) <= 0:
            raise ValueError("a profile without times")
        return cls(steps, float(facts["muon"]), float(facts["adamw"]))

    def best_step(self) -> StepTime:
        """The step to take with few small images: the first, unless another is clearly faster.

        A memory format and a number of threads are each taken only where they pay alone.
        """
        usual = self.steps[0]
        ones = [step for step in self.steps if step.threads == usual.threads]
        best = min(ones, key=lambda step: step.seconds)
        kept = best if usual.seconds >= WORTH_FORMAT * best.seconds else usual
        alike = [step for step in self.steps if step.channels_last == kept.channels_last]
        best = min(alike, key=lambda step: step.seconds)
        if kept.seconds < WORTH_THREADS * best.seconds:
            return kept
        near = [step for step in alike if step.seconds <= 1.1 * best.seconds]
        return min(near, key=lambda step: step.threads)

    def muon_fraction(self, pixels: int, width: int) -> float:
        """The part of a step of `pixels` pixels, over all its images, that Muon would take.

        Convolutions cost as the square of the width and Muon as its cube, pixels as they are many.
        """
        growth = width / WIDTH
        muon = self.muon_seconds * growth**3
        rest = self.best_step().seconds * growth**2 * pixels / STEP_PIXELS
        return muon / (muon + rest)


def choose_by_machine(settings: Settings, facts: Facts, profile: MachineProfile) -> dict[str, Any]:
    """Values for open settings of a run with the residual net; those that the recipe makes stay.

    The strategy must be "scratch".
    """
    config = settings.config
    batch = config.train.batch_total or choose_batch(facts)
    pixels = batch * facts.size[0] * facts.size[1]
    values: dict[str, Any] = {}
    width = int(config.model.options.get("width", USUAL_WIDTH))
    if is_wide_slow(settings, facts, profile):
        values["model.options"] = dict(NARROW)
        width = WIDTH
    if config.optimizer.name == "auto" and profile.muon_fraction(pixels, width) > MOST_MUON:
        values |= adamw_values(settings, facts, width)
    if pixels <= SMALL_BATCH_PIXELS:
        best = profile.best_step()
        values |= {
            "hardware.threads": best.threads,
            "hardware.channels_last": best.channels_last,
        }
    return {name: value for name, value in values.items() if settings.is_open(name)}


def is_wide_slow(settings: Settings, facts: Facts, profile: MachineProfile) -> bool:
    """Whether the usual width would train for long on images that a narrow net tells as well."""
    config = settings.config
    names = ("model.name", "model.options", "train.epochs", "train.minutes")
    if max(facts.size) > MOST_TINY_SIDE or not all(settings.is_open(name) for name in names):
        return False
    images = choose_epochs(facts) * facts.train_count
    pixels = images * facts.size[0] * facts.size[1] / STEP_PIXELS
    seconds = profile.best_step().seconds * (USUAL_WIDTH / WIDTH) ** 2 * pixels
    return config.model.name == "auto" and seconds > PATIENT_SECONDS


def adamw_values(settings: Settings, facts: Facts, width: int) -> dict[str, Any]:
    """The optimization of the residual net without Muon, but for what was typed."""
    values = {**RESIDUAL_SHARDED, "optimizer.options": {"fused": True}}
    if width <= WIDTH:
        values["optimizer.lr"] = NARROW_LR
    config = settings.config
    if config.schedule.name != "auto":
        values = {n: value for n, value in values.items() if not n.startswith("schedule.")}
    if facts.multi_label or config.loss.name != "auto":
        values.pop("loss.smoothing", None)
    return values


def describe_choices(values: Mapping[str, Any], profile: MachineProfile) -> str:
    """One line on what was chosen by the machine; empty where nothing was."""
    words = []
    if "model.options" in values:
        words.append(f"a narrow net (width {WIDTH})")
    if values.get("optimizer.name") == "adamw":
        words.append("AdamW, since Muon would take much of each step")
    if "hardware.threads" in values:
        threads = values["hardware.threads"]
        words.append(f"{threads} thread{'s' if threads != 1 else ''}")
    if values.get("hardware.channels_last") is False:
        words.append("contiguous images")
    if not words:
        return ""
    rate = STEP_IMAGES / profile.best_step().seconds
    return f"chosen for this CPU ({rate:,.0f} images/s in the profile): " + ", ".join(words)
