"""What a model ends in, beside what its loss takes; and whether there is an output a class."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from torchloupe.checks.subject import Subject
from torchloupe.errors import printable
from torchloupe.run.events import Verdict

NEAR_ONE = 1e-3  # by which a row of probabilities may miss a sum of 1
ENOUGH = 16  # numbers between 0 and 1 that are hardly raw logits by chance
SURELY = 1e-6  # chance that an output without an image is an accident of the sample
_RAW = (
    *("Addmm", "Mm", "Convolution", "MkldnnLinear", "Add", "Mean", "NativeBatchNorm"),
    *("LinalgVectorNorm", "Norm", "Sum", "Sqrt", "Pow", "Abs", "Softplus"),  # without an upper end
)
MOST_DROPPED = 0.9  # share from which dropout leaves hardly anything
FAR = 4.0  # times what guessing costs, and as much more


def find_other_output(trial: Subject) -> list[Verdict]:
    """A note where the model gives several tensors and the loss doesn't take the first of them.

    `trial` is a copy, whose modes and buffers change.
    """
    trial.model.train()
    with torch.no_grad():
        found = trial.model(trial.images.clone())
    if type(found) is not tuple or not isinstance(found[0], Tensor):
        return []
    given = tuple(_as_leaf(each) for each in found)
    tensors = [each for each in given if isinstance(each, Tensor) and each.requires_grad]
    if len(tensors) < 2 or tensors[0] is not given[0]:
        return []
    try:
        with torch.enable_grad():
            value = trial.loss_of(given)
    except Exception:  # a loss that takes the logits alone
        return []
    gradients = (
        torch.autograd.grad(value, tensors, allow_unused=True) if value.requires_grad else ()
    )
    used = [each for each, g in zip(tensors, gradients, strict=False) if g is not None and g.any()]
    if not used or used[0] is given[0]:
        return []
    place = next(k for k, each in enumerate(given) if each is used[0])
    return [
        Verdict(
            "checks-left-out",
            "note",
            seen=f"the model gives {len(given)} outputs, and the loss takes number {place + 1}",
            remedy="return the logits first: (logits, features)",
            where="loss",
            why="checks of outputs and steps look at the first tensor",
        )
    ]


def _as_leaf(value: Any) -> Any:
    is_number = isinstance(value, Tensor) and value.is_floating_point()
    return value.detach().clone().requires_grad_() if is_number else value


def judge_outputs(takes: str, outputs: Tensor, function: str, last_layer: str) -> list[Verdict]:
    """Verdicts where `outputs` [B, K] are not what a loss takes; see `what_it_takes`.

    `function` is the last operation of the forward as autograd calls it, and `last_layer` the
    last module.
    """
    if outputs.ndim > 2 or takes not in ("logits", "binary_logits", "log_probabilities"):
        return []
    if function.startswith("ConstantPad") and outputs.ndim == 2:  # one logit, made a pair
        takes, outputs, function = "binary_logits", outputs[:, 1], function.partition(" ")[2]
    end = _end_of(outputs.float(), function)
    if takes == "log_probabilities":
        return _judge_for_nll(end, last_layer)
    binary = takes == "binary_logits"
    if end in ("softmax", "sigmoid") and binary:
        return [
            _ends_in(
                "probabilities-before-binary-loss",
                f"the model ends in {_with_article(end)}, and the loss applies a sigmoid again",
                last_layer,
                "error",
            )
        ]
    if end in ("softmax", "log_softmax", "sigmoid") and not binary:
        name = f"{end.replace('_', '-')}-before-cross-entropy"
        again = "a softmax" if end == "sigmoid" else "softmax again"
        level = "warning" if end == "log_softmax" else "error"
        seen = f"the model ends in {_with_article(end)}, and the loss applies {again}"
        return [_ends_in(name, seen, last_layer, level)]
    if function in ("Relu", "Hardtanh", "Tanh"):
        name = f"{'tanh' if function != 'Relu' else 'relu'}-before-the-loss"
        seen = f"the model ends in {function}, and the loss takes logits of either sign"
        return [_ends_in(name, seen, last_layer, "error")]
    return []


def _end_of(outputs: Tensor, function: str) -> str:
    """softmax, log_softmax or sigmoid, by the operation or by the numbers; else empty."""
    several = outputs.ndim == 2 and outputs.shape[1] > 1
    if function in ("Softmax", "LogSoftmax", "Sigmoid"):
        return {"Softmax": "softmax", "LogSoftmax": "log_softmax"}.get(function, "sigmoid")
    if several and bool((outputs >= 0).all()) and _are_one(outputs.sum(dim=1)):
        return "softmax"
    if several and bool((outputs <= 0).all()) and _are_one(outputs.exp().sum(dim=1)):
        return "log_softmax"
    inside = bool(((outputs > 0) & (outputs < 1)).all())
    if inside and outputs.numel() >= ENOUGH and not function.startswith(_RAW):
        return "" if function in ("Relu", "Tanh") else "sigmoid"
    return ""


def _are_one(sums: Tensor) -> bool:
    return bool(((sums - 1).abs() < NEAR_ONE).all())


def _with_article(end: str) -> str:
    return f"a {end}" if end == "sigmoid" else end


def _ends_in(name: str, seen: str, last_layer: str, level: str) -> Verdict:
    return Verdict(
        name,
        level,  # type: ignore[arg-type]
        seen=seen,
        remedy="return what goes into it: the numbers of the last linear layer",
        where=printable(last_layer, 80),
        why={
            "log-softmax-before-cross-entropy": "it changes nothing but time, until the loss gets "
            "label smoothing of another kind or the outputs are read as logits",
            "relu-before-the-loss": "a class whose number is 0 gets no gradient",
            "tanh-before-the-loss": "logits between -1 and 1 can never be sure",
        }.get(name, "numbers from 0 to 1 as logits give weak gradients and a loss that stays high"),
    )


def _judge_for_nll(end: str, last_layer: str) -> list[Verdict]:
    if end == "log_softmax":
        return []
    what = f"the model ends in {_with_article(end)}" if end else "the model gives raw logits"
    return [
        Verdict(
            "nll-without-log-softmax",
            "error",
            seen=f"the loss takes log-probabilities, and {what}",
            remedy="end the model with log_softmax(dim=1), or use cross entropy",
            where=printable(last_layer, 80),
            why="the loss can fall below 0 without limit, and nothing holds the classes together",
        )
    ]


def judge_dropout(model: nn.Module, last_layer: str) -> list[Verdict]:
    """Warnings where dropout is the last layer, or leaves hardly anything."""
    layers = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p
    }
    found = []
    if last_layer in layers:
        layer = layers[last_layer]
        found.append(
            Verdict(
                "dropout-on-logits",
                "warning",
                seen=f"the last layer is {type(layer).__name__}(p={layer.p:g}), which sets logits "
                "to 0",
                remedy="put it before the last linear layer",
                where=printable(last_layer, 80),
                why="the right class loses its logit at random",
                numbers={"p": layer.p},
            )
        )
    strong = {name: layer.p for name, layer in layers.items() if layer.p >= MOST_DROPPED}
    if strong:
        name, p = max(strong.items(), key=lambda pair: pair[1])
        found.append(
            Verdict(
                "dropout-too-strong",
                "error" if p == 1 else "warning",
                seen=f"dropout with p={p:g} sets {p:.0%} of its input to 0 in training",
                remedy="p is the share that is dropped: try 0.1 to 0.5",
                where=printable(name, 80),
                why="hardly a signal passes, forward or backward",
                numbers={"p": p},
            )
        )
    return found


def judge_count(outputs: Tensor, seen: Tensor, classes: int | None) -> list[Verdict]:
    """A warning where there are more outputs than classes; `seen` are all labels known."""
    if outputs.ndim != 2 or seen.ndim != 1 or outputs.shape[1] < 3:
        return []
    if not classes and int(seen.min()) == int(seen.max()):  # a mistake of another kind
        return []
    count = outputs.shape[1]
    if not classes and int(seen.min()) == 1 and int(seen.max()) == outputs.shape[1] - 1:
        return _judge_first(outputs.shape[1], len(seen))
    found = classes or int(seen.max()) + 1
    by_chance = 0.0 if classes else math.exp(len(seen) * math.log(max(found, 1) / count))
    if found >= count or by_chance > SURELY:
        return []
    return [
        Verdict(
            "more-outputs-than-classes",
            "warning",
            seen=f"the model has {count} outputs, and the labels of {len(seen):,} images go up to "
            f"{found - 1}",
            remedy=f"make the last layer give {found} outputs",
            why="outputs without images take part in every softmax, and can be predicted",
            numbers={"outputs": count, "classes": found},
        )
    ]


def _judge_first(outputs: int, labels: int) -> list[Verdict]:
    """A warning where labels begin at 1 although there is an output for 0."""
    if labels * math.log(1 - 1 / outputs) > math.log(SURELY):
        return []
    return [
        Verdict(
            "more-outputs-than-classes",
            "warning",
            seen=f"the model has {outputs} outputs, and the labels of {labels:,} images begin at 1",
            remedy=f"count classes from 0: labels - 1, and {outputs - 1} outputs",
            why="outputs without images take part in every softmax, and can be predicted",
            numbers={"outputs": outputs, "classes": outputs - 1},
        )
    ]


def judge_first_loss(subject: Subject, takes: str, outputs: Tensor, value: float) -> list[Verdict]:
    """A warning where the first loss is far above that of a guess, with the reason."""
    outputs = outputs.float()
    if outputs.ndim != 2 or takes not in ("logits", "binary_logits"):
        return []
    count = outputs.shape[1]
    guess = math.log(count) if takes == "logits" and count > 1 else math.log(2)
    if not value > FAR * (guess + 1):
        return []
    largest = float(subject.images.abs().max()) if subject.images.is_floating_point() else 255.0
    logits = float(outputs.std())
    if largest > 20:
        reason, remedy = f"images reach {largest:.4g}", "scale and normalise the images"
    else:
        reason = f"the logits have a standard deviation of {logits:.3g}"
        remedy = "draw the weights of the last layer smaller, or put a normalisation layer before"
    return [
        Verdict(
            "first-loss-too-high",
            "warning",
            seen=f"the first loss is {value:.4g}, and a guess costs {guess:.3g}: {reason}",
            remedy=remedy,
            where="loss",
            why="the first steps only undo it, and may end in dead units",
            numbers={"loss": value, "guess": guess, "logits_std": logits},
        )
    ]
