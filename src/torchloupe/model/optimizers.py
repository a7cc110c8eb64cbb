"""Optimizers by name, class or function, weight decay on weights only, and averaged weights.

It knows parameters, not schedules: every group carries its `initial_lr`, which a schedule
multiplies.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from torchloupe.errors import LoupeError, UsageError, did_you_mean, printable
from torchloupe.lens.copies import copy_model
from torchloupe.model.closures import closure_error
from torchloupe.model.muon import Muon
from torchloupe.model.signature import parameters_of
from torchloupe.system.user_code import is_object_spec, load_object
from torchloupe.units import plural

OPTIMIZERS: Mapping[str, type[Optimizer]] = {
    name.lower(): kind
    for name, kind in vars(torch.optim).items()
    if inspect.isclass(kind) and issubclass(kind, Optimizer) and kind is not Optimizer
} | {"muon": Muon}  # in place of torch's, which takes matrices only


def make_optimizer(
    optimizer: str | Callable[..., Optimizer] | Optimizer,
    model: nn.Module,
    *,
    lr: float = 0.0,
    weight_decay: float | None = None,
    options: Mapping[str, Any] | None = None,
    rates: Mapping[str, float] | None = None,
) -> Optimizer:
    """An optimizer over the trainable parameters of `model`, ready for a schedule.

    `optimizer` is `muon` (see muon.py) or the name of any torch.optim class, a class or function
    that takes parameters, `file.py:Name` for one of your own, or an Optimizer already made over
    `model`. `lr` 0 and `weight_decay` None mean the optimizer's default. Only parameters with two
    dimensions or more are decayed: not biases, not norms. Frozen parameters are left out. `rates`
    are factors of `lr` for parameters by name, 1 for those not named. Raises UsageError.
    """
    if isinstance(optimizer, Optimizer):
        _refuse_arguments(lr, weight_decay, options)
        return _with_initial_lr(_check_parameters(optimizer, model))
    factory, name = _find(optimizer)
    accepted = _accepted(factory)
    arguments = _check_options(name, accepted, options or {})
    for key, value in (("lr", lr or None), ("weight_decay", weight_decay)):
        if value is not None and accepted is not None and key not in accepted:
            if value:
                raise UsageError(f"{name} takes no {key}", f"leave optimizer.{key} out")
        elif value is not None:
            arguments[key] = value
    decay = arguments.get("weight_decay", _default(factory, "weight_decay"))
    parameters = trainable_parameters(model)
    _check_kind(factory, name, parameters)
    try:
        groups = _groups(parameters, decay)
        if factory is Muon:  # AdamW is better for the last layer (docs/LOG.md)
            last = _last_linear_weight(model)
            groups = _split_by("orthogonal", lambda p: p is not last, groups)
        if rates:
            share = {id(p): rates.get(name, 1.0) for name, p in model.named_parameters()}
            groups = _split_by("rate", lambda p: share[id(p)], groups)
        made = factory(groups, **arguments)
    except LoupeError:
        raise
    except Exception as error:
        raise UsageError(
            f"{name} can't be made: {printable(error)}", f"{name} takes {_spell(accepted)}"
        ) from error
    if not isinstance(made, Optimizer):
        raise UsageError(
            f"{name} gave a {type(made).__name__}, not a torch.optim.Optimizer",
            "return the optimizer from it, for example torch.optim.SGD(parameters, lr=0.1)",
        )
    return _with_initial_lr(made)


def make_average(model: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of the weights and buffers of `model`, on its device.

    Call `update_parameters(model)` after each step. The first call copies the weights. The
    average is `.module`; its count, `n_averaged`, is part of the state to save.
    """
    if not 0 < decay < 1:
        raise UsageError(
            f"the decay of averaged weights must be between 0 and 1, got {decay}",
            "for example --set train.average=0.99",
        )
    moving_average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return AveragedModel(copy_model(model), multi_avg_fn=moving_average, use_buffers=True)


def refuse_unknown(optimizer: str) -> None:
    """UsageError for an unknown name; `file.py:Name` is not loaded here."""
    if optimizer.lower() not in OPTIMIZERS and not is_object_spec(optimizer):
        raise UsageError(
            f"there is no optimizer {printable(optimizer)!r}",
            did_you_mean(optimizer.lower(), OPTIMIZERS) + " (your own: file.py:Name)",
        )


def _find(optimizer: str | Callable[..., Optimizer]) -> tuple[Callable[..., Any], str]:
    """The class or function, and its name for messages."""
    if not isinstance(optimizer, str):
        return _callable(optimizer), _name(optimizer)
    kind = OPTIMIZERS.get(optimizer.lower())
    if kind is not None:
        return kind, kind.__name__
    refuse_unknown(optimizer)
    return _callable(load_object(optimizer, "optimizer")), printable(optimizer)


def _callable(found: Any) -> Callable[..., Any]:
    if not callable(found):
        raise UsageError(
            f"the optimizer is a {type(found).__name__}, not a class or function",
            "name a class, or a function that takes parameters and returns an optimizer",
        )
    return cast("Callable[..., Any]", found)


def _name(factory: Any) -> str:
    """`SGD` for the class and for `functools.partial(SGD, ...)`."""
    factory = getattr(factory, "func", factory)
    return printable(getattr(factory, "__name__", type(factory).__name__))


def _accepted(factory: Callable[..., Any]) -> list[str] | None:
    """The keywords that `factory` takes besides the parameters; None if it takes any."""
    signature = parameters_of(factory)
    if signature is None or any(p.kind is p.VAR_KEYWORD for p in signature):
        return None
    return [p.name for p in signature[1:] if p.kind not in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL)]


def _check_options(
    name: str, accepted: list[str] | None, options: Mapping[str, Any]
) -> dict[str, Any]:
    named = [key for key in ("lr", "weight_decay") if key in options]
    if named:
        raise UsageError(
            f"optimizer.options.{named[0]} has a setting of its own",
            f"set optimizer.{named[0]} instead",
        )
    unknown = [key for key in options if accepted is not None and key not in accepted]
    if unknown:
        known = [key for key in accepted or () if key not in ("lr", "weight_decay")]
        wrong = ", ".join(printable(key) for key in unknown)
        near = printable(did_you_mean(unknown[0], known)) if known else "leave it out"
        raise UsageError(f"{name} has no option {wrong}", near)
    return dict(options)


def _default(factory: Callable[..., Any], name: str) -> float | None:
    """The default of a keyword of `factory`; None if it has no such keyword."""
    for parameter in parameters_of(factory) or ():
        if parameter.name == name and isinstance(parameter.default, (int, float)):
            return float(parameter.default)
    return None


def trainable_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that an optimizer gets; UsageError if there are none."""
    parameters = list(model.parameters())
    if any(is_lazy(parameter) for parameter in parameters):
        raise UsageError(
            "the model has lazy layers whose shapes are not known yet",
            "run one batch through it first: model(images)",
        )
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    if not trainable:
        raise UsageError(
            f"the model has nothing to train: {plural(len(parameters), 'parameter')}, all frozen"
            if parameters
            else "the model has no parameters to train",
            "set requires_grad=True on those to be trained"
            if parameters
            else "make layers attributes of the module: self.fc = nn.Linear(...); a plain list "
            "hides them, nn.ModuleList does not",
        )
    return trainable


def _groups(parameters: list[nn.Parameter], decay: float | None) -> list[Any]:
    """One group, or two with weight decay: weights, then biases and norms without decay."""
    if decay is None:
        return parameters
    if decay == 0:
        return [{"params": parameters, "weight_decay": 0.0}]
    weights = [parameter for parameter in parameters if parameter.ndim >= 2]
    others = [parameter for parameter in parameters if parameter.ndim < 2]
    groups = [(weights, decay), (others, 0.0)]
    return [{"params": members, "weight_decay": value} for members, value in groups if members]


def _last_linear_weight(model: nn.Module) -> torch.Tensor | None:
    weights = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    return weights[-1] if weights else None


def _split_by(
    option: str, value_of: Callable[[nn.Parameter], Any], groups: list[Any]
) -> list[dict[str, Any]]:
    """The groups divided further, so that all parameters of one have the same `option`."""
    found: list[dict[str, Any]] = []
    for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
        values = {id(parameter): value_of(parameter) for parameter in group["params"]}
        for value in dict.fromkeys(values.values()):
            members = [p for p in group["params"] if values[id(p)] == value]
            found.append({**group, "params": members, option: value})
    return found


def _check_kind(factory: Callable[..., Any], name: str, parameters: list[nn.Parameter]) -> None:
    """Refuse optimizers that don't work with an ordinary training step."""
    if not inspect.isclass(factory):
        return
    if issubclass(factory, torch.optim.LBFGS):
        raise closure_error(name)
    if issubclass(factory, torch.optim.SparseAdam):
        raise UsageError(
            f"{name} takes sparse gradients only, but image models have dense ones",
            "use adam",
        )
    if issubclass(factory, torch.optim.Muon):
        odd = sum(parameter.ndim != 2 for parameter in parameters)
        if odd:
            raise UsageError(
                f"{name} takes parameters of two dimensions only; {odd} of {len(parameters)} here "
                "have another shape (convolution filters, biases, norms)",
                "use muon by name, which takes them all: optimizer='muon'",
            )


def _refuse_arguments(
    lr: float, weight_decay: float | None, options: Mapping[str, Any] | None
) -> None:
    given = {"lr": lr, "weight_decay": weight_decay, "options": options}
    named = [name for name, value in given.items() if value]
    if named:
        raise UsageError(
            f"optimizer.{named[0]} can't be applied to an optimizer that is already made",
            "pass its class, for example optimizer=torch.optim.Adam, or set it there",
        )


def _check_parameters(optimizer: Optimizer, model: nn.Module) -> Optimizer:
    own = {id(parameter) for parameter in model.parameters()}
    strangers = sum(id(p) not in own for group in optimizer.param_groups for p in group["params"])
    if strangers:
        raise UsageError(
            f"the optimizer holds {plural(strangers, 'parameter')} that the model doesn't have",
            "make it from this model's parameters, or pass its class: optimizer=torch.optim.Adam",
        )
    return optimizer


def _refuse_unfit(optimizer: Optimizer) -> None:
    """UsageError for what isn't wholly made, and for what has modes, as schedule-free ones do."""
    name = printable(type(optimizer).__name__, 60)
    if not hasattr(optimizer, "_optimizer_step_pre_hooks"):
        raise UsageError(
            f"{name}.__init__ doesn't call that of torch.optim.Optimizer, so {name} has no hooks",
            "call super().__init__(params, defaults) in it; around another optimizer: "
            "super().__init__(base.param_groups, base.defaults), then set param_groups and state",
        )
    if callable(getattr(optimizer, "train", None)) and callable(getattr(optimizer, "eval", None)):
        raise UsageError(
            f"{name} trains other weights than it evaluates, and its train() and eval() are not "
            "called in the training loop",
            "use adamw with averaged weights instead: train.average=0.99",
        )


def _with_initial_lr(optimizer: Optimizer) -> Optimizer:
    _refuse_unfit(optimizer)
    for group in optimizer.param_groups:
        if (rate := group.pop("rate", 1.0)) != 1:
            group["lr"] *= rate
        group.setdefault("initial_lr", float(group["lr"]))
    return optimizer


def _spell(accepted: list[str] | None) -> str:
    return ", ".join(accepted) if accepted else "parameters"
