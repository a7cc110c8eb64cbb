"""Recipes: which settings suit which data.

A recipe of the user's is a function without arguments that returns a mapping of dotted names, or a
Config: `--recipe my_recipe.py:recipe`. What the user typed overrides a
recipe, and a recipe overrides the defaults. `fill_in` chooses what is still open once the data are
known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from torchloupe.config.schema import INSTALLED, AugmentConfig, Config
from torchloupe.config.settings import Settings
from torchloupe.config.text import change
from torchloupe.errors import UsageError, printable
from torchloupe.recipes.augmentation import describe_augmentation, why_not_mirrored
from torchloupe.system.user_code import load_object

HAS_FUSED = ("adam", "adamw", "sgd", "adagrad")  # optimizers of torch with a fused implementation
SMALL_BATCH_PIXELS = 64 * 16 * 16  # pixels; smaller batches are faster in one thread
PRETRAINED = ("head", "finetune")
MOST_INNER = 10_000  # training images; with more, features of inner channels take gigabytes
FINETUNE_IMAGES = 2400  # seen in training, where neither epochs nor minutes were given
UNEVEN = 5  # ratio of class sizes from which on a note is given
LARGE_SET_IMAGES = 20_000  # training images; as many are varied enough without rotation and scaling
MANY_EPOCHS = 10  # with fewer, augmentation costs accuracy (docs/LOG.md)

# Optimization of any network from random weights; docs/LOG.md has the gain of each line.
ANY_NET: dict[str, Any] = {
    "optimizer.name": "adamw",
    "optimizer.lr": 1e-3,
    "optimizer.weight_decay": 0.05,
    "schedule.name": "onecycle",
    "schedule.warmup_fraction": 0.2,
}
# For the zoo's residual net. With fsdp no rank has the whole matrices that Muon needs.
RESIDUAL_SHARDED: dict[str, Any] = {
    **ANY_NET,
    "optimizer.lr": 5e-3,
    "loss.smoothing": 0.1,
    "train.clip_norm": 2.0,
}
RESIDUAL: dict[str, Any] = {
    **RESIDUAL_SHARDED,
    "optimizer.name": "muon",
    "optimizer.lr": 2e-2,
    "schedule.options": {"anneal": "linear"},
}
# For a pretrained backbone, after its head was fitted.
FINETUNE: dict[str, Any] = {
    "optimizer.name": "adamw",
    "optimizer.lr": 2e-4,
    "optimizer.weight_decay": 0.05,
    "train.clip_norm": 2.0,
}


@dataclass(frozen=True)
class Facts:
    """What a recipe may depend on."""

    train_count: int
    classes: int
    channels: int
    size: tuple[int, int]  # height, width
    own_data: bool  # a Dataset of the user's, with transforms of its own
    multi_label: bool
    class_names: tuple[str, ...] = ()


def load_recipe(spec: str) -> dict[str, Any] | Config:
    """What a recipe function returns, checked: a mapping of dotted names, or a Config."""
    made = load_object(spec, "recipe")
    recipe = made() if callable(made) else made
    if isinstance(recipe, Mapping):
        change(Config(), recipe)
        return dict(recipe)
    if not isinstance(recipe, Config):
        raise UsageError(
            f"recipe {printable(spec)} returned a {printable(type(recipe).__name__)}; wanted a "
            "mapping of settings or a torchloupe Config",
            'return a dict such as {"optimizer.name": "sgd", "optimizer.lr": 0.05}',
        )
    return change(recipe, {})  # checks the ranges


def fill_in(settings: Settings, facts: Facts) -> Settings:
    """The settings with every open one chosen; what the user typed stays."""
    config = settings.config
    if not config.train.batch_total and not settings.is_open("train.batch_total"):
        raise UsageError(
            "train.batch_total is 0, which trains nothing",
            "give 1 or more, or leave it out to have it chosen",
        )
    is_pretrained = config.train.strategy in PRETRAINED
    chosen = _from_pretrained(settings, facts) if is_pretrained else _from_scratch(config, facts)
    if settings.is_open("optimizer.name"):
        optimizer = chosen.get("optimizer.name", config.optimizer.name)
    else:
        optimizer = config.optimizer.name
    if optimizer.lower() in HAS_FUSED and not config.optimizer.options:
        chosen["optimizer.options"] = {"fused": True}
    return settings.with_recipe(chosen)


def _from_scratch(config: Config, facts: Facts) -> dict[str, Any]:
    """For random weights."""
    epochs = config.train.epochs
    if epochs == 0 and config.train.minutes == 0:
        epochs = choose_epochs(facts)
    batch = config.train.batch_total or choose_batch(facts)
    values: dict[str, Any] = {
        "loss.name": "binary" if facts.multi_label else "cross_entropy",
        **_optimization(config, facts),
        "train.batch_total": batch,
        "train.epochs": epochs,
        "hardware.channels_last": True,
    }
    if config.model.name == "auto":
        values["model.name"] = "residual"
    if config.augment.policy == "auto" and not facts.own_data and epochs >= MANY_EPOCHS:
        values |= choose_augmentation(facts)
    if batch * facts.size[0] * facts.size[1] <= SMALL_BATCH_PIXELS:
        values["hardware.threads"] = 1
    return values


def _optimization(config: Config, facts: Facts) -> dict[str, Any]:
    """Optimizer, schedule, smoothing and clipping, where no optimizer was named."""
    if config.optimizer.name != "auto":
        return {"schedule.name": "constant"} if config.schedule.name == "auto" else {}
    if config.model.name not in ("auto", "residual"):
        values = dict(ANY_NET)
    else:
        values = dict(RESIDUAL_SHARDED if config.hardware.parallel == "fsdp" else RESIDUAL)
    if config.schedule.name != "auto":
        values = {n: value for n, value in values.items() if not n.startswith("schedule.")}
    if config.schedule.options:
        values.pop("schedule.options", None)
    if facts.multi_label or config.loss.name != "auto":
        values.pop("loss.smoothing", None)
    return values


def _from_pretrained(settings: Settings, facts: Facts) -> dict[str, Any]:
    """For a pretrained backbone, finetuned gently after its head was fitted (docs/LOG.md)."""
    config = settings.config
    values: dict[str, Any] = {
        "loss.name": "binary" if facts.multi_label else "cross_entropy",
        "train.batch_total": min(32, choose_batch(facts)),
        "hardware.channels_last": True,
    }
    if config.optimizer.name == "auto":
        values |= FINETUNE
    if config.schedule.name == "auto":
        values |= {"schedule.name": "cosine", "schedule.warmup_fraction": 0.2}
    is_open = config.train.epochs == 0 and config.train.minutes == 0
    if config.train.strategy == "finetune" and is_open:
        values |= {"train.epochs": choose_finetune_epochs(facts), "train.patience": 3}
    if config.augment.policy == "auto":
        flip = not why_not_mirrored(facts.channels, facts.class_names)
        values |= {"augment.flip": flip, "augment.resized_crop": 0.5}
    is_open = settings.is_open("augment.flip")
    own: dict[str, Any] = {}
    if values.get("augment.flip", False) if is_open else config.augment.flip:
        own["views"] = 2
    if config.model.name == INSTALLED and facts.train_count <= MOST_INNER:
        own["inner"] = True
    if own:
        values["model.options"] = {**own, **config.model.options}
    return values


def choose_finetune_epochs(facts: Facts) -> float:
    """Epochs of finetuning for a training set of this size."""
    return float(max(1, min(6, FINETUNE_IMAGES // max(1, facts.train_count))))


def choose_batch(facts: Facts) -> int:
    """A power of two near a twenty-fifth of the training set, from 16 to 128."""
    batch = 16
    while batch < 128 and batch * 25 < facts.train_count:
        batch *= 2
    return batch


def choose_epochs(facts: Facts) -> float:
    """Epochs for about 330 steps, from 5 to 20."""
    steps_per_epoch = max(1, -(-facts.train_count // choose_batch(facts)))
    return float(min(20, max(5, 330 // steps_per_epoch)))


def choose_augmentation(facts: Facts) -> dict[str, Any]:
    """Augmentation that keeps labels; possible digits, letters and scans are not mirrored."""
    if facts.channels != 3 and facts.train_count >= LARGE_SET_IMAGES:
        return {"augment.translate": 0.04}  # rotating and scaling too costs accuracy (docs/LOG.md)
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
    """A note on very uneven classes, and how they are weighted; empty if they are even."""
    present = [(count, name) for count, name in zip(counts, names, strict=True) if count]
    if not present or config.loss.weights != "none":
        return ""
    (fewest, small), (most, large) = min(present), max(present)
    if most < UNEVEN * fewest:
        return ""
    return (
        f"classes are uneven: '{printable(large, 60)}' has {most:,} training images, "
        f"'{printable(small, 60)}' {fewest:,}; every image has the same weight "
        "(--set loss.weights=balanced gives every class the same)"
    )


def explain_augmentation(settings: Settings, facts: Facts) -> str:
    """The augmentation of training images and its reason, in one line."""
    if facts.own_data:
        unchanged = "the Dataset has transforms of its own"
    elif settings.config.augment.policy != "auto":
        unchanged = "the recipe asks for none"
    else:
        unchanged = f"below {MANY_EPOCHS} epochs it costs more than it gives"
    unmirrored = why_not_mirrored(facts.channels, facts.class_names)
    is_typed = any(settings.origin(f"augment.{f.name}") == "typed" for f in fields(AugmentConfig))
    return describe_augmentation(settings.config.augment, is_typed, unchanged, unmirrored)
