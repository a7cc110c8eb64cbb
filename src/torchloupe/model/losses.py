"""Losses by name, class or function, in one module that checks their input and output.

Every loss made here takes logits [B, K] and labels: class numbers [B] of any integer type, or
a row of probabilities per image [B, K] (mixed images, several labels). It returns one number.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from torchloupe.errors import DataError, LoupeError, UsageError, did_you_mean, printable
from torchloupe.model.binary_labels import LabelForm
from torchloupe.model.import_paths import is_loss_of_torch, with_tensors
from torchloupe.model.outputs import LogitsHook, hook_of
from torchloupe.model.shares import adding_of
from torchloupe.model.signature import parameters_of
from torchloupe.model.targets import as_labels, as_rows, class_weights, spell_shape
from torchloupe.system.user_code import is_object_spec, load_object

NAMES = ("cross_entropy", "binary", "focal", "nll")
DEFAULT_GAMMA = 2.0

_OF_PAIRS = ("cross_entropy", "focal", "nll")  # same loss for one logit as for a pair
_HALVES = (torch.float16, torch.bfloat16)
# torch's losses whose target has the shape of the logits: class numbers become one-hot rows.
ROW_LOSSES = (
    nn.BCELoss,
    nn.BCEWithLogitsLoss,
    nn.HuberLoss,
    nn.KLDivLoss,
    nn.L1Loss,
    nn.MSELoss,
    nn.MultiLabelSoftMarginLoss,
    nn.SmoothL1Loss,
)


class Loss(nn.Module):
    """A criterion, computed in float32, that refuses input which it would misread.

    `prepare(logits, labels)` turns the labels into what the criterion takes. Class weights follow
    the logits to their device on the first call.
    """

    def __init__(
        self,
        name: str,
        criterion: Callable[[Tensor, Tensor], Tensor],
        prepare: Callable[[Tensor, Tensor], Tensor],
        classes: int,
    ) -> None:
        super().__init__()
        self.name = name
        self.criterion = criterion
        self.prepare = prepare
        self.classes = classes
        self.place = torch.device("cpu")
        self.fitting: tuple[Any, ...] = ()  # of the last input whose labels needed no preparation
        self.adding = adding_of(criterion)  # "unknown" until a trial tells
        self.labelled = LabelForm()
        self.hook: LogitsHook | None = None  # of a model that may give one logit per image

    def follow(self, model: nn.Module) -> "Loss":
        """Compute the loss on the model's own output if that is one logit per image.

        `take_logits` turned it into a pair; `binary` and losses of the user get the single logit.
        """
        self.hook = hook_of(model)
        return self

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        facts = (logits.shape, logits.dtype, logits.device, labels.shape, labels.dtype)
        known = facts == self.fitting
        if not known:
            self._check_logits(logits)
        if logits.dtype in _HALVES:
            logits = logits.float()
        one_logit = self.hook.one_logit if self.hook is not None else None
        try:
            if self.hook is not None and one_logit is None:
                logits = self.hook.undo(logits)
            if one_logit is not None and self.name not in _OF_PAIRS:
                loss = self._of_one_logit(logits, labels, one_logit)
                return self._check(loss, logits)
            prepared = labels if known else self.prepare(logits, labels)
            loss = self.criterion(logits, prepared)
        except (LoupeError, torch.OutOfMemoryError):
            raise
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise self._explain(error, logits, labels) from error
        if not known and prepared is labels:  # shape and type alone decide that
            self.fitting = facts
        return self._check(loss, logits)

    def _of_one_logit(self, logits: Tensor, labels: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The loss on the single logit z of the pair (0, z), in the model's own shape."""
        z, labels = logits[:, 1].reshape(-1, *shape), as_labels(logits, labels)
        yes = (labels if labels.ndim == 1 else labels[:, 1]).to(z.dtype).reshape(z.shape)
        if self.name == "binary":
            rows = self.prepare(logits, labels)  # smoothed
            yes = rows[:, 1].reshape(z.shape)
            weight = cast("nn.BCEWithLogitsLoss", self.criterion).weight
            if weight is not None:  # one per class
                weight = (rows @ weight).reshape(z.shape)
            return nn.functional.binary_cross_entropy_with_logits(z, yes, weight)
        given = z if self.hook is None else self.hook.undo(z)
        if isinstance(self.criterion, ROW_LOSSES):
            return cast("Tensor", self.criterion(given, yes))
        return self.labelled.call(self.criterion, given, (labels, yes.reshape(-1), yes))

    def _check_logits(self, logits: Tensor) -> None:
        """Refuse logits that are not [B, classes], and move to their device."""
        if logits.ndim != 2 or logits.shape[1] != self.classes:
            raise UsageError(
                f"the model gives {spell_shape(logits)}, the loss needs [batch, {self.classes}]: "
                "one number per class",
                "make its last layer give one output per class",
            )
        if logits.device != self.place:
            self.to(logits.device)
            self.place = logits.device

    def _explain(self, error: Exception, logits: Tensor, labels: Tensor) -> LoupeError:
        reason = printable(str(error).partition("\n")[0])
        if "out of bounds" in reason or "Class values must be" in reason:
            return DataError(
                f"a label lies outside 0 to {self.classes - 1}: {reason}",
                "count the classes from 0, or give all class names (data.class_names)",
            )
        return UsageError(
            f"loss {self.name} failed on logits {spell_shape(logits)} and labels "
            f"{spell_shape(labels)} of {labels.dtype}: {reason}",
            "it is called with logits [batch, classes] and class numbers [batch], or with rows "
            "[batch, classes] where images are mixed (augment.mixup) or have several labels",
        )

    def _check(self, loss: Any, logits: Tensor) -> Tensor:
        if not isinstance(loss, Tensor):
            raise UsageError(
                f"loss {self.name} gave a {type(loss).__name__}, training needs a tensor",
                "return a torch tensor with one number, without .item()",
            )
        if loss.numel() != 1:
            raise UsageError(
                f"loss {self.name} gave {spell_shape(loss)}, training needs one number",
                "average it: reduction='mean', or .mean() at its end",
            )
        if logits.requires_grad and not loss.requires_grad:
            raise UsageError(
                f"loss {self.name} gave a number without a gradient to the model",
                "compute it with torch operations, without .detach(), .item() or numpy",
            )
        return loss.reshape(()) if loss.ndim else loss


def make_loss(
    loss: str | type[nn.Module] | Callable[..., Any],
    *,
    classes: int,
    multi_label: bool = False,
    smoothing: float = 0.0,
    weights: Sequence[float] | str = "none",
    counts: Sequence[int] | None = None,
    gamma: float = DEFAULT_GAMMA,
    options: Mapping[str, Any] | None = None,
) -> Loss:
    """A loss from a name, `file.py:Name`, `torch.nn:MultiMarginLoss`, a class, module or function.

    - `cross_entropy`: torch's own, bit for bit, with label `smoothing`.
    - `binary`: each class against the rest, for several labels per image, or for two classes with
      one logit.
    - `focal`: cross entropy in which easy images count less (Lin et al. 2017, eq. 4 and 5).
    - `nll`: for models that end in log_softmax.
    - `auto`: binary for several labels, else cross entropy.

    `weights` has a number per class, or is "balanced": N / (K * count) from `counts` [K].
    `options` are passed to the user's own class or function. Raises UsageError.
    """
    name = ("binary" if multi_label else "cross_entropy") if loss == "auto" else loss
    if isinstance(name, str) and name.lower() in NAMES:
        _refuse_options(name, options, gamma)
        weight = class_weights(weights, counts, classes)
        return _make_named(name.lower(), classes, multi_label, smoothing, weight, gamma)
    for setting, is_set in {
        "smoothing": smoothing != 0,
        "weights": not isinstance(weights, str) or weights != "none",
        "gamma": gamma != DEFAULT_GAMMA,
    }.items():
        if is_set:
            raise UsageError(
                f"loss.{setting} is for the losses known by name, not for one of your own",
                "give it to your loss as loss.options, under the name it has there",
            )
    return _make_own(name, classes, dict(options or {}))


def refuse_unknown(loss: str) -> None:
    """UsageError for an unknown name; `file.py:Name` is not loaded here."""
    if loss.lower() not in NAMES and not is_object_spec(loss):
        raise UsageError(
            f"there is no loss {printable(loss)!r}",
            did_you_mean(loss.lower(), NAMES) + " (torch's: torch.nn:NAME)",
        )


def _make_named(
    name: str,
    classes: int,
    multi_label: bool,
    smoothing: float,
    weight: Tensor | None,
    gamma: float,
) -> Loss:
    if not 0 <= smoothing < 1:
        raise UsageError(
            f"loss.smoothing must be at least 0 and below 1, got {smoothing}", "try 0.1"
        )
    if multi_label and name in ("cross_entropy", "nll"):
        raise UsageError(
            f"{name} takes one label per image, but these images may have several",
            "use binary or focal",
        )
    rows = partial(as_rows, smoothing=smoothing, multi_label=multi_label)
    criterion: nn.Module
    prepare: Callable[[Tensor, Tensor], Tensor]
    if name == "cross_entropy":
        criterion, prepare = nn.CrossEntropyLoss(weight, label_smoothing=smoothing), as_labels
    elif name == "binary":
        criterion, prepare = nn.BCEWithLogitsLoss(weight), rows
    elif name == "focal":
        if gamma < 0:
            raise UsageError(f"loss.gamma must be at least 0, got {gamma}", "the paper's best is 2")
        criterion, prepare = _Focal(weight, gamma, multi_label), rows
    else:
        criterion, prepare = _NLL(weight), rows if smoothing else as_labels
    return Loss(name, criterion, prepare, classes)


class _Focal(nn.Module):
    """-a_t (1 - p_t)^gamma log(p_t), averaged over images (Lin et al. 2017, eq. 4 and 5).

    p is a softmax over classes, or for several labels a sigmoid each, averaged over all of them.
    """

    def __init__(self, weight: Tensor | None, gamma: float, multi_label: bool) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.gamma = gamma
        self.multi_label = multi_label

    def forward(self, logits: Tensor, rows: Tensor) -> Tensor:
        if self.multi_label:
            yes = self._term(nn.functional.logsigmoid(logits))
            no = self._term(nn.functional.logsigmoid(-logits))
            return self._weighted(rows * yes + (1 - rows) * no).mean()
        return self._weighted(rows * self._term(logits.log_softmax(dim=1))).sum(dim=1).mean()

    def _term(self, log_p: Tensor) -> Tensor:
        # expm1 keeps 1 - p exact near p = 1; at 0 a gamma below 1 has no finite gradient.
        return (-torch.expm1(log_p)).clamp_min(1e-7) ** self.gamma * -log_p

    def _weighted(self, terms: Tensor) -> Tensor:
        return terms if self.weight is None else terms * cast("Tensor", self.weight)


class _NLL(nn.Module):
    """torch's NLLLoss, also for rows of probabilities; checks its first input."""

    def __init__(self, weight: Tensor | None) -> None:
        super().__init__()
        self.hard = nn.NLLLoss(weight)
        self.is_checked = False

    def forward(self, log_p: Tensor, labels: Tensor) -> Tensor:
        if not self.is_checked:
            total = float(log_p.detach().exp().sum(dim=1).mean())
            if abs(total - 1) > 0.05:
                raise UsageError(
                    "nll takes log-probabilities; the exponentials of the model's outputs sum to "
                    f"{total:.3g}, not to 1",
                    "end the model with log_softmax(dim=1), or use cross_entropy",
                )
            self.is_checked = True
        if labels.ndim == 1:
            return cast("Tensor", self.hard(log_p, labels))
        weighted = log_p if self.hard.weight is None else log_p * self.hard.weight
        return -(labels * weighted).sum(dim=1).mean()


def _make_own(loss: Any, classes: int, options: dict[str, Any]) -> Loss:
    found, name = loss, printable(getattr(loss, "__name__", type(loss).__name__))
    if isinstance(loss, str):
        refuse_unknown(loss)
        found, name = load_object(loss, "loss"), printable(loss)
    if inspect.isclass(found):
        try:
            found = found(**(with_tensors(options) if is_loss_of_torch(found) else options))
        except Exception as error:
            raise UsageError(
                f"loss {name} can't be made with {printable(options)}: {printable(error)}",
                printable(f"it takes {', '.join(p.name for p in parameters_of(found) or ())}"),
            ) from error
    elif options and not isinstance(found, nn.Module) and callable(found):
        found = partial(found, **options)
    elif options:
        raise UsageError(
            f"loss.options can't be applied to {name}, which is already made",
            "name its class instead, or set them where it is made",
        )
    if not callable(found):
        raise UsageError(
            f"loss {name} is a {type(found).__name__}, not a class, module or function",
            "name something that takes (logits, labels) and returns one number",
        )
    if isinstance(found, Loss):
        return found
    if isinstance(found, nn.Module) and any(p.requires_grad for p in found.parameters()):
        raise UsageError(
            f"loss {name} has parameters of its own, which no optimizer would train",
            "move them into the model",
        )
    return Loss(name, found, as_rows if isinstance(found, ROW_LOSSES) else as_labels, classes)


def _refuse_options(name: str, options: Mapping[str, Any] | None, gamma: float) -> None:
    if options:
        raise UsageError(
            f"loss {name} has no option {', '.join(printable(key) for key in options)}",
            "it takes loss.smoothing and loss.weights, focal also loss.gamma; torch's own class "
            "with all its options is torch.nn:CrossEntropyLoss",
        )
    if gamma != DEFAULT_GAMMA and name.lower() != "focal":
        raise UsageError(f"loss.gamma is for focal, not for {name}", "use focal, or leave it out")
