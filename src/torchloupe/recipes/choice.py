"""Recipes: which settings suit which data, as functions that return a frozen Config.

A recipe of one's own is the same thing in a file: `--recipe my_recipe.py:recipe`, a function
without arguments that returns a Config. What was typed always wins over a recipe, and a recipe
over the defaults. `fill_in` decides what is still "auto" once the data are known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torchloupe.config.schema import Config
from torchloupe.config.text import Source, change, sources_of
from torchloupe.errors import UsageError, printable
from torchloupe.recipes.augmentation import describe_augmentation, why_not_mirrored
from torchloupe.system.user_code import load_object

HAS_FUSED = ("adam", "adamw", "sgd", "adagrad")  # a step of all weights at once
SMALL_BATCH_PIXELS = 64 * 16 * 16  # below, a second thread costs more than it gives
PRETRAINED = ("head", "finetune")
FINETUNE_IMAGES = 2400  # that pass through in training, where neither epochs nor minutes were given
UNEVEN = 5  # times as many images in one class as in another, from which on that is said
LARGE_SET_IMAGES = 20_000  # so many are varied enough by themselves
MANY_EPOCHS = 10  # with fewer, changed images cost more than they give (docs/LOG.md)


@dataclass(frozen=True)
class Facts:
    """What a recipe may look at."""

    train_count: int
    classes: int
    channels: int
    size: tuple[int, int]  # height, width
    own_data: bool  # a Dataset of the user's, with transforms of its own
    multi_label: bool
    class_names: tuple[str, ...] = ()


def load_recipe(spec: str) -> Config:
    """The Config that a recipe function returns; UsageError where it returns something else."""
    made = load_object(spec, "recipe")
    config = made() if callable(made) else made
    if not isinstance(config, Config):
        raise UsageError(
            f"recipe {printable(spec)} gave a {type(config).__name__}, not a torchloupe Config",
            "return torchloupe.Config(...) from it",
        )
    return change(config, {})  # checks the ranges


def fill_in(
    config: Config, facts: Facts, sources: Mapping[str, Source]
) -> tuple[Config, dict[str, Source]]:
    """The Config with every choice made that was left open, and where each value came from."""
    chosen = choose(config, facts, sources)
    filled = change(config, chosen)
    if not filled.train.batch_total:
        raise UsageError(
            "train.batch_total is 0, which trains nothing",
            "give 1 or more, or leave it out to have it chosen",
        )
    return filled, sources_of(config, filled, "recipe", sources)


def choose(config: Config, facts: Facts, sources: Mapping[str, Source]) -> dict[str, Any]:
    """Values for the settings that are still open; never for one that was typed."""
    values = _open_values(config, facts)
    optimizer = values.get("optimizer.name", config.optimizer.name)
    if optimizer.lower() in HAS_FUSED and not config.optimizer.options:
        values["optimizer.options"] = {"fused": True}
    return {
        name: value for name, value in values.items() if sources.get(name, "default") == "default"
    }


def _open_values(config: Config, facts: Facts) -> dict[str, Any]:
    if config.train.strategy in PRETRAINED:
        return _open_values_pretrained(config, facts)
    auto_model = config.model.name in ("auto", "residual")
    values: dict[str, Any] = {}
    if config.model.name == "auto":
        values["model.name"] = "residual"
    if config.loss.name == "auto":
        values["loss.name"] = "binary" if facts.multi_label else "cross_entropy"
        if auto_model and not facts.multi_label and config.optimizer.name == "auto":
            values["loss.smoothing"] = 0.1
    if config.optimizer.name == "auto":
        # Muon needs whole matrices, which fsdp gives no rank (docs/LOG.md on what it brings).
        takes_muon = auto_model and config.hardware.parallel != "fsdp"
        values["optimizer.name"] = "muon" if takes_muon else "adamw"
        values["optimizer.weight_decay"] = 0.05
        values["optimizer.lr"] = 2e-2 if takes_muon else 5e-3 if auto_model else 1e-3
        if config.schedule.name == "auto":
            values |= {"schedule.name": "onecycle", "schedule.warmup_fraction": 0.2}
            if takes_muon and not config.schedule.options:
                values["schedule.options"] = {"anneal": "linear"}
        if auto_model:
            values["train.clip_norm"] = 2.0
    elif config.schedule.name == "auto":
        values["schedule.name"] = "constant"
    if config.train.batch_total == 0:
        values["train.batch_total"] = choose_batch(facts)
    if config.train.epochs == 0 and config.train.minutes == 0:
        values["train.epochs"] = choose_epochs(facts)
    epochs = config.train.epochs or values.get("train.epochs", 0.0)
    if config.augment.policy == "auto" and not facts.own_data and epochs >= MANY_EPOCHS:
        values |= choose_augmentation(facts)
    batch = config.train.batch_total or values["train.batch_total"]
    if config.hardware.threads == 0 and batch * facts.size[0] * facts.size[1] <= SMALL_BATCH_PIXELS:
        values["hardware.threads"] = 1
    if config.hardware.channels_last == "auto":
        values["hardware.channels_last"] = True
    return values


def _open_values_pretrained(config: Config, facts: Facts) -> dict[str, Any]:
    """For a backbone whose head is solved first: what follows goes gently (docs/LOG.md)."""
    values: dict[str, Any] = {}
    if config.loss.name == "auto":
        values["loss.name"] = "binary" if facts.multi_label else "cross_entropy"
    if config.optimizer.name == "auto":
        values |= {"optimizer.name": "adamw", "optimizer.weight_decay": 0.05}
        values["optimizer.lr"] = 2e-4
        values["train.clip_norm"] = 2.0
    if config.schedule.name == "auto":
        values |= {"schedule.name": "cosine", "schedule.warmup_fraction": 0.2}
    if config.train.batch_total == 0:
        values["train.batch_total"] = min(32, choose_batch(facts))
    is_open = config.train.epochs == 0 and config.train.minutes == 0
    if config.train.strategy == "finetune" and is_open:
        values |= {"train.epochs": choose_finetune_epochs(facts), "train.patience": 3}
    if config.augment.policy == "auto":
        values |= {"augment.flip": True, "augment.resized_crop": 0.5}
    if "views" not in config.model.options and values.get("augment.flip", config.augment.flip):
        values["model.options"] = {**config.model.options, "views": 2}
    if config.hardware.channels_last == "auto":
        values["hardware.channels_last"] = True
    return values


def choose_finetune_epochs(facts: Facts) -> float:
    """Passes over a training set of this size with a backbone that is trained on."""
    return float(max(1, min(6, FINETUNE_IMAGES // max(1, facts.train_count))))


def choose_batch(facts: Facts) -> int:
    """A power of two near a twenty-fifth of the training set, from 16 to 128."""
    batch = 16
    while batch < 128 and batch * 25 < facts.train_count:
        batch *= 2
    return batch


def choose_epochs(facts: Facts) -> float:
    """Enough passes for about 330 steps, from 5 to 20."""
    steps_per_epoch = max(1, -(-facts.train_count // choose_batch(facts)))
    return float(min(20, max(5, 330 // steps_per_epoch)))


def choose_augmentation(facts: Facts) -> dict[str, Any]:
    """Changes that keep the label: what may be digits, letters or scans is never mirrored."""
    if facts.channels != 3 and facts.train_count >= LARGE_SET_IMAGES:
        return {"augment.translate": 0.04}  # turning and zooming as well cost more (docs/LOG.md)
    if facts.channels != 3:
        return {
            "augment.translate": 0.1,
            "augment.rotate_degrees": 8.0,
            "augment.scale": 0.1,
        }
    flip = not why_not_mirrored(facts.channels, facts.class_names)
    if max(facts.size) <= 48:
        return {"augment.translate": 0.125, "augment.flip": flip}
    return {"augment.resized_crop": 0.35, "augment.flip": flip}


def explain_imbalance(config: Config, names: Sequence[str], counts: Sequence[int]) -> str:
    """A note where classes are very uneven, with what was done; empty where they are not."""
    present = [(count, name) for count, name in zip(counts, names, strict=True) if count]
    if not present or config.loss.weights != "none":
        return ""
    (fewest, small), (most, large) = min(present), max(present)
    if most < UNEVEN * fewest:
        return ""
    return (
        f"classes are uneven: '{printable(large, 60)}' has {most:,} training images, "
        f"'{printable(small, 60)}' {fewest:,}; every image counts alike "
        "(--set loss.weights=balanced lets every class count alike)"
    )


def explain_augmentation(config: Config, facts: Facts, sources: Mapping[str, Source]) -> str:
    """What is done to training images, and why, in one line."""
    if facts.own_data:
        unchanged = "the Dataset has transforms of its own"
    elif config.augment.policy != "auto":
        unchanged = "the recipe asks for none"
    else:
        unchanged = f"below {MANY_EPOCHS} epochs it costs more than it gives"
    unmirrored = why_not_mirrored(facts.channels, facts.class_names)
    return describe_augmentation(config.augment, sources, unchanged, unmirrored)
