"""From random weights or a pretrained backbone, and how much of that is trained.

Decided before images are decoded, since a backbone determines their preprocessing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torchloupe.config.schema import Config
from torchloupe.config.settings import Settings
from torchloupe.data.sources import Data
from torchloupe.data.survey import Survey, look_at, measure_plain_fraction, parse_size
from torchloupe.errors import UsageError, printable
from torchloupe.model.backbones import InputSpec, input_spec_of
from torchloupe.model.catalog import ZOO, is_library_model
from torchloupe.model.image_sizes import fit_size
from torchloupe.model.transfer import LITE
from torchloupe.recipes.choice import FINETUNE_IMAGES, PRETRAINED

SMALL_SIDE = 64  # images up to this size are learned from scratch
PLAIN_FRACTION = 0.5  # of images with a plain background; from here on images are padded


@dataclass(frozen=True)
class Decision:
    """The settings with the strategy decided, and the backbone's preprocessing."""

    settings: Settings
    input_spec: InputSpec | None = None  # None: from scratch, with the statistics of the data
    notes: list[str] = field(default_factory=list)


def decide_strategy(settings: Settings, data: Data, has_object: bool) -> Decision:
    """Decide between head, finetune and scratch; the preprocessing follows from the backbone.

    What the user typed is never changed. `has_object`: the model is a Python object. Raises
    UsageError if the strategy asked for does not work with these data.
    """
    config = settings.config
    asked = config.train.strategy in PRETRAINED or config.model.weights not in ("auto", "none")
    if config.train.strategy == "scratch" or config.model.weights == "none":
        _refuse_contradiction(config)
        return _from_scratch(settings, data, has_object)
    if asked:
        _refuse_own(config, data, has_object)
    elif has_object or config.model.name != "auto" or data.kind in ("dataset", "stream"):
        return _from_scratch(settings, data, has_object)
    survey = look_at(data)
    size = parse_size(config.data.size) if config.data.size != "auto" else None
    side = min(size) if size else survey.shorter_side
    if not asked and (side <= SMALL_SIDE or survey.is_float or not survey.channels <= {1, 3, 4}):
        return _decided(settings, {"train.strategy": "scratch"})
    spec = LITE if config.model.name == "auto" else config.model.name
    wanted = {"model.name": spec, "train.strategy": _choose_strategy(config, data)}
    input_spec = None  # the zoo's networks take images as they are
    if spec.lower() not in ZOO:
        input_spec = input_spec_of(spec)
        wanted |= {
            "data.size": str(input_spec.size),
            "data.mode": "RGB",
            "data.kernel": input_spec.kernel,
            "data.fit": _choose_fit(data, survey),
        }
    open_still = {
        name: value
        for name, value in wanted.items()
        if settings.is_open(name) and not (name == "model.name" and has_object)
    }
    note = ""
    if config.model.name == "auto":
        why = "a pretrained one was asked for" if asked else f"images are {side} pixels a side"
        note = f"model: {spec} with weights from ImageNet, since {why}"
    return _decided(settings, open_still, input_spec, note)


def _from_scratch(settings: Settings, data: Data, has_object: bool) -> Decision:
    """No pretrained weights; images of the network's own size where it takes no other."""
    values, note = {"train.strategy": "scratch"}, ""
    config = settings.config
    name, is_typed = config.model.name, config.data.size != "auto"
    if is_library_model(name) and not has_object and data.kind not in ("dataset", "stream"):
        typed = parse_size(config.data.size) if is_typed else None
        size = typed or look_at(data).choose_size(SMALL_SIDE, is_own=False)
        chosen, note = fit_size(name, size, config.model.options, is_typed=is_typed)
        values |= chosen
    return _decided(settings, values, note=note)


def _choose_strategy(config: Config, data: Data) -> str:
    """finetune for a given budget or for few images, else head."""
    has_budget = config.train.epochs > 0 or config.train.minutes > 0
    return "finetune" if has_budget or len(data.samples) <= FINETUNE_IMAGES else "head"


def _decided(
    settings: Settings,
    values: Mapping[str, Any],
    input_spec: InputSpec | None = None,
    note: str = "",
) -> Decision:
    return Decision(settings.changed(values, "recipe"), input_spec, [note] if note else [])


def _choose_fit(data: Data, survey: Survey) -> str:
    """Pad elongated images and those with a plain background; crop others."""
    if survey.is_one_size:
        return "stretch"
    is_whole = survey.long_fraction > 0.25 or measure_plain_fraction(data) >= PLAIN_FRACTION
    return "pad" if is_whole else "crop"


def _refuse_contradiction(config: Config) -> None:
    if config.model.weights not in ("auto", "none"):
        raise UsageError(
            f"strategy scratch starts without weights, but {printable(config.model.weights)} was "
            "given",
            "leave one of them out",
        )
    if config.train.strategy in PRETRAINED:
        raise UsageError(
            f"strategy {config.train.strategy} starts from pretrained weights, but weights none "
            "was given",
            "leave one of them out",
        )


def _refuse_own(config: Config, data: Data, has_object: bool) -> None:
    if data.kind in ("dataset", "stream"):
        raise UsageError(
            f"strategy {config.train.strategy} computes features once, but a {data.kind} of your "
            "own may give other images each time",
            "give the images as a folder, table or array, or use --strategy scratch",
        )
    has_file = config.model.weights not in ("auto", "none")
    if has_object or (config.model.name.lower() in ZOO and not has_file):
        raise UsageError(
            f"there are no pretrained weights for {printable(config.model.name)}",
            "leave --model out, or give timm:NAME, or file.py:Class with --weights",
        )
